package op

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Activation is an element-wise function with its gradient.
type Activation struct {
	Name     string
	Forward  func(y, x []float32)      // y = act(x); y may be x
	Backward func(dx, dy, x []float32) // dx = dy ∘ act'(x); dx may be dy or x
	// The gated forms, where there is one in one go; nil = put together from the above.
	Gate         func(y, gate, up []float32)
	GateBackward func(dgate, dup, dy, gate, up []float32)
}

// The activations of transformers' ACT2FN that models use.
var (
	SiLU     = Activation{Name: "silu", Forward: silu, Backward: siluBackward, Gate: kernel.SiLUMul, GateBackward: kernel.SiLUMulBackward}
	GELU     = Activation{Name: "gelu", Forward: kernel.GELU, Backward: kernel.GELUBackward}
	GELUTanh = Activation{Name: "gelu_pytorch_tanh", Forward: kernel.GELUTanh, Backward: kernel.GELUTanhBackward}
	ReLU     = Activation{Name: "relu", Forward: kernel.ReLU, Backward: kernel.ReLUBackward}
	Tanh     = Activation{Name: "tanh", Forward: tanhOf, Backward: tanhBackward}
)

// silu is x·σ(x).
func silu(y, x []float32) {
	for i, v := range x {
		y[i] = v * sigmoid(v)
	}
}

// siluBackward: act'(x) = s·(1 + x·(1−s)), s = σ(x).
func siluBackward(dx, dy, x []float32) {
	for i, v := range x {
		s := sigmoid(v)
		dx[i] = dy[i] * s * (1 + v*(1-s))
	}
}

// tanhOf is for the few rows of a pooler: exact rather than fast.
func tanhOf(y, x []float32) {
	for i, v := range x {
		y[i] = float32(math.Tanh(float64(v)))
	}
}

// tanhBackward: act'(x) = 1 − tanh²(x).
func tanhBackward(dx, dy, x []float32) {
	for i, v := range x {
		t := float32(math.Tanh(float64(v)))
		dx[i] = dy[i] * (1 - t*t)
	}
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

// Activate is the middle of a plain MLP.
//
//	x [T, I]   y [T, I] = act(x)
func Activate(p *Pass, x mat.Tensor, act Activation) mat.Tensor {
	return node(&activate{p: p, x: x, act: act})
}

type activate struct {
	p   *Pass
	x   mat.Tensor
	act Activation
	y   *Tensor
}

func (f *activate) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

func (f *activate) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	f.y = f.p.Arena.NewTensor(x.rows, x.cols)
	f.fill(f.y.View())
	f.y.canAgain(f.p, f.fill)
	return f.y, nil
}

func (f *activate) fill(y kernel.Mat) {
	x := Of(f.x)
	kernel.Split(len(x.data), 1<<12, func(lo, hi int) { f.act.Forward(y.Data[lo:hi], x.data[lo:hi]) })
}

// Backward: dx = dy ∘ act'(x), over dy.
func (f *activate) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x)
	kernel.Split(len(x.data), 1<<12, func(lo, hi int) {
		d := dy.data[lo:hi]
		f.act.Backward(d, d, x.data[lo:hi])
	})
	f.y.release()
	f.x.AccGrad(dy) // dy changes owner
	return nil
}

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
	f.y = f.p.Arena.NewTensor(x.rows, x.cols/2)
	f.fill(f.y.View())
	f.y.canAgain(f.p, f.fill)
	return f.y, nil
}

func (f *gate) fill(y kernel.Mat) { f.act.gateRows(y, Of(f.x).View()) }

// gateRows is y = act(gate) ∘ up, x being gate and up side by side.
func (a Activation) gateRows(y, x kernel.Mat) {
	n := y.Cols
	kernel.Split(x.Rows, 4, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			r, out := x.Row(t), y.Row(t)
			if a.Gate != nil {
				a.Gate(out, r[:n], r[n:])
				continue
			}
			a.Forward(out, r[:n])
			kernel.Mul(out, r[n:])
		}
	})
}

// gateRowsBackward replaces x, gate and up side by side, by their gradients, and spoils dy:
//
//	dgate = dy ∘ up ∘ act'(gate)   dup = dy ∘ act(gate)
func (a Activation) gateRowsBackward(p *Pass, x, dy kernel.Mat) {
	n := dy.Cols
	kernel.Split(x.Rows, 4, func(lo, hi int) {
		var act []float32
		if a.GateBackward == nil {
			act = p.Arena.Get(n)
			defer p.Arena.Put(act)
		}
		for t := lo; t < hi; t++ {
			r, d := x.Row(t), dy.Row(t)
			if a.GateBackward != nil {
				a.GateBackward(r[:n], r[n:], d, r[:n], r[n:])
				continue
			}
			a.Forward(act, r[:n])
			kernel.Mul(act, d)
			kernel.Mul(d, r[n:])
			a.Backward(r[:n], d, r[:n])
			copy(r[n:], act)
		}
	})
}

// Backward writes the gradient over x, which nobody reads any more: it changes owner.
func (f *gate) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x)
	dx := x.takeOver(x.rows, x.cols)
	f.act.gateRowsBackward(f.p, dx.View(), dy.View())
	dy.release()
	f.y.release()
	f.x.AccGrad(dx)
	return nil
}
