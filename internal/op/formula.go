package op

import (
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// Formula is what a method computes of whole activations, where no projection holds it: a bottleneck at the end of a branch, a
// bijection of the embeddings. It works on plain buffers; Compute makes it a node of the graph.
type Formula interface {
	// Forward writes y from the values x. What Backward will need beyond x it returns (only if p.Grad).
	Forward(p *Pass, y kernel.Mat, x []kernel.Mat) (saved any)
	// Backward adds the gradients of the parameters to their buffers and those of the values to dx; a dx of no rows is not wanted.
	Backward(p *Pass, dx []kernel.Mat, dy kernel.Mat, x []kernel.Mat, saved any)
	// Params are the trainable parameters.
	Params() []*nn.Param
}

// Compute is the formula of some values as one operator.
//
//	x [any] each   y [rows, cols]
func Compute(p *Pass, f Formula, rows, cols int, x ...mat.Tensor) mat.Tensor {
	return node(&computed{p: p, f: f, rows: rows, cols: cols, x: x})
}

type computed struct {
	p          *Pass
	f          Formula
	rows, cols int
	x          []mat.Tensor
	y          *Tensor
	saved      any
}

func (f *computed) Operands() []mat.Tensor {
	list := append([]mat.Tensor(nil), f.x...)
	for _, q := range f.f.Params() {
		list = append(list, q)
	}
	return list
}

func (f *computed) values() []kernel.Mat {
	list := make([]kernel.Mat, len(f.x))
	for i, x := range f.x {
		list[i] = Of(x).View()
	}
	return list
}

func (f *computed) Forward() (mat.Tensor, error) {
	f.y = f.p.Arena.NewTensor(f.rows, f.cols)
	f.saved = f.f.Forward(f.p, f.y.View(), f.values())
	return f.y, nil
}

// Backward is the formula's own.
func (f *computed) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	grads, dx := make([]*Tensor, len(f.x)), make([]kernel.Mat, len(f.x))
	for i, x := range f.x {
		if x.RequiresGrad() {
			r, c := shape(x)
			grads[i] = f.p.Arena.NewTensor(r, c)
			clear(grads[i].data)
			dx[i] = grads[i].View()
		}
	}
	f.f.Backward(f.p, dx, dy.View(), f.values(), f.saved)
	f.y.release()
	dy.release()
	for i, g := range grads {
		if g != nil {
			f.x[i].AccGrad(g)
		}
	}
	return nil
}
