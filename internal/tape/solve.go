package tape

import (
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"gonum.org/v1/gonum/mat"
)

// Inverse inverts every n×n matrix of a stack [blocks·n, n], in float64. A singular one gives numbers that are not finite,
// which the loss then reports.
func (t *Tape) Inverse(stack *Node) *Node {
	n := stack.Cols
	want("Inverse", n > 0 && stack.Rows%n == 0, stack)
	var y *Node
	y = t.Op(stack.Rows, n, func(m kernel.Mat) {
		v := stack.Value()
		kernel.Parallel(stack.Rows/n, func(k int) { invert(m.RowRange(k*n, (k+1)*n), v.RowRange(k*n, (k+1)*n)) })
	}, func(dy kernel.Mat) { // dA = −A⁻ᵀ·dy·A⁻ᵀ
		tmp := kernel.NewMat(make([]float32, n*n), n, n)
		for k := range stack.Rows / n {
			b := y.Value().RowRange(k*n, (k+1)*n)
			kernel.MatMul(tmp, b, dy.RowRange(k*n, (k+1)*n), opts{TransA: true})
			kernel.MatMul(stack.Grad().RowRange(k*n, (k+1)*n), tmp, b, opts{TransB: true, Alpha: -1, Add: true})
		}
	}, stack)
	return y
}

func invert(dst, src kernel.Mat) {
	n := src.Rows
	a := mat.NewDense(n, n, nil)
	for i := range n {
		for j, v := range src.Row(i) {
			a.Set(i, j, float64(v))
		}
	}
	var inv mat.Dense
	ok := inv.Inverse(a)
	_, illConditioned := ok.(mat.Condition)
	for i := range n {
		for j := range n {
			if ok != nil && !illConditioned {
				dst.Row(i)[j] = float32(math.NaN())
				continue
			}
			dst.Row(i)[j] = float32(inv.At(i, j))
		}
	}
}

// Eye is the n×n identity on top of itself, blocks times.
func (t *Tape) Eye(blocks, n int) *Node {
	return t.Lazy(blocks*n, n, func(m kernel.Mat) {
		for i := range blocks * n {
			m.Row(i)[i%n] = 1
		}
	})
}

// RowNorms is √Σ_j a[i,j]² of every row, [rows, 1].
func (t *Tape) RowNorms(a *Node) *Node {
	var y *Node
	y = t.Op(a.Rows, 1, func(m kernel.Mat) {
		u := a.Value()
		rows(m, func(i int, row []float32) { row[0] = float32(math.Sqrt(kernel.SumSquares(u.Row(i)))) })
	}, func(dy kernel.Mat) {
		u, n := a.Value(), y.Value()
		rows(a.Grad(), func(i int, row []float32) {
			if v := n.Row(i)[0]; v > 0 { // at zero there is no slope, which counts as 0
				kernel.Axpy(row, dy.Row(i)[0]/v, u.Row(i))
			}
		})
	}, a)
	return y
}

// Norm is the Frobenius norm of a, [1, 1].
func (t *Tape) Norm(a *Node) *Node { return t.RowNorms(t.Reshape(a, 1, a.Rows*a.Cols)) }

// Pow is a to a power, for positive a.
func (t *Tape) Pow(a *Node, e float64) *Node {
	return t.Map(a, func(x float64) float64 { return math.Pow(x, e) }, func(x float64) float64 { return e * math.Pow(x, e-1) })
}
