package adapter

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/mat"
)

// nice is an additive coupling of the halves of the embeddings [dinh2015, pfeiffer2020b]:
//
//	y₁ = x₁ + F(x₂)    y₂ = x₂ + G(y₁)
//
// F and G are bottlenecks without a residual. [pfeiffer2020b] goes the way back before the output embedding; the library does not,
// in the classes of transformers, and nor does graft. References: [dinh2015] NICE, arXiv 1410.8516; [pfeiffer2020b] MAD-X, arXiv
// 2005.00052.
type nice struct {
	f, g    dense
	half    int // columns of x₁
	trained *hubTensors
}

// invertible makes the coupling of inv_adapter.
func (c *bottleneck) invertible(b *hubBuilder) error {
	stem := b.m.Beginning()
	if err := b.take(stem, stem.After == nil, "the embeddings have an invertible adapter"); err != nil {
		return err
	}
	n := stem.Width()
	x := &nice{half: n / 2, trained: b.tensors(b.path("invertible_adapters") + "." + b.name + ".")}
	act := find(activations, c.act).Activation
	x.f = x.subnet("F", n-x.half, x.half, c.bijectionFactor, act)
	x.g = x.subnet("G", x.half, n-x.half, c.bijectionFactor, act)
	b.place(func() { stem.After = x.forth }, func() { stem.After = nil }, x.idle)
	return nil
}

// subnet is a map from in to out columns by way of a bottleneck.
func (x *nice) subnet(name string, in, out int, factor float64, act op.Activation) dense {
	w := width(in, factor)
	down, up := x.trained.linear(name+".0", w, in, tuner.Normal(0, 0.02)), x.trained.linear(name+".2", out, w, tuner.Normal(0, 0.02))
	return func(t *tape.Tape, x *tape.Node) *tape.Node { return up(t, t.Activate(down(t, x), act)) }
}

// idle: files in which both ways up are zero say nothing of a base, but nobody has such.
func (x *nice) idle() bool { return false }

// forth implements layer.Stem.After.
func (x *nice) forth(p *op.Pass, h mat.Tensor) mat.Tensor {
	v := op.Of(h).View()
	f := &tape.Formula{Trained: x.trained.all(), Record: func(t *tape.Tape, _ *op.Pass, in []*tape.Node) *tape.Node {
		x1, x2 := t.Part(in[0], 0, v.Rows, 0, x.half), t.Part(in[0], 0, v.Rows, x.half, v.Cols)
		y1 := t.Add(x1, 1, x.f(t, x2))
		return t.Beside(y1, t.Add(x2, 1, x.g(t, y1)))
	}}
	return f.Compute(p, v.Rows, v.Cols, h)
}
