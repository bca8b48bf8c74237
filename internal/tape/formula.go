package tape

import (
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// Formula is a formula of whole activations as an operator of the graph (op.Formula).
type Formula struct {
	// Record puts the formula on the tape. The values are nodes of their own.
	Record func(t *Tape, p *op.Pass, x []*Node) *Node
	// Trained are the parameters that it reads.
	Trained []*nn.Param
}

// Compute is the formula of some values.
//
//	x [any] each   y [rows, cols]
func (f *Formula) Compute(p *op.Pass, rows, cols int, x ...mat.Tensor) mat.Tensor {
	return op.Compute(p, f, rows, cols, x...)
}

// Params implements op.Formula.
func (f *Formula) Params() []*nn.Param { return f.Trained }

// Forward implements op.Formula. Nothing is kept: Backward records the formula again and computes of it what it needs.
func (f *Formula) Forward(p *op.Pass, y kernel.Mat, x []kernel.Mat) any {
	t := New(p.Arena)
	in := make([]*Node, len(x))
	for i, m := range x {
		in[i] = t.Const(m)
	}
	v := f.Record(t, p, in).Value()
	for i := range y.Rows {
		copy(y.Row(i), v.Row(i))
	}
	t.Free()
	return nil
}

// Backward implements op.Formula.
func (f *Formula) Backward(p *op.Pass, dx []kernel.Mat, dy kernel.Mat, x []kernel.Mat, _ any) {
	t := New(p.Arena)
	in := make([]*Node, len(x))
	for i, m := range x {
		in[i] = t.Input(m, dx[i])
	}
	t.Backward(f.Record(t, p, in), dy)
	t.Free()
}

// Activate is act(x).
func (t *Tape) Activate(a *Node, act op.Activation) *Node {
	return t.Op(a.Rows, a.Cols, func(y kernel.Mat) {
		u := a.Value()
		rows(y, func(i int, row []float32) { act.Forward(row, u.Row(i)) })
	}, func(dy kernel.Mat) {
		u := a.Value()
		g := a.Grad()
		kernel.Split(u.Rows, 8, func(lo, hi int) {
			d := t.arena.Get(u.Cols)
			defer t.arena.Put(d)
			for i := lo; i < hi; i++ {
				act.Backward(d, dy.Row(i), u.Row(i))
				kernel.Add(g.Row(i), d)
			}
		})
	}, a)
}

// Sigmoid is 1/(1 + e^−x).
func (t *Tape) Sigmoid(a *Node) *Node {
	s := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	return t.Map(a, s, func(x float64) float64 { return s(x) * (1 - s(x)) })
}

// Normalize norms the rows of a, with the vectors of a norm of the pass's model or of the method's own.
func (t *Tape) Normalize(p *op.Pass, a *Node, n op.Norm) *Node {
	operands := []*Node{a}
	for _, v := range []*op.Vector{n.Weight, n.Bias} {
		if v != nil && v.Param != nil {
			operands = append(operands, t.Param(v.Param)) // the norm adds to its gradient itself
		}
	}
	var y *Node
	var scales []float32
	y = t.Op(a.Rows, a.Cols, func(out kernel.Mat) {
		scales = n.Rows(p, out, a.Value())
		y.own = append(y.own, scales)
	}, func(dy kernel.Mat) {
		y.Value()
		var dx kernel.Mat
		if a.needs {
			dx = a.Grad()
		}
		n.RowsBackward(p, dx, dy, a.Value(), scales)
	}, operands...)
	return y
}

// Means are the means of the rows of a from lo to hi of each range, [len(ranges), C].
func (t *Tape) Means(a *Node, ranges [][2]int) *Node {
	return t.Op(len(ranges), a.Cols, func(y kernel.Mat) {
		u := a.Value()
		for i, r := range ranges {
			for k := r[0]; k < r[1]; k++ { // in the order of the rows
				kernel.Axpy(y.Row(i), 1/float32(r[1]-r[0]), u.Row(k))
			}
		}
	}, func(dy kernel.Mat) {
		g := a.Grad()
		for i, r := range ranges {
			for k := r[0]; k < r[1]; k++ {
				kernel.Axpy(g.Row(k), 1/float32(r[1]-r[0]), dy.Row(i))
			}
		}
	}, a)
}

// Dropout sets elements of x to zero with the probability and scales the others by 1/(1−probability), in training. The mask
// is a function of the pass's seed, the stream and the element.
func (t *Tape) Dropout(p *op.Pass, stream uint64, x *Node, probability float64) *Node {
	if !p.Train || probability == 0 {
		return x
	}
	keep, bound := float32(1/(1-probability)), uint64(probability*(1<<53))
	mask := func(dst, src kernel.Mat) {
		kernel.Split(src.Rows, 8, func(lo, hi int) {
			for t := lo; t < hi; t++ {
				for i, v := range src.Row(t) {
					if op.Random(p.Seed, stream+1, uint64(t*src.Cols+i))>>11 >= bound {
						dst.Row(t)[i] += v * keep
					}
				}
			}
		})
	}
	return t.Op(x.Rows, x.Cols, func(y kernel.Mat) { mask(y, x.Value()) }, func(dy kernel.Mat) { mask(x.Grad(), dy) }, x)
}
