package lora

import (
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// HiRA multiplies the weight, element by element, by a low-rank matrix, so that the change is of high rank [huang2025]:
//
//	ΔW = W∘(B·A)     A [r, in], B [out, r]
//
// B starts at zero. References: [huang2025] HiRA: Parameter-Efficient Hadamard High-Rank Adaptation, ICLR 2025.
var HiRA = (&tuner.Kind{Type: "HIRA", Name: "hira", New: func() tuner.Options { return &hira{r: 32, init: true} },
	Defaults: peft.Object{"exclude_modules": nil, "fan_in_fan_out": false, "hira_dropout": 0.0, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "r": 32, "rank_pattern": map[string]any{}, "target_modules": nil}}).Method()

type hira struct {
	r       int
	ranks   peft.Pattern
	dropout float64
	init    bool
}

func (o *hira) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "rank_pattern", To: &o.ranks, Min: 1, Max: maxRank},
		{Key: "hira_dropout", To: &o.dropout, Max: 0.999}, {Key: "init_weights", To: &o.init}}
}

func (o *hira) Check() error { return nil }

func (o *hira) Layer(s *tuner.Site) (*tuner.Layer, error) {
	r := s.Int("rank_pattern", o.r)
	last := tuner.Zeros
	if !o.init {
		last = tuner.Kaiming(r)
	}
	a, b := s.Param("hira_A", tuner.Kaiming(s.In), r, s.In), s.Param("hira_B", last, s.Out, r)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		return c.MatMulT(c.Dropout(x, o.dropout), c.Mul(c.Weight(), c.MatMul(c.Param(b), c.Param(a))))
	}}, nil
}
