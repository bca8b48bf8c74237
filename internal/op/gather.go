package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Gather picks rows, such as the first of each segment, or those that have a target. A row may be picked more than once.
//
//	x [T, C]   y [len(rows), C]
func Gather(p *Pass, x mat.Tensor, rows []int) mat.Tensor {
	n, _ := shape(x)
	for _, t := range rows {
		if t < 0 || t >= n {
			panic(fmt.Sprintf("op: Gather: row %d of %d", t, n))
		}
	}
	return node(&gather{p: p, x: x, rows: rows})
}

type gather struct {
	p    *Pass
	x    mat.Tensor
	rows []int
	y    *Tensor
}

func (f *gather) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

func (f *gather) Forward() (mat.Tensor, error) {
	x := Of(f.x).View()
	f.y = f.p.Arena.NewTensor(len(f.rows), x.Cols)
	pickRows(f.y.View(), x, f.rows)
	return f.y, nil
}

// Backward: dx[rows[i]] += dy[i], in the order of i.
func (f *gather) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	if dx := f.p.inputGrad(f.x); dx != nil {
		for i, t := range f.rows {
			kernel.Add(dx.View().Row(t), dy.View().Row(i))
		}
		f.x.AccGrad(dx)
	}
	dy.release()
	f.y.release()
	return nil
}

// pickRows copies rows of src to dst [len(rows), C], in their order.
func pickRows(dst, src kernel.Mat, rows []int) {
	for i, t := range rows {
		copy(dst.Row(i), src.Row(t))
	}
}

// putRows copies src [len(rows), C] to rows of dst.
func putRows(dst, src kernel.Mat, rows []int) {
	for i, t := range rows {
		copy(dst.Row(t), src.Row(i))
	}
}

// SegmentMean is the mean of the rows of each segment of the pass.
//
//	x [T, C]   y [segments, C]
func SegmentMean(p *Pass, x mat.Tensor) mat.Tensor { return node(&segmentMean{p: p, x: x}) }

type segmentMean struct {
	p *Pass
	x mat.Tensor
	y *Tensor
}

func (f *segmentMean) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

func (f *segmentMean) Forward() (mat.Tensor, error) {
	x := Of(f.x).View()
	f.y = f.p.Arena.NewTensor(len(f.p.Segments), x.Cols)
	clear(f.y.data)
	for i, s := range f.p.Segments {
		y := f.y.View().Row(i)
		for t := s.Start; t < s.End; t++ {
			kernel.Add(y, x.Row(t))
		}
		kernel.Scale(y, 1/float32(s.End-s.Start))
	}
	return f.y, nil
}

// Backward: dx[t] = dy[segment of t] / rows of the segment.
func (f *segmentMean) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	if dx := f.p.inputGrad(f.x); dx != nil {
		for i, s := range f.p.Segments {
			for t := s.Start; t < s.End; t++ {
				kernel.Axpy(dx.View().Row(t), 1/float32(s.End-s.Start), dy.View().Row(i))
			}
		}
		f.x.AccGrad(dx)
	}
	dy.release()
	f.y.release()
	return nil
}

// Stack puts rows below others, so that projections which both pass through belong to one operator: two would add to the
// gradients of one parameter in no fixed order.
//
//	x [T, C]   below [R, C]   y [T+R, C]
func Stack(p *Pass, x, below mat.Tensor) mat.Tensor {
	xr, xc := shape(x)
	if br, bc := shape(below); bc != xc {
		panic(fmt.Sprintf("op: Stack: x [%d, %d], below [%d, %d]", xr, xc, br, bc))
	}
	return node(&stack{p: p, x: x, below: below})
}

type stack struct {
	p        *Pass
	x, below mat.Tensor
	y        *Tensor
}

func (f *stack) Operands() []mat.Tensor { return []mat.Tensor{f.x, f.below} }

func (f *stack) Forward() (mat.Tensor, error) {
	x, b := Of(f.x), Of(f.below)
	f.y = f.p.Arena.NewTensor(x.rows+b.rows, x.cols)
	copy(f.y.data, x.data)
	copy(f.y.data[len(x.data):], b.data)
	return f.y, nil
}

// Backward gives each its rows of dy.
func (f *stack) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	from := 0
	for _, q := range []mat.Tensor{f.x, f.below} {
		t := Of(q)
		if q.RequiresGrad() {
			d := f.p.Arena.NewTensor(t.rows, t.cols)
			copy(d.data, dy.data[from:])
			q.AccGrad(d)
		}
		from += t.rows * t.cols
	}
	dy.release()
	f.y.release()
	return nil
}
