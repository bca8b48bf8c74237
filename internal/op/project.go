package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Project applies several projections to one input and puts their results side by side.
//
//	x [T, in]   y [T, Σ out]
func Project(p *Pass, x mat.Tensor, projections ...Projection) mat.Tensor {
	f := &project{p: p, x: x, list: projections}
	for _, q := range projections {
		in, out := q.Dims()
		if _, c := shape(x); c != in {
			panic(fmt.Sprintf("op: Project: x has %d columns, want %d", c, in))
		}
		f.out += out
	}
	return node(f)
}

type project struct {
	p     *Pass
	x     mat.Tensor
	list  []Projection
	out   int
	y     *Tensor
	saved []any
}

func (f *project) Operands() []mat.Tensor { return operands([]mat.Tensor{f.x}, f.list...) }

func (f *project) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	f.y = f.p.Arena.NewTensor(x.rows, f.out)
	in := NewInput(x.View())
	defer in.Free()
	ys := make([]kernel.Mat, len(f.list))
	at := 0
	for i, q := range f.list {
		_, out := q.Dims()
		ys[i] = f.y.View().ColRange(at, at+out)
		at += out
	}
	if f.p.linears(ys, in, f.list) {
		return f.y, nil
	}
	f.saved = make([]any, len(f.list))
	for i, q := range f.list {
		f.saved[i] = q.Forward(f.p, ys[i], in)
	}
	x.letGo(f.list...)
	return f.y, nil
}

// linears computes projections that are no more than linear in one go, and says whether they are. No backward pass may follow.
func (p *Pass) linears(ys []kernel.Mat, x *Input, list []Projection) bool {
	if p.Trains() || len(list) < 2 {
		return false
	}
	plain := make([]kernel.Linear, len(list))
	for i, q := range list {
		l, ok := q.(Plain)
		if !ok {
			return false
		}
		if plain[i], ok = l.Linear(p, x); !ok {
			return false
		}
	}
	x.Acts(p.Mode).Linears(ys, plain)
	return true
}

// Backward: dx = Σ dy_i·∂y_i/∂x.
func (f *project) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	dx := f.p.inputGrad(f.x)
	in := inputAgain(f.x, f.list...)
	defer in.Free()
	at := 0
	for i, q := range f.list {
		_, out := q.Dims()
		q.Backward(f.p, viewOf(dx), dy.View().ColRange(at, at+out), in, f.saved[i])
		at += out
	}
	dy.release()
	f.y.release()
	if dx != nil {
		f.x.AccGrad(dx)
	}
	return nil
}

// inputGrad is a zeroed buffer for the gradient of x, nil if x needs none.
func (p *Pass) inputGrad(x mat.Tensor) *Tensor {
	if !x.RequiresGrad() {
		return nil
	}
	t := bare(x)
	dx := p.Arena.NewTensor(t.rows, t.cols)
	clear(dx.data)
	return dx
}

// viewOf is the matrix of t, empty for nil.
func viewOf(t *Tensor) kernel.Mat {
	if t == nil {
		return kernel.Mat{}
	}
	return t.View()
}

// ProjectAdd is residual + projection(x), the end of an attention or MLP block.
//
//	x [T, in]   residual [T, out]   y [T, out]
func ProjectAdd(p *Pass, x mat.Tensor, q Projection, residual mat.Tensor) mat.Tensor {
	in, out := q.Dims()
	xr, xc := shape(x)
	if rr, rc := shape(residual); xc != in || rc != out || rr != xr {
		panic(fmt.Sprintf("op: ProjectAdd: x [%d, %d], residual [%d, %d], projection %d to %d", xr, xc, rr, rc, in, out))
	}
	return node(&projectAdd{p: p, x: x, q: q, residual: residual})
}

type projectAdd struct {
	p           *Pass
	x, residual mat.Tensor
	q           Projection
	y           *Tensor
	saved       any
}

func (f *projectAdd) Operands() []mat.Tensor {
	return operands([]mat.Tensor{f.x, f.residual}, f.q)
}

func (f *projectAdd) Forward() (mat.Tensor, error) {
	x, r := Of(f.x), Of(f.residual)
	f.y = f.p.Arena.NewTensor(r.rows, r.cols)
	in := NewInput(x.View())
	defer in.Free()
	f.saved = f.q.Forward(f.p, f.y.View(), in)
	kernel.Split(len(r.data), 1<<15, func(lo, hi int) { kernel.Add(f.y.data[lo:hi], r.data[lo:hi]) })
	x.letGo(f.q)
	return f.y, nil
}

// Backward: dresidual = dy, dx = dy·∂projection/∂x.
func (f *projectAdd) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	dx := f.p.inputGrad(f.x)
	in := inputAgain(f.x, f.q)
	defer in.Free()
	f.q.Backward(f.p, viewOf(dx), dy.View(), in, f.saved)
	f.y.release()
	if dx != nil {
		f.x.AccGrad(dx)
	}
	if f.residual.RequiresGrad() {
		f.residual.AccGrad(dy) // dy changes owner
	} else {
		dy.release()
	}
	return nil
}
