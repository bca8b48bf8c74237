package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Add is residual + scale·x, for branches that do not end with a projection (ProjectAdd is for those that do).
//
//	residual, x, y [T, C]
func Add(p *Pass, residual, x mat.Tensor, scale float32) mat.Tensor {
	rr, rc := shape(residual)
	if xr, xc := shape(x); xr != rr || xc != rc {
		panic(fmt.Sprintf("op: Add: residual [%d, %d], x [%d, %d]", rr, rc, xr, xc))
	}
	return node(&add{p: p, residual: residual, x: x, scale: scale})
}

type add struct {
	p           *Pass
	residual, x mat.Tensor
	scale       float32
	y           *Tensor
}

func (f *add) Operands() []mat.Tensor { return []mat.Tensor{f.residual, f.x} }

func (f *add) Forward() (mat.Tensor, error) {
	r, x := Of(f.residual), Of(f.x)
	f.y = f.p.Arena.NewTensor(r.rows, r.cols)
	kernel.Split(len(r.data), 1<<15, func(lo, hi int) {
		y := f.y.data[lo:hi]
		copy(y, r.data[lo:hi])
		kernel.Axpy(y, f.scale, x.data[lo:hi])
	})
	return f.y, nil
}

// Backward: dresidual = dy, dx = scale·dy.
func (f *add) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	if f.x.RequiresGrad() {
		dx := f.p.Arena.NewTensor(dy.rows, dy.cols)
		kernel.Split(len(dx.data), 1<<15, func(lo, hi int) {
			copy(dx.data[lo:hi], dy.data[lo:hi])
			if f.scale != 1 {
				kernel.Scale(dx.data[lo:hi], f.scale)
			}
		})
		f.x.AccGrad(dx)
	}
	f.y.release()
	if f.residual.RequiresGrad() {
		f.residual.AccGrad(dy) // dy changes owner
	} else {
		dy.release()
	}
	return nil
}

// Fork is x under a second name, for a value that three operators read: one reads x, the other two the fork, so that no
// gradient is a sum of more than two.
func Fork(p *Pass, x mat.Tensor) mat.Tensor { return node(&fork{x: x}) }

type fork struct{ x mat.Tensor }

func (f *fork) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

// Forward gives the numbers of x; they stay x's.
func (f *fork) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	x.keep()
	return NewTensor(x.data, x.rows, x.cols), nil
}

// Backward hands the gradient on.
func (f *fork) Backward(gy mat.Tensor) error {
	f.x.AccGrad(Of(gy))
	return nil
}
