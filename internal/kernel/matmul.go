package kernel

import "fmt"

// MatMulOpts are the options of MatMul.
type MatMulOpts struct {
	TransA, TransB bool    // use aᵀ, bᵀ
	Alpha          float32 // factor of the product; 0 means 1
	Add            bool    // add to c instead of writing it
	Serial         bool    // stay on the caller's goroutine
}

// MatMul is c (+)= alpha·op(a)·op(b), all in float32.
//
//	op(a) [M, K]   op(b) [K, N]   c [M, N]
//
//	for i, j: c[i,j] = (Add ? c[i,j] : 0) + alpha·Σ_k op(a)[i,k]·op(b)[k,j]
//
// c must not overlap a or b.
func MatMul(c, a, b Mat, o MatMulOpts) {
	m, k := a.Rows, a.Cols
	if o.TransA {
		m, k = k, m
	}
	kb, n := b.Rows, b.Cols
	if o.TransB {
		kb, n = n, kb
	}
	if k != kb || c.Rows != m || c.Cols != n {
		panic(fmt.Sprintf("kernel: MatMul: c [%d, %d] = a [%d, %d] · b [%d, %d] (TransA %v, TransB %v)",
			c.Rows, c.Cols, a.Rows, a.Cols, b.Rows, b.Cols, o.TransA, o.TransB))
	}
	if o.Alpha == 0 {
		o.Alpha = 1
	}
	switch {
	case m == 0 || n == 0:
	case k == 0 || current().vec == vecGo:
		matMulGeneric(c, a, b, o)
	default:
		matMulVec(c, a, b, o)
	}
}

// Transpose is c = aᵀ.
//
//	a [M, N]   c [N, M]
func Transpose(c, a Mat) {
	if c.Rows != a.Cols || c.Cols != a.Rows {
		panic(fmt.Sprintf("kernel: Transpose: c [%d, %d], a [%d, %d]", c.Rows, c.Cols, a.Rows, a.Cols))
	}
	transposeInto(c, a)
}
