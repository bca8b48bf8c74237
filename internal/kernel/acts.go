package kernel

import "fmt"

// Acts is an activation matrix made ready for products in one mode: converted and packed once for all the weights
// that read it. Free gives its memory back.
type Acts struct {
	x    Mat
	mode Mode
}

// Pack prepares x for products in the mode. x must not change until Free.
func Pack(x Mat, mode Mode) *Acts { return &Acts{x: x, mode: mode} }

// Free gives the packed memory back; the Acts must not be used again.
func (a *Acts) Free() {}

// MulT is y (+)= x·Wᵀ + bias, the product with a weight stored [out, in].
//
//	x [T, K]   W [N, K]   bias [N] or nil   y [T, N]
//
//	for t, n: y[t,n] = (add ? y[t,n] : 0) + bias[n] + Σ_k x[t,k]·W[n,k]
func (a *Acts) MulT(y Mat, w *Frozen, bias []float32, add bool) {
	if a.x.Cols != w.Cols || y.Rows != a.x.Rows || y.Cols != w.Rows {
		panic(fmt.Sprintf("kernel: MulT: y [%d, %d] = x [%d, %d] · W [%d, %d]ᵀ", y.Rows, y.Cols, a.x.Rows, a.x.Cols, w.Rows, w.Cols))
	}
	mulTGeneric(y, a.x, w, a.mode, bias, add)
}

// Mul is y (+)= x·W, the product with a weight stored [in, out] (and the input gradient of MulT).
//
//	x [T, N]   W [N, K]   bias [K] or nil   y [T, K]
//
//	for t, k: y[t,k] = (add ? y[t,k] : 0) + bias[k] + Σ_n x[t,n]·W[n,k]
func (a *Acts) Mul(y Mat, w *Frozen, bias []float32, add bool) {
	if a.x.Cols != w.Rows || y.Rows != a.x.Rows || y.Cols != w.Cols {
		panic(fmt.Sprintf("kernel: Mul: y [%d, %d] = x [%d, %d] · W [%d, %d]", y.Rows, y.Cols, a.x.Rows, a.x.Cols, w.Rows, w.Cols))
	}
	mulGeneric(y, a.x, w, a.mode, bias, add)
}
