package tuner

import (
	"slices"
	"sync"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
)

// deltas fold the layer into the base: what its formula makes of the unit vectors is the weight, and of zero the bias.
func (l *part) deltas() []merge.Delta {
	s := l.site.Slot
	w := &weight{tensor: s.Tensor("weight"), in: l.site.In, out: l.site.Out, transposed: s.Kind == layer.Conv1D, make: l.image}
	if l.layer.Add != nil {
		return []merge.Delta{&added{w}}
	}
	var list []merge.Delta
	if !l.layer.BiasOnly {
		list = append(list, &replaced{w})
	}
	if b := l.bias(); !slices.Equal(b, s.Base.Bias) {
		list = append(list, &merge.Whole{Tensor: s.Tensor("bias"), Rows: len(b), Cols: 1, Data: b})
	}
	return list
}

// image is what the formula makes of the unit vectors, [in, out], without a bias.
func (l *part) image() kernel.Mat {
	c := l.call(&op.Pass{Arena: op.NewArena()})
	c.linear = true
	one := c.Identity(l.site.In)
	if l.layer.Add != nil {
		return l.layer.Add(c, one).Value()
	}
	return l.layer.Apply(c, one, func(h *tape.Node) *tape.Node { return c.MatMulT(h, c.Weight()) }).Value()
}

// bias is what the formula makes of zero; nil if there is nothing.
func (l *part) bias() []float32 {
	b := l.site.Slot.Base.Bias
	c := l.call(&op.Pass{Arena: op.NewArena()})
	zero := c.Const(kernel.NewMat(make([]float32, l.site.In), 1, l.site.In))
	y := l.layer.Apply(c, zero, func(h *tape.Node) *tape.Node {
		y := c.MatMulT(h, c.Weight())
		if b != nil {
			y = c.Add(y, 1, c.Const(kernel.NewMat(b, 1, len(b))))
		}
		return y
	}).Value().Data
	if b == nil && !slices.ContainsFunc(y, func(v float32) bool { return v != 0 }) {
		return nil
	}
	return y
}

// weight is a matrix that is made when its first rows are asked for and forgotten after the last, so that merging holds few
// of them at once. Safe for concurrent use.
type weight struct {
	tensor     string
	in, out    int
	transposed bool // the tensor is stored [in, out]
	make       func() kernel.Mat

	mu   sync.Mutex
	m    kernel.Mat // [in, out]
	left int        // rows not asked for yet
}

// Target implements merge.Delta.
func (w *weight) Target() string { return w.tensor }

// Dims implements merge.Delta.
func (w *weight) Dims() (rows, cols int) {
	if w.transposed {
		return w.in, w.out
	}
	return w.out, w.in
}

// rows gives put the numbers of rows lo to hi of the tensor, counted from the first of them.
func (w *weight) rows(lo, hi int, put func(i int, v float32)) {
	m := w.take(hi - lo)
	_, cols := w.Dims()
	for i := lo; i < hi; i++ {
		for j := range cols {
			if w.transposed {
				put((i-lo)*cols+j, m.Row(i)[j])
			} else {
				put((i-lo)*cols+j, m.Row(j)[i])
			}
		}
	}
}

// take makes the matrix if it is not there, and forgets it with its last rows.
func (w *weight) take(n int) kernel.Mat {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m.Rows == 0 {
		w.left, _ = w.Dims()
		w.m = w.make()
	}
	m := w.m
	if w.left -= n; w.left <= 0 {
		w.m = kernel.Mat{}
	}
	return m
}

// added is a weight that is added to the base's.
type added struct{ *weight }

// AddTo implements merge.Adder.
func (d *added) AddTo(lo, hi int, dst []float32) {
	d.rows(lo, hi, func(i int, v float32) { dst[i] += v })
}

// replaced is a weight that takes the place of the base's.
type replaced struct{ *weight }

// SetTo implements merge.Setter.
func (d *replaced) SetTo(lo, hi int, dst []float32) {
	d.rows(lo, hi, func(i int, v float32) { dst[i] = v })
}
