package adapter

import (
	"errors"
	"strings"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// IA3 scales activations by a learned vector l [liu2022]:
//
//	y = (x·Wᵀ + b)∘l     l [out]
//	y = (x∘l)·Wᵀ + b     l [in], of feedforward_modules
//
// l starts at one. References: [liu2022] Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
// Learning, arXiv 2205.05638, section 3.3.
var IA3 = (&tuner.Kind{Type: "IA3", Name: "ia3", New: func() tuner.Options { return &ia3{init: true} }, Targets: ia3Targets,
	Defaults: peft.Object{"exclude_modules": nil, "fan_in_fan_out": false, "feedforward_modules": nil, "init_ia3_weights": true,
		"modules_to_save": nil, "target_modules": nil}}).Method()

// ia3Targets and ia3Feedforward are PEFT's choices by model_type.
var (
	ia3Targets = map[string][]string{
		"t5": {"k", "v", "wo"}, "mt5": {"k", "v", "wi_1"}, "gpt2": {"c_attn", "mlp.c_proj"}, "bloom": {"query_key_value", "mlp.dense_4h_to_h"},
		"roberta": {"key", "value", "output.dense"}, "opt": {"q_proj", "k_proj", "fc2"}, "gptj": {"q_proj", "v_proj", "fc_out"},
		"gpt_neox": {"query_key_value", "dense_4h_to_h"}, "gpt_neo": {"q_proj", "v_proj", "c_proj"}, "bart": {"q_proj", "v_proj", "fc2"},
		"llama": {"k_proj", "v_proj", "down_proj"}, "mistral": {"k_proj", "v_proj", "down_proj"}, "mixtral": {"k_proj", "v_proj", "w2"},
		"bert": {"key", "value", "output.dense"}, "deberta-v2": {"key_proj", "value_proj", "output.dense"},
		"falcon": {"query_key_value", "dense_4h_to_h"}, "phi": {"q_proj", "v_proj", "fc2"}, "gemma": {"q_proj", "v_proj", "down_proj"},
		"gemma2": {"q_proj", "v_proj", "down_proj"}, "gemma3_text": {"q_proj", "v_proj", "down_proj"},
		"qwen2": {"q_proj", "v_proj", "down_proj"}, "qwen3": {"q_proj", "v_proj", "down_proj"},
	}
	ia3Feedforward = map[string][]string{
		"t5": {"wo"}, "mt5": {}, "gpt2": {"mlp.c_proj"}, "bloom": {"mlp.dense_4h_to_h"}, "roberta": {"output.dense"}, "opt": {"fc2"},
		"gptj": {"fc_out"}, "gpt_neox": {"dense_4h_to_h"}, "gpt_neo": {"c_proj"}, "bart": {"fc2"}, "llama": {"down_proj"},
		"mistral": {"down_proj"}, "mixtral": {"w2"}, "bert": {"output.dense"}, "deberta-v2": {"output.dense"}, "falcon": {"dense_4h_to_h"},
		"phi": {"fc2"}, "gemma": {"down_proj"}, "gemma2": {"down_proj"}, "gemma3_text": {"down_proj"}, "qwen2": {"down_proj"}, "qwen3": {"down_proj"},
	}
)

type ia3 struct {
	feedforward peft.Names
	init        bool
}

func (o *ia3) Settings() []peft.Setting {
	return []peft.Setting{{Key: "feedforward_modules", To: &o.feedforward}, {Key: "init_ia3_weights", To: &o.init}}
}

func (o *ia3) Check() error { return nil }

// Bank settles which modules are feedforward ones.
func (o *ia3) Bank(b *tuner.Bank) (tuner.Maker, error) {
	if !o.feedforward.IsNull() {
		return o, nil
	}
	list, ok := ia3Feedforward[b.Model]
	if !ok {
		return nil, errors.New("ia3: feedforward_modules is not set and model_type \"" + b.Model + "\" has no default, want a list of names (an empty one is fine)")
	}
	o.feedforward = peft.Names{List: append([]string{}, list...)}
	return o, nil
}

func (o *ia3) Layer(s *tuner.Site) (*tuner.Layer, error) {
	draw := tuner.Fill(1)
	if !o.init {
		draw = tuner.Normal(0, 1)
	}
	in, err := o.isFeedforward(s.Slot.Name)
	if err != nil {
		return nil, err
	}
	if in {
		l := s.Param("ia3_l", draw, 1, s.In)
		return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
			return base(c.MulCols(x, c.Param(l)))
		}}, nil
	}
	l := s.Param("ia3_l", draw, s.Out, 1)
	return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
		return c.MulCols(base(x), c.Param(l))
	}}, nil
}

// isFeedforward is PEFT's rule: a pattern, or ends of names without a dot before them.
func (o *ia3) isFeedforward(name string) (bool, error) {
	if o.feedforward.Pattern != "" {
		return peft.FullMatch("feedforward_modules", o.feedforward.Pattern, name)
	}
	for _, end := range o.feedforward.List {
		if strings.HasSuffix(name, end) {
			return true, nil
		}
	}
	return false, nil
}
