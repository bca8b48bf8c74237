// Package adapter holds methods that leave weights alone and change what flows: IA3 scales what a projection reads or
// writes, OFT, BOFT, HRA and ROAD rotate it. LN_TUNING, the smallest of all, trains the norms themselves; BitFit and freeze train parts of
// the base, to compare with.
package adapter
