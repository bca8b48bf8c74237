package methods_test

import (
	"encoding/json"
	"slices"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/pefttest"
)

// hubLaws are the rows of the methods of the library `adapters`.
var hubLaws = []pefttest.Case{
	{Name: "houlsby", Method: adapter.Houlsby, Config: hub(adapter.Houlsby, `{"reduction_factor": 3, "dropout": 0.2, "scaling": 1.5}`)},
	{Name: "pfeiffer", Method: adapter.Pfeiffer, Config: onTwo(hub(adapter.Pfeiffer, `{"reduction_factor": 3}`))},
	{Name: "pfeiffer with everything", Method: adapter.Pfeiffer, Variant: true, Config: onTwo(hub(adapter.Pfeiffer,
		`{"reduction_factor": {"0": 2, "default": 4}, "ln_before": true, "ln_after": true, "use_gating": true, "residual_before_ln": "post_add", "adapter_residual_before_ln": true, "inv_adapter": "nice", "inv_adapter_reduction_factor": 2, "stochastic_depth": 0.3}`))},
	{Name: "parallel", Method: adapter.Parallel, Config: onTwo(hub(adapter.Parallel, `{"mh_adapter": true, "scaling": "learned", "init_weights": "houlsby"}`))},
	{Name: "compacter", Method: adapter.Compacter, Config: onTwo(hub(adapter.Compacter, `{"phm_dim": 2, "reduction_factor": 2, "phm_rank": 2, "phm_init_range": 0.5}`))},
	{Name: "compacter++", Method: adapter.Compacter2, Config: onTwo(hub(adapter.Compacter2,
		`{"phm_dim": 2, "reduction_factor": 2, "shared_phm_rule": false, "factorized_phm_rule": true, "factorized_phm_W": false}`))},
	{Name: "compacter with shared weights", Method: adapter.Compacter, Variant: true, Config: onOne("gpt2", hub(adapter.Compacter,
		`{"phm_dim": 2, "reduction_factor": 2, "shared_W_phm": true, "phm_init_range": 0.5, "phm_bias": false}`))},
	{Name: "mam", Method: adapter.Hub, Config: onTwo(hub(adapter.Hub, `{"config": "prefix_tuning[prefix_length=3, bottleneck_size=5]|par_bn[reduction_factor=3]"}`))},
	{Name: "unipelt", Method: adapter.Hub, Variant: true, Config: onTwo(hub(adapter.Hub,
		`{"config": "prefix_tuning_flat[prefix_length=3, use_gating=True, shared_gating=False, leave_out=[0]]|seq_bn[reduction_factor=3, use_gating=True]|lora[r=3, alpha=7, use_gating=True, dropout=0.2]"}`))},
	{Name: "the library's prompt tuning", Method: adapter.Hub, Variant: true, Config: onOne("gpt2", hub(adapter.Hub, `{"config": "prompt_tuning[prompt_length=3]"}`))},
	{Name: "the library's lora", Method: adapter.Hub, Variant: true, Identity: true, Mergeable: true, Config: onTwo(hub(adapter.Hub,
		`{"config": "lora[r=3, alpha=7, attn_matrices=['q', 'k', 'v'], intermediate_lora=True, output_lora=True]"}`))},
	{Name: "the library's ia3", Method: adapter.Hub, Variant: true, Identity: true, Mergeable: true, Config: onTwo(hub(adapter.Hub, `{"config": "ia3"}`))},
	{Name: "the library's dora", Method: adapter.Hub, Variant: true, Mergeable: true, Config: onOne("qwen2", hub(adapter.Hub, `{"config": "dora[r=3, alpha=7]"}`))},
	{Name: "the library's vera", Method: adapter.Hub, Variant: true, Identity: true, Mergeable: true, Config: onOne("qwen2", hub(adapter.Hub, `{"config": "vera[r=3, alpha=7, attn_matrices=['q']]"}`))},
}

// hub are settings of a method of the library.
func hub(m peft.Method, settings string) func(layer.Model) peft.Config {
	return func(layer.Model) peft.Config {
		var o map[string]json.RawMessage
		if json.Unmarshal([]byte(settings), &o) != nil {
			panic(settings)
		}
		c := m.New()
		if err := peft.Configure(c, m.Type, o); err != nil {
			panic(err)
		}
		return c
	}
}

// onOne keeps settings to one model type.
func onOne(kind string, config func(m layer.Model) peft.Config) func(m layer.Model) peft.Config {
	return func(m layer.Model) peft.Config {
		if m.ModelType() != kind {
			return nil
		}
		return config(m)
	}
}

// hubNames are the methods of the library, which choose no projections by name: hubLaws has a row for each.
var hubNames = []string{"adapters", "houlsby", "pfeiffer", "parallel", "compacter", "compacter++"}

// ownLaws are methods that have their rows in tables of their own.
func ownLaws(name string) bool {
	return slices.Contains(early, name) || slices.Contains(hubNames, name) || slices.Contains(baselines, name)
}
