package recipes

import (
	"reflect"
	"strings"
	"testing"
)

const loraHead = "[model]\npath = \"m\"\n[data]\npath = \"d\"\n[method]\n"

// TestLoraKeys decodes the options of LoRA; written and loaded again they are the same.
func TestLoraKeys(t *testing.T) {
	for _, c := range []struct {
		toml string
		want func(m *Method)
	}{
		{`use_dora = true`, func(m *Method) { m.UseDoRA = true }},
		{`lora_bias = true`, func(m *Method) { m.LoraBias = true }},
		{`bias = "lora_only"`, func(m *Method) { m.Bias = "lora_only" }},
		{`modules_to_save = ["embed_tokens"]`, func(m *Method) { m.ModulesToSave = []string{"embed_tokens"} }},
		{`trainable_token_indices = [7, 3]`, func(m *Method) { m.TokenIndices.List = []int{7, 3} }},
		{`trainable_token_indices = { lm_head = [7], "a.b" = [1, 2] }`, func(m *Method) { m.TokenIndices.ByName = map[string][]int{"lm_head": {7}, "a.b": {1, 2}} }},
		{`ensure_weight_tying = true`, func(m *Method) { m.EnsureWeightTying = true }},
		{`init_lora_weights = "pissa_niter_16"`, func(m *Method) { m.InitWeights = "pissa_niter_16" }},
		{`init_lora_weights = "eva"`, func(m *Method) { m.InitWeights = "eva" }},
		{`init_lora_weights = false`, func(m *Method) { m.InitWeights = "false" }},
	} {
		r, err := Load("x.toml", []byte(loraHead+c.toml), nil)
		if err != nil {
			t.Errorf("%s: %v", c.toml, err)
			continue
		}
		want := New().Method
		c.want(&want)
		if !reflect.DeepEqual(r.Method, want) {
			t.Errorf("%s: %+v, want %+v", c.toml, r.Method, want)
		}
		again, err := Load("y.toml", r.Marshal(), nil)
		if err != nil || !reflect.DeepEqual(again.Method, want) {
			t.Errorf("%s: written and loaded again it is %+v (%v)", c.toml, again, err)
		}
	}
}

func TestLoraMistakes(t *testing.T) {
	for _, c := range []struct{ toml, want string }{
		{`bias = "some"`, "want one of none, all, lora_only"},
		{`init_lora_weights = "pissa_niter_x"`, "want one of true, gaussian, false, orthogonal, pissa, pissa_niter_N, olora, eva, corda, loftq"},
		{`init_lora_weights = "lora_ga"`, "want one of"},
		{`trainable_token_indices = "a"`, "want a list of whole numbers or a table of such lists"},
		{`trainable_token_indices = { a = "b" }`, "want a list of whole numbers or a table of such lists"},
		{`trainable_token_indices = [-1]`, "has a number below 0"},
		{"use_dora = true\nlora_bias = true", "lora_bias and method.use_dora are both true"},
		{"lora_bias = true\ninit_lora_weights = \"olora\"", "want method.init_lora_weights true or false"},
		{"type = \"full\"\nuse_dora = true", "method.use_dora means nothing for method.type \"full\""},
		{`dora = true`, "did you mean method.use_dora?"},
	} {
		if _, err := Load("x.toml", []byte(loraHead+c.toml), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", c.toml, err, c.want)
		}
	}
}
