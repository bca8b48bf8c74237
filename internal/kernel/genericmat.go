package kernel

// matMulGeneric is MatMul in plain Go: rows of c in parallel.
func matMulGeneric(c, a, b Mat, o MatMulOpts) {
	row := func(i int) {
		y := c.Row(i)
		if !o.Add {
			clear(y)
		}
		if o.TransB {
			dotsOf(y, a, b, i, o)
			return
		}
		for k := range b.Rows {
			axpyRow(y, b.Row(k), o.Alpha*opAt(a, o.TransA, i, k))
		}
	}
	if o.Serial {
		for i := range c.Rows {
			row(i)
		}
		return
	}
	Parallel(c.Rows, row)
}

// dotsOf adds row i of alpha·op(a)·bᵀ to y.
func dotsOf(y []float32, a, b Mat, i int, o MatMulOpts) {
	x := make([]float32, b.Cols)
	for k := range x {
		x[k] = opAt(a, o.TransA, i, k)
	}
	for j := range y {
		y[j] += o.Alpha * dotRow(x, b.Row(j))
	}
}

// opAt is element (i, k) of a or aᵀ.
func opAt(a Mat, trans bool, i, k int) float32 {
	if trans {
		return a.Data[k*a.Stride+i]
	}
	return a.Data[i*a.Stride+k]
}

// transposeGo is dst = srcᵀ in plain Go.
func transposeGo(dst, src Mat) {
	for i := range src.Rows {
		for j, v := range src.Row(i) {
			dst.Data[j*dst.Stride+i] = v
		}
	}
}
