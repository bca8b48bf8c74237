package recipes

import (
	"reflect"
	"strings"
	"testing"
)

// TestMethodSettings makes the keys of adapter_config.json of recipes; written and loaded again they make the same.
func TestMethodSettings(t *testing.T) {
	for _, c := range []struct {
		toml string
		want map[string]string
	}{
		{`type = "ia3"`, map[string]string{}},
		{"type = \"loha\"\nr = 4\nlora_alpha = 8", map[string]string{"r": "4", "alpha": "8", "target_modules": `"all-linear"`}},
		{"type = \"adalora\"\nr = 6\ntarget_r = 2\nbeta1 = 0.5", map[string]string{"init_r": "6", "target_r": "2", "beta1": "0.5", "target_modules": `"all-linear"`}},
		{"type = \"vera\"\nlora_dropout = 0.1\ntarget_modules = [\"q_proj\"]", map[string]string{"vera_dropout": "0.1", "target_modules": `["q_proj"]`}},
		{"type = \"lokr\"\nrank_pattern = { \"b\" = 2, \"a\" = 3 }\ninit_weights = \"lycoris\"", map[string]string{"rank_pattern": `{"b":2,"a":3}`, "init_weights": `"lycoris"`, "target_modules": `"all-linear"`}},
		{"type = \"trainable_tokens\"\ntoken_indices = [3]", map[string]string{"token_indices": "[3]"}},
		{"type = \"oft\"\nuse_cayley_neumann = false\nr = 0", nil},
	} {
		r, err := Load("x.toml", []byte(loraHead+c.toml), nil)
		if c.want == nil {
			if err == nil {
				t.Errorf("%s: loaded, want an error", c.toml)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.toml, err)
			continue
		}
		again, err := Load("y.toml", r.Marshal(), nil)
		if err != nil {
			t.Errorf("%s: written and loaded again: %v", c.toml, err)
			continue
		}
		for _, got := range []*Recipe{r, again} {
			have := map[string]string{}
			for k, v := range got.Settings() {
				have[k] = string(v)
			}
			if !reflect.DeepEqual(have, c.want) {
				t.Errorf("%s: %v, want %v", c.toml, have, c.want)
			}
		}
	}
}

// TestMeaninglessKeys wants keys of other methods refused, with what was probably meant.
func TestMeaninglessKeys(t *testing.T) {
	for _, c := range []struct{ toml, want string }{
		{"type = \"ia3\"\nr = 4", `method.r means nothing for method.type "ia3"`},
		{"type = \"loha\"\nalpha = 4", "did you mean method.lora_alpha?"},
		{"type = \"vera\"\nuse_dora = true", `method.use_dora means nothing for method.type "vera"`},
		{"type = \"lora\"\ninit_weights = \"true\"", `means nothing for method.type "lora" (did you mean method.init_lora_weights?)`},
		{"type = \"hra\"\nlora_dropout = 0.1", `method.lora_dropout means nothing for method.type "hra"`},
		{"type = \"oft\"\nboft_block_size = 4", "did you mean method.oft_block_size?"},
		{"type = \"trainable_tokens\"", "method.token_indices is missing"},
		{"type = \"ln_tuning\"\n[train]\nloraplus_lr_ratio = 4", `train.loraplus_lr_ratio means nothing for method.type "ln_tuning"`},
	} {
		if _, err := Load("x.toml", []byte(loraHead+c.toml), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", c.toml, err, c.want)
		}
	}
}
