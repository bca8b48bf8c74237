package lora

import (
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// LoHa is the product, element by element, of two low-rank weights, whose rank may be the product of theirs
// [hyeonwoo2021, yeh2023]:
//
//	ΔW = s·(W1a·W1b)∘(W2a·W2b)     s = alpha/r, W·a [out, r], W·b [r, in]
//
// W2b starts at zero. References: [hyeonwoo2021] FedPara, arXiv 2108.06098; [yeh2023] LyCORIS, arXiv 2309.14859.
var LoHa = (&tuner.Kind{Type: "LOHA", Name: "loha", New: func() tuner.Options { return &loha{r: 8, alpha: 8, init: true} },
	Defaults: peft.Object{"alpha": 8, "alpha_pattern": map[string]any{}, "exclude_modules": nil, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "module_dropout": 0.0, "modules_to_save": nil, "r": 8, "rank_dropout": 0.0, "rank_pattern": map[string]any{},
		"target_modules": nil, "use_effective_conv2d": false}}).Method()

type loha struct {
	r             int
	alpha         float64
	ranks, alphas peft.Pattern
	init          bool
	lycorisDropout
}

func (o *loha) Settings() []peft.Setting {
	return append(o.lycorisDropout.settings(), peft.Setting{Key: "r", To: &o.r, Min: 1, Max: maxRank}, peft.Setting{Key: "alpha", To: &o.alpha},
		peft.Setting{Key: "rank_pattern", To: &o.ranks, Min: 1, Max: maxRank}, peft.Setting{Key: "alpha_pattern", To: &o.alphas},
		peft.Setting{Key: "init_weights", To: &o.init}, peft.Setting{Key: "use_effective_conv2d", To: new(bool)})
}

func (o *loha) Check() error { return nil }

func (o *loha) Layer(s *tuner.Site) (*tuner.Layer, error) {
	r := s.Int("rank_pattern", o.r)
	scale := float32(s.Number("alpha_pattern", o.alpha) / float64(r))
	last := tuner.Zeros
	if !o.init {
		last = tuner.Kaiming(s.In)
	}
	a1, b1 := s.Param("hada_w1_a", tuner.Kaiming(r), s.Out, r), s.Param("hada_w1_b", tuner.Kaiming(s.In), r, s.In)
	a2, b2 := s.Param("hada_w2_a", tuner.Kaiming(r), s.Out, r), s.Param("hada_w2_b", last, r, s.In)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		w := c.Mul(c.MatMul(c.Param(a1), c.Param(b1)), c.MatMul(c.Param(a2), c.Param(b2)))
		return c.Scale(scale, c.MatMulT(x, w))
	}}, nil
}

// lycorisDropout are the kinds of dropout that LoHa and LoKr have in PEFT. They count in training only, where graft has none.
type lycorisDropout struct{ rank, module float64 }

func (d *lycorisDropout) settings() []peft.Setting {
	return []peft.Setting{{Key: "rank_dropout", To: &d.rank, Max: 0.999}, {Key: "module_dropout", To: &d.module, Max: 0.999}}
}

// CheckTraining reports dropout.
func (d *lycorisDropout) CheckTraining() error {
	return noDropout("rank_dropout", d.rank, "module_dropout", d.module)
}
