package kernel

import "fmt"

// Acts is an activation matrix made ready for products in one mode: converted and packed once for all the weights
// that read it. Safe for concurrent use until Free.
type Acts struct {
	x    Mat
	mode Mode
	v    *variant
	packed
}

// Pack prepares x for products in the mode. x must not change until Free. The packed forms are made when the first
// product needs them.
func Pack(x Mat, mode Mode) *Acts { return &Acts{x: x, mode: mode, v: current()} }

// Free gives the packed memory back; the Acts must not be used again.
func (a *Acts) Free() { a.packed.free() }

// MulT is y (+)= x·Wᵀ + bias, the product with a weight stored [out, in].
//
//	x [T, K]   W [N, K]   bias [N] or nil   y [T, N]
//
//	for t, n: y[t,n] = (add ? y[t,n] : 0) + bias[n] + Σ_k x[t,k]·W[n,k]
func (a *Acts) MulT(y Mat, w *Frozen, bias []float32, add bool) {
	a.forward(y, w, bias, add, low{})
}

// forward is MulT with an addition of low rank.
func (a *Acts) forward(y Mat, w *Frozen, bias []float32, add bool, more low) {
	if a.x.Cols != w.Cols || y.Rows != a.x.Rows || y.Cols != w.Rows || bias != nil && len(bias) != y.Cols {
		panic(fmt.Sprintf("kernel: MulT: y [%d, %d] = x [%d, %d] · W [%d, %d]ᵀ + bias [%d]", y.Rows, y.Cols, a.x.Rows, a.x.Cols, w.Rows, w.Cols, len(bias)))
	}
	w = w.in(a.mode)
	switch {
	case y.Rows == 0 || y.Cols == 0:
	case a.v.vec == vecGo || w.Cols == 0:
		mulTGeneric(y, a.x, w, a.mode, bias, add)
		more.addTo(y)
	default:
		a.mulT(y, w, bias, add, more)
	}
}

// Mul is y (+)= x·W + bias, the product with a weight stored [in, out] (and the input gradient of MulT).
//
//	x [T, N]   W [N, K]   bias [K] or nil   y [T, K]
//
//	for t, k: y[t,k] = (add ? y[t,k] : 0) + bias[k] + Σ_n x[t,n]·W[n,k]
func (a *Acts) Mul(y Mat, w *Frozen, bias []float32, add bool) {
	a.backward(y, w, bias, add, low{})
}

// backward is Mul with an addition of low rank.
func (a *Acts) backward(y Mat, w *Frozen, bias []float32, add bool, more low) {
	if a.x.Cols != w.Rows || y.Rows != a.x.Rows || y.Cols != w.Cols || bias != nil && len(bias) != y.Cols {
		panic(fmt.Sprintf("kernel: Mul: y [%d, %d] = x [%d, %d] · W [%d, %d] + bias [%d]", y.Rows, y.Cols, a.x.Rows, a.x.Cols, w.Rows, w.Cols, len(bias)))
	}
	w = w.in(a.mode)
	switch {
	case y.Rows == 0 || y.Cols == 0:
	case a.v.vec == vecGo || w.Rows == 0:
		mulGeneric(y, a.x, w, a.mode, bias, add)
		more.addTo(y)
	default:
		a.mul(y, w, bias, add, more)
	}
}
