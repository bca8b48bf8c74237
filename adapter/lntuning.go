package adapter

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// LNTuning trains the weights and biases of norms, and nothing else [zhao2023].
//
// References: [zhao2023] Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning, arXiv 2312.11420.
var LNTuning = peft.Method{Type: "LN_TUNING", Name: "ln_tuning", New: func() peft.Config { return &NormConfig{} }}

// normTargets are PEFT's choices by model_type. For others all norms are taken.
var normTargets = map[string][]string{
	"llama": {"input_layernorm", "post_attention_layernorm", "norm"}, "bloom": {"input_layernorm", "post_attention_layernorm", "ln_f"},
	"t5": {"layer_norm", "final_layer_norm"}, "mt5": {"layer_norm", "final_layer_norm"},
	"bart": {"self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"}, "gpt2": {"ln_1", "ln_2", "ln_f"}, "gptj": {"ln_1", "ln_f"},
	"falcon": {"input_layernorm", "post_attention_layernorm", "ln_f"}, "mistral": {"input_layernorm", "post_attention_layernorm", "norm"},
	"phi": {"input_layernorm", "final_layernorm"}, "gemma": {"input_layernorm", "post_attention_layernorm", "norm"},
	"gemma2":      {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm", "norm"},
	"gemma3_text": {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm", "norm"},
	"qwen2":       {"post_attention_layernorm"}, "qwen3": {"post_attention_layernorm"},
}

var normDefaults = peft.Object{"exclude_modules": nil, "modules_to_save": nil, "target_modules": nil}

// NormConfig holds the settings of LN_TUNING: adapter_config.json.
type NormConfig struct {
	peft.Common
	TargetModules  peft.Names
	ExcludeModules peft.Names
	Beside         peft.Beside // modules_to_save
	peft.Record                // what adapter_config.json said
}

// Settings are the keys of the method.
func (c *NormConfig) Settings() []peft.Setting {
	return []peft.Setting{{Key: "target_modules", To: &c.TargetModules}, {Key: "exclude_modules", To: &c.ExcludeModules},
		{Key: "modules_to_save", To: &c.Beside.ModulesToSave}, {Key: "base_model_name_or_path", To: &c.BaseModel}, {Key: "task_type", To: &c.TaskType}}
}

// Shared implements peft.Config.
func (c *NormConfig) Shared() *peft.Common { return &c.Common }

// Parse implements peft.Config.
func (c *NormConfig) Parse(b []byte) error {
	record, unknown, err := peft.ReadSettings(b, "LN_TUNING", normDefaults, c.Settings())
	for _, key := range unknown {
		c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q is unknown and has no effect", key))
	}
	c.Record = record
	return err
}

// JSON implements peft.Config.
func (c *NormConfig) JSON() ([]byte, error) {
	return c.Record.JSON("LN_TUNING", normDefaults, c.Settings())
}

// Validate implements peft.Config.
func (c *NormConfig) Validate() error {
	if err := c.selection().Validate(); err != nil {
		return err
	}
	return c.Beside.Validate("")
}

func (c *NormConfig) selection() peft.Selection {
	return peft.Selection{TargetModules: c.TargetModules, ExcludeModules: c.ExcludeModules, ModulesToSave: c.Beside.ModulesToSave, Lenient: c.FromFile}
}

// norms shows the norms of a model as modules to choose from.
type norms struct {
	layer.Model
	list []*layer.Slot
}

// Slots implements layer.Model.
func (n norms) Slots() iter.Seq[*layer.Slot] { return slices.Values(n.list) }

// module is the name of the module that a vector belongs to.
func module(v layer.NamedVector) string { return v.Name[:max(0, strings.LastIndexByte(v.Name, '.'))] }

func normsOf(m layer.Model) norms {
	n := norms{Model: m}
	for _, v := range peft.Vectors(m) {
		if name := module(v); !slices.ContainsFunc(n.list, func(s *layer.Slot) bool { return s.Name == name }) {
			n.list = append(n.list, &layer.Slot{Name: name})
		}
	}
	return n
}

// Attach implements peft.Config.
func (c *NormConfig) Attach(m layer.Model, rng *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	all := normsOf(m)
	sel := c.selection()
	if sel.TargetModules.IsNull() {
		sel.TargetModules = peft.Names{List: normTargets[m.ModelType()]}
		if sel.TargetModules.List == nil {
			sel.TargetModules = peft.Names{Pattern: peft.AllLinear}
		}
	}
	chosen, warnings, err := sel.Select(all)
	if err != nil {
		return nil, err
	}
	a := &normAdapter{}
	if a.companions, err = c.Beside.Attach(m, nil, &c.Common); err != nil {
		return nil, err
	}
	for _, v := range peft.Vectors(m) {
		if slices.ContainsFunc(chosen, func(s *layer.Slot) bool { return s.Name == module(v) }) {
			x := &tunedNorm{name: v.Name, tensor: v.Tensor(), at: v.Vector, before: *v.Vector, now: layer.NewTrainableVector(v.Value)}
			a.list = append(a.list, x)
			*v.Vector = *x.now
		}
	}
	c.Warnings = append(c.Warnings, warnings...)
	if !c.FromFile {
		c.TargetModules = sel.TargetModules
		if sel.TargetModules.IsAllLinear() {
			c.TargetModules = peft.Names{List: peft.Condense(chosen, all)}
		}
	}
	return a, nil
}

// tunedNorm is a weight or a bias of a norm.
type tunedNorm struct {
	name   string
	tensor string // its name in the checkpoint
	at     *op.Vector
	before op.Vector
	now    *op.Vector
}

// normAdapter is LN_TUNING attached to a model.
type normAdapter struct {
	list       []*tunedNorm
	companions *peft.Companions
}

// Params implements peft.Adapter.
func (a *normAdapter) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, x := range a.list {
			dot := strings.LastIndexByte(x.name, '.')
			if !yield(peft.Prefix+x.name[:dot]+".ln_tuning_layers"+x.name[dot:], x.now.Param) {
				return
			}
		}
		a.companions.Params()(yield)
	}
}

// Detach implements peft.Adapter.
func (a *normAdapter) Detach() {
	for _, x := range a.list {
		*x.at = x.before
	}
	a.companions.Detach()
}

// Deltas implements peft.Merger.
func (a *normAdapter) Deltas() (list []merge.Delta) {
	for _, x := range a.list {
		list = append(list, &merge.Whole{Tensor: x.tensor, Rows: len(x.now.Value), Cols: 1, Data: x.now.Value})
	}
	return append(list, a.companions.Deltas()...)
}

// Extras implements peft.Extended.
func (a *normAdapter) Extras() []peft.Extra { return a.companions.Extras() }

// Modules lists the names of the norms.
func (a *normAdapter) Modules() (names []string) {
	for _, x := range a.list {
		if m := x.name[:strings.LastIndexByte(x.name, '.')]; !slices.Contains(names, m) {
			names = append(names, m)
		}
	}
	return names
}

// Idle implements peft.Idler.
func (a *normAdapter) Idle() string {
	if !a.companions.Idle() || slices.ContainsFunc(a.list, func(x *tunedNorm) bool { return !slices.Equal(x.now.Value, x.before.Value) }) {
		return ""
	}
	return "every norm is the base's"
}
