package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Activation is one way to gate: y = act(gate) ∘ up, with its gradient.
type Activation struct {
	Name     string
	Forward  func(y, gate, up []float32)
	Backward func(dgate, dup, dy, gate, up []float32)
}

// SiLU gates by x·σ(x).
var SiLU = Activation{"silu", kernel.SiLUMul, kernel.SiLUMulBackward}

// Gate is the middle of a gated MLP [shazeer2020].
//
//	x [T, 2I]: gate, up side by side   y [T, I] = act(gate) ∘ up
func Gate(p *Pass, x mat.Tensor, act Activation) mat.Tensor {
	if _, c := shape(x); c%2 != 0 {
		panic(fmt.Sprintf("op: Gate: x has %d columns, want an even number", c))
	}
	return node(&gate{p: p, x: x, act: act})
}

type gate struct {
	p   *Pass
	x   mat.Tensor
	act Activation
	y   *Tensor
}

func (f *gate) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

func (f *gate) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	n := x.cols / 2
	f.y = f.p.Arena.NewTensor(x.rows, n)
	xv, yv := x.View(), f.y.View()
	kernel.Split(x.rows, 4, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			r := xv.Row(t)
			f.act.Forward(yv.Row(t), r[:n], r[n:])
		}
	})
	return f.y, nil
}

// Backward writes the gradient over x, which nobody reads any more: it changes owner.
func (f *gate) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x)
	n := x.cols / 2
	dx := x.takeOver(x.rows, x.cols)
	dyv, dxv := dy.View(), dx.View()
	kernel.Split(x.rows, 4, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			r := dxv.Row(t)
			f.act.Backward(r[:n], r[n:], dyv.Row(t), r[:n], r[n:])
		}
	})
	dy.release()
	f.y.release()
	f.x.AccGrad(dx)
	return nil
}
