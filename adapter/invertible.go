package adapter

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/mat"
)

// nice is an additive coupling of the halves of the embeddings [dinh2015, pfeiffer2020b]: behind them it goes one way, before the output
// embedding of a language model the other.
//
//	y₁ = x₁ + F(x₂)    y₂ = x₂ + G(y₁)          x₂ = y₂ − G(y₁)    x₁ = y₁ − F(x₂)
//
// F and G are bottlenecks without a residual. References: [dinh2015] NICE, arXiv 1410.8516; [pfeiffer2020b] MAD-X, arXiv 2005.00052.
type nice struct {
	f, g    dense
	half    int // columns of x₁
	trained *hubTensors
}

// invertible makes the coupling of inv_adapter.
func (c *bottleneck) invertible(b *hubBuilder) error {
	stem, top := b.m.Ends()
	if stem.After != nil || top.Last != nil {
		return errTaken("the embeddings have an invertible adapter")
	}
	n := stem.Width()
	x := &nice{half: n / 2, trained: b.tensors(b.path("invertible_adapters") + "." + b.name + ".")}
	act := find(activations, c.act).Activation
	x.f = x.subnet("F", n-x.half, x.half, c.bijectionFactor, act)
	x.g = x.subnet("G", x.half, n-x.half, c.bijectionFactor, act)
	b.place(func() { stem.After = x.forth }, func() { stem.After = nil }, x.idle)
	if top.Pool == 0 && len(top.Steps) == 0 && top.Out != nil && top.Out.Tied {
		b.place(func() { top.Last = x.back }, func() { top.Last = nil }, x.idle)
	}
	return nil
}

// subnet is a map from in to out columns by way of a bottleneck.
func (x *nice) subnet(name string, in, out int, factor float64, act op.Activation) dense {
	w := width(in, factor)
	down, up := x.trained.linear(name+".0", w, in, tuner.Normal(0, 0.02)), x.trained.linear(name+".2", out, w, tuner.Normal(0, 0.02))
	return func(t *tape.Tape, x *tape.Node) *tape.Node { return up(t, t.Activate(down(t, x), act)) }
}

// idle is never so: with both up-projections at zero the way back undoes nothing, but nobody trains such.
func (x *nice) idle() bool { return false }

// compute is a formula of rows that keeps their shape.
func (x *nice) compute(p *op.Pass, h mat.Tensor, record func(t *tape.Tape, x1, x2 *tape.Node) *tape.Node) mat.Tensor {
	v := op.Of(h).View()
	f := &tape.Formula{Trained: x.trained.all(), Record: func(t *tape.Tape, _ *op.Pass, in []*tape.Node) *tape.Node {
		return record(t, t.Part(in[0], 0, v.Rows, 0, x.half), t.Part(in[0], 0, v.Rows, x.half, v.Cols))
	}}
	return f.Compute(p, v.Rows, v.Cols, h)
}

func (x *nice) forth(p *op.Pass, h mat.Tensor) mat.Tensor {
	return x.compute(p, h, func(t *tape.Tape, x1, x2 *tape.Node) *tape.Node {
		y1 := t.Add(x1, 1, x.f(t, x2))
		return t.Beside(y1, t.Add(x2, 1, x.g(t, y1)))
	})
}

func (x *nice) back(p *op.Pass, h mat.Tensor) mat.Tensor {
	return x.compute(p, h, func(t *tape.Tape, y1, y2 *tape.Node) *tape.Node {
		x2 := t.Add(y2, -1, x.g(t, y1))
		return t.Beside(t.Add(y1, -1, x.f(t, x2)), x2)
	})
}
