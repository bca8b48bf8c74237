package kernel

import "math"

// In mode bf16 few rows meet a weight of 8 bits as numbers of 16 bits: each is the nearest multiple of its row's scale, the largest size in the
// row over 32,767. A number that is a hundredth of its row's largest keeps 8 significant bits as a bf16 does, larger ones more; the weight is not
// rounded again. Products of whole numbers are exact, so their order does not matter.

const (
	fewShortRows = 16      // up to how many rows
	maxShortCols = 1 << 16 // sums of more products may exceed 32 bits
	maxShort     = math.MaxInt16
)

// shorts says whether so many rows are rounded to 16 bits for a weight.
func shorts(mode Mode, w *Frozen, rows int) bool {
	return mode == ModeBF16 && w.DType == I8 && w.q.sums != nil && rows <= fewShortRows
}

// shortScale is the scale of a row and its inverse, both 0 for a row of zeros.
func shortScale(row []float32) (scale, inverse float32) {
	largest := math.Float32frombits(MaxSize(row))
	scale, inverse = largest/maxShort, maxShort/largest
	if largest == 0 || math.IsInf(float64(inverse), 0) {
		return 0, 0
	}
	return scale, inverse
}

// shortened is x rounded to 16 bits by row.
func shortened(x Mat) Mat {
	y := NewMat(make([]float32, x.Rows*x.Cols), x.Rows, x.Cols)
	for i := range x.Rows {
		shorten(y.Row(i), x.Row(i))
	}
	return y
}

// shorten rounds a row to 16 bits.
func shorten(y, x []float32) {
	scale, inverse := shortScale(x)
	for j, v := range x {
		y[j] = (float32(v*inverse) + toInteger - toInteger) * scale
	}
}
