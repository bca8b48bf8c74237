package adapter

import (
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// BEFT adds a vector to what a projection writes [beft2025]:
//
//	y = base(x) + b     b [out], zero at first
//
// References: [beft2025] BEFT: Bias-Efficient Fine-Tuning of Language Models, arXiv 2509.15974.
var BEFT = (&tuner.Kind{Type: "BEFT", Name: "beft", New: func() tuner.Options { return &beft{init: true} }, Targets: beftTargets,
	Defaults: peft.Object{"init_weights": true, "modules_to_save": nil, "target_modules": nil}}).Method()

// beftTargets are the modules whose outputs count most, as in PEFT.
var beftTargets = map[string][]string{"t5": {"v"}, "mt5": {"v"}, "roberta": {"value"}, "opt": {"v_proj"}, "gptj": {"v_proj"}, "gpt_neo": {"v_proj"},
	"bart": {"v_proj"}, "llama": {"v_proj"}, "mistral": {"v_proj"}, "mixtral": {"v_proj"}, "bert": {"value"}, "deberta-v2": {"value_proj"},
	"phi": {"v_proj"}, "gemma": {"v_proj"}, "gemma2": {"v_proj"}, "gemma3_text": {"v_proj"}, "qwen2": {"v_proj"}, "qwen3": {"v_proj"}}

type beft struct{ init bool }

func (o *beft) Settings() []peft.Setting { return []peft.Setting{{Key: "init_weights", To: &o.init}} }

func (o *beft) Check() error { return nil }

func (o *beft) Layer(s *tuner.Site) (*tuner.Layer, error) {
	b := s.Param("beft_bias", tuner.Zeros, 1, s.Out)
	return &tuner.Layer{BiasOnly: true, Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
		return c.Shift(base(x), 1, c.Param(b))
	}}, nil
}
