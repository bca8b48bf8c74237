package kernel

import "math"

// At is element (i, j) as float32.
func (w *Frozen) At(i, j int) float32 {
	k := i*w.Cols + j
	switch w.DType {
	case BF16:
		return wideBF16(w.u16[k])
	case F16:
		return halfToFloat(w.u16[k])
	case I8, NF4, Lossless:
		var x [1]float32
		w.part(x[:], i, j)
		return x[0]
	default:
		return w.f32[k]
	}
}

// Row writes row i of the weight to dst [Cols] as float32: the lookup of an embedding.
func (w *Frozen) Row(dst []float32, i int) { w.part(dst[:w.Cols], i, 0) }

// part writes columns j to j+len(dst) of row i to dst.
func (w *Frozen) part(dst []float32, i, j int) {
	lo := i*w.Cols + j
	hi := lo + len(dst)
	switch w.DType {
	case BF16:
		BF16ToF32(dst, w.u16[lo:hi])
	case F16:
		F16ToF32(dst, w.u16[lo:hi])
	case I8:
		w.q.widenI8(dst, w.Cols, i, j)
	case NF4:
		w.q.widenNF4(dst, lo)
	case Lossless:
		w.q.widenLossless(dst, w.Cols, i, j)
	default:
		copy(dst, w.f32[lo:hi])
	}
}

// Bytes is the size of the stored weight.
func (w *Frozen) Bytes() int64 {
	n := int64(4*len(w.f32) + 2*len(w.u16))
	if w.q != nil {
		n += w.q.size()
	}
	return n
}

// rounding is what a mode does to an operand before it is multiplied.
type rounding uint8

const (
	exact   rounding = iota
	toBF16           // the nearest bf16
	toSplit          // the nearest bf16 plus the nearest bf16 of what is left: 16 significant bits
)

// rounding of activations in the mode.
func (m Mode) rounding() rounding {
	switch m {
	case ModeBF16:
		return toBF16
	case ModeSplit:
		return toSplit
	}
	return exact
}

// rounding of the weight in the mode: a bf16 is exact in each, and f16 is the sum of two.
func (w *Frozen) rounding(m Mode) rounding {
	r := m.rounding()
	if w.DType == BF16 || w.DType == Lossless || w.DType == F16 && r == toSplit {
		return exact
	}
	return r
}

// apply rounds x in place.
func (r rounding) apply(x []float32) {
	switch r {
	case toBF16:
		toBF16Row(x)
	case toSplit:
		toSplitRow(x)
	}
}

// mulTGeneric is MulT in plain Go: each row of W is widened once and used for all rows of x.
func mulTGeneric(y, x Mat, w *Frozen, mode Mode, bias []float32, add bool) {
	if shorts(mode, w, x.Rows) {
		x, mode = shortened(x), ModeF32
	}
	x = rounded(x, mode)
	round := w.rounding(mode)
	Split(w.Rows, 16, func(lo, hi int) {
		row := make([]float32, w.Cols)
		for n := lo; n < hi; n++ {
			w.Row(row, n)
			round.apply(row)
			for t := range y.Rows {
				store(y, t, n, dotRow(x.Row(t), row), bias, add)
			}
		}
	})
}

// store writes one result.
func store(y Mat, t, n int, s float32, bias []float32, add bool) {
	if bias != nil {
		s += bias[n]
	}
	if add {
		s += y.Data[t*y.Stride+n]
	}
	y.Data[t*y.Stride+n] = s
}

// mulGeneric is Mul in plain Go: columns are split between threads, rows of W are widened once for all rows of x.
func mulGeneric(y, x Mat, w *Frozen, mode Mode, bias []float32, add bool) {
	x = rounded(x, mode)
	round := w.rounding(mode)
	Split(w.Cols, 512, func(lo, hi int) {
		start(y.ColRange(lo, hi), bias, lo, add)
		part := make([]float32, hi-lo)
		for n := range w.Rows {
			w.part(part, n, lo)
			round.apply(part)
			for t := range y.Rows {
				axpyRow(y.Data[t*y.Stride+lo:t*y.Stride+hi], part, x.Data[t*x.Stride+n])
			}
		}
	})
}

// start gives y what the sums are added to. bias begins at column lo of the whole bias.
func start(y Mat, bias []float32, lo int, add bool) {
	for t := range y.Rows {
		row := y.Row(t)
		if !add {
			clear(row)
		}
		if bias != nil {
			addRow(row, bias[lo:lo+len(row)])
		}
	}
}

// rounded is x as the mode multiplies it: x itself in f32, else a copy.
func rounded(x Mat, mode Mode) Mat {
	r := mode.rounding()
	if r == exact {
		return x
	}
	c := NewMat(make([]float32, x.Rows*x.Cols), x.Rows, x.Cols)
	copied(c, x, r)
	return c
}

// copied leaves in dst what x is when it has been rounded.
func copied(dst, x Mat, r rounding) {
	for i := range x.Rows {
		row := dst.Row(i)
		copy(row, x.Row(i))
		r.apply(row)
	}
}

var negInf = float32(math.Inf(-1))
