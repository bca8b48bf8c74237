package kernel

import "fmt"

// Linear is a product with a weight stored [out, in], with an addition of low rank or without:
//
//	y = x·Wᵀ + bias + scale·x·Aᵀ·Bᵀ
//
//	x [T, K]   W [N, K]   bias [N] or nil   A [r, K]   B [N, r]   y [T, N]
type Linear struct {
	W     *Frozen
	Bias  []float32
	A, B  Mat // of no rows: there is no addition
	Scale float32
}

// Linears writes y = x·Wᵀ + … for several weights that read the same activations, ys one for each. Few rows pass through all of them in one
// go.
func (a *Acts) Linears(ys []Mat, list []Linear) {
	for i := range list {
		a.check(ys[i], &list[i])
	}
	if len(ys) == 0 || ys[0].Rows == 0 || a.few(ys, list) {
		return
	}
	for i := range list {
		l := &list[i]
		a.MulT(ys[i], l.W, l.Bias, false)
		if l.A.Rows > 0 {
			a.addLow(ys[i], l)
		}
	}
}

func (a *Acts) check(y Mat, l *Linear) {
	low := l.A.Rows == 0 || l.A.Cols == a.x.Cols && l.B.Rows == y.Cols && l.B.Cols == l.A.Rows && l.Scale != 0
	if y.Rows != a.x.Rows || !low {
		panic(fmt.Sprintf("kernel: Linears: y [%d, %d], x [%d, %d], A [%d, %d], B [%d, %d], scale %g",
			y.Rows, y.Cols, a.x.Rows, a.x.Cols, l.A.Rows, l.A.Cols, l.B.Rows, l.B.Cols, l.Scale))
	}
}

// addLow adds the product of low rank by itself.
func (a *Acts) addLow(y Mat, l *Linear) {
	buf := floats.get(y.Rows * l.A.Rows)
	defer floats.put(buf)
	s := NewMat(*buf, y.Rows, l.A.Rows)
	MatMul(s, a.x, l.A, MatMulOpts{TransB: true})
	MatMul(y, s, l.B, MatMulOpts{TransB: true, Alpha: l.Scale, Add: true})
}
