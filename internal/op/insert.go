package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Insert puts rows before those of each segment of the pass.
//
//	x [T, C]    first: by segment [n, C], or nil for no rows    y [T + Σ n, C]
//
// The rows of first are multiplied by scale.
func Insert(p *Pass, x mat.Tensor, first []mat.Tensor, scale float32) mat.Tensor {
	_, cols := shape(x)
	for i, f := range first {
		if f == nil {
			continue
		}
		if _, c := shape(f); c != cols || len(first) != len(p.Segments) {
			panic(fmt.Sprintf("op: Insert: rows %d of %d have %d columns, x has %d, %d segments", i, len(first), c, cols, len(p.Segments)))
		}
	}
	return node(&insert{p: p, x: x, first: first, scale: scale})
}

type insert struct {
	p     *Pass
	x     mat.Tensor
	first []mat.Tensor
	scale float32
	y     *Tensor
}

func (f *insert) Operands() []mat.Tensor { return append([]mat.Tensor{f.x}, distinct(f.first)...) }

// each calls do with the segments, the place of their first row in y and the number of rows that go before it.
func (f *insert) each(do func(i, at, n int, seg Segment)) {
	at := 0
	for i, seg := range f.p.Segments {
		n := 0
		if f.first[i] != nil {
			n, _ = shape(f.first[i])
		}
		do(i, at, n, seg)
		at += n + seg.End - seg.Start
	}
}

func (f *insert) Forward() (mat.Tensor, error) {
	x, total := Of(f.x), 0
	f.each(func(_, at, n int, seg Segment) { total = at + n + seg.End - seg.Start })
	f.y = f.p.Arena.NewTensor(total, x.cols)
	y, c := f.y.data, x.cols
	f.each(func(i, at, n int, seg Segment) {
		if n > 0 {
			kernel.Scale(y[at*c:][:copy(y[at*c:], Of(f.first[i]).data)], f.scale)
		}
		copy(y[(at+n)*c:], x.data[seg.Start*c:seg.End*c])
	})
	return f.y, nil
}

// Backward: every row gets the gradient of its copies, in the order of the segments.
func (f *insert) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	dx := f.p.inputGrad(f.x)
	c := dy.cols
	f.each(func(i, at, n int, seg Segment) {
		if n > 0 && f.first[i].RequiresGrad() {
			kernel.Axpy(f.p.partsGrad(f.first[i]).data, f.scale, dy.data[at*c:(at+n)*c])
		}
		if dx != nil {
			copy(dx.data[seg.Start*c:seg.End*c], dy.data[(at+n)*c:])
		}
	})
	for _, x := range distinct(f.first) {
		if x.RequiresGrad() {
			x.AccGrad(f.p.partsGrad(x))
		}
	}
	dy.release()
	f.y.release()
	if dx != nil {
		f.x.AccGrad(dx)
	}
	return nil
}

// Spread puts rows where they are of n, the others of which are 0.
//
//	x [len(rows), C]   y [n, C]
func Spread(p *Pass, x mat.Tensor, rows []int, n int) mat.Tensor {
	if r, _ := shape(x); r != len(rows) || r > n {
		panic(fmt.Sprintf("op: Spread: %d rows to %d places of %d", r, len(rows), n))
	}
	return node(&spread{p: p, x: x, rows: rows, n: n})
}

type spread struct {
	p    *Pass
	x    mat.Tensor
	rows []int
	n    int
	y    *Tensor
}

func (f *spread) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

func (f *spread) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	f.y = f.p.Arena.NewTensor(f.n, x.cols)
	clear(f.y.data)
	putRows(f.y.View(), x.View(), f.rows)
	return f.y, nil
}

// Backward: the gradient of a row is that of its place.
func (f *spread) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	if f.x.RequiresGrad() {
		d := f.p.Arena.NewTensor(len(f.rows), dy.cols)
		pickRows(d.View(), dy.View(), f.rows)
		f.x.AccGrad(d)
	}
	dy.release()
	f.y.release()
	return nil
}

// Take picks rows; no row may be picked twice.
//
//	x [T, C]   y [len(rows), C]
func Take(p *Pass, x mat.Tensor, rows []int) mat.Tensor { return node(&take{p: p, x: x, rows: rows}) }

type take struct {
	p    *Pass
	x    mat.Tensor
	rows []int
	y    *Tensor
}

func (f *take) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

func (f *take) Forward() (mat.Tensor, error) {
	x := Of(f.x).View()
	f.y = f.p.Arena.NewTensor(len(f.rows), x.Cols)
	pickRows(f.y.View(), x, f.rows)
	return f.y, nil
}

// Backward: a row that was not picked has no gradient.
func (f *take) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	dx := f.p.inputGrad(f.x)
	for i, t := range f.rows {
		copy(dx.View().Row(t), dy.View().Row(i))
	}
	dy.release()
	f.y.release()
	f.x.AccGrad(dx)
	return nil
}
