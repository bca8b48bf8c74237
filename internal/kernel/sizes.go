package kernel

import "math"

// The size of a number is what its bits without the sign are as a whole number: sizes order as absolute values do, and NaNs are the
// largest. Choosing numbers by sizes is exact where choosing by values would have to say what becomes of NaNs.

// Size is that of one number, below 2³¹.
func Size(x float32) uint32 { return math.Float32bits(x) &^ (1 << 31) }

// MaxSize is the largest size in x; 0 if x is empty.
func MaxSize(x []float32) uint32 { return math.Float32bits(maxSizeRow(x)) }

// SumAbs is Σ |x|, in float64.
func SumAbs(x []float32) float64 { return sumAbsRow(x) }

// KeepFrom clears the others:
//
//	for i := range x { if Size(s[i]) < limit { x[i] = 0 } }
//
// limit is at most 2³¹; s may be x.
func KeepFrom(x, s []float32, limit uint32) {
	sameLen("KeepFrom", len(x), len(s))
	keepAboveRow(x, s, math.Float32frombits(limit-1)) // 0 gives -1: the comparison has a sign
}

// KeepBelow clears the others:
//
//	for i := range x { if Size(s[i]) >= limit { x[i] = 0 } }
//
// limit is at most 2³¹; s may be x.
func KeepBelow(x, s []float32, limit uint32) {
	sameLen("KeepBelow", len(x), len(s))
	keepUpToRow(x, s, math.Float32frombits(limit-1))
}

// AddElected is, for x that is not zero and has the sign bit of vote,
//
//	for i, v := range x { sum[i] += v; divisor[i] += w }
func AddElected(sum, divisor, vote, x []float32, w float32) {
	sameLen("AddElected", len(sum), len(divisor), len(vote), len(x))
	addElectedRow(sum, divisor, vote, x, w)
}

// Divide is
//
//	for i, v := range d { if v != 0 { y[i] /= v } }
func Divide(y, d []float32) {
	sameLen("Divide", len(y), len(d))
	divideRow(y, d)
}

// Counts says how many numbers have a size below, at and between two bounds.
type Counts struct {
	Below, AtLow, AtHigh int
}

// Between puts the sizes of x strictly between low and high into out, in order, and counts the others. AtHigh is 0 where low is high.
//
//	out      with room for len(x) + 8: what comes behind the n returned is undefined
//	low      at most high, both below 2³¹
func Between(out []uint32, x []float32, low, high uint32) (n int, c Counts) {
	out = out[:len(x)+8]
	whole, n, c := betweenVec(out, x, low, high)
	for _, v := range x[whole:] {
		k := Size(v)
		switch {
		case k < low:
			c.Below++
		case k == low:
			c.AtLow++
		case k < high:
			out[n] = k
			n++
		case k == high:
			c.AtHigh++
		}
	}
	return n, c
}
