package interchange_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/interchange"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
)

// spoilt copies an adapter's folder with other settings.
func spoilt(t *testing.T, dir string, settings map[string]any) string {
	t.Helper()
	out := t.TempDir()
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, peft.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	o := map[string]any{}
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	for k, v := range settings {
		if o[k] = v; v == nil {
			delete(o, k)
		}
	}
	if b, err = json.Marshal(o); err == nil {
		err = os.WriteFile(filepath.Join(out, peft.ConfigFile), b, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEveryRule has, for every rule of every program, an adapter that the rule objects to, by its words.
func TestEveryRule(t *testing.T) {
	llama, tied, gpt2, bert := tiny(t, "llama"), tiny(t, "llama, tied, with biases"), tiny(t, "gpt2"), tiny(t, "bert")
	good, _ := trained(t, llama, plain)
	ends, _ := trained(t, tied, func(c *lora.Config) { c.TargetModules = peft.Names{List: []string{"lm_head", "q_proj"}} })
	ofGPT2, _ := trained(t, gpt2, plain)
	ofBERT, _ := trained(t, bert, plain)
	head, _ := trained(t, llama, func(c *lora.Config) { c.Beside.ModulesToSave = []string{"lm_head"} })
	set := func(key string, v any) string { return spoilt(t, good, map[string]any{key: v}) }
	tensors := func(list ...checkpoint.Entry) string {
		dir := spoilt(t, good, nil)
		if err := checkpoint.Write(filepath.Join(dir, peft.TensorsFile), list, nil); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	type row struct {
		consumer, rule, dir string
		base                *modeltest.Base
		want                string
	}
	rows := []row{
		{"peft", "peft_type", set("peft_type", "MAGIC"), nil, `peft_type is "MAGIC"`},
		{"peft", "tensors", tensors(), nil, "the file holds no tensor"},
		{"peft", "prefix", tensors(checkpoint.FromFloats("layers.0.q_proj.lora_A.weight", []int{1, 1}, []float32{1})), nil, "layers.0.q_proj.lora_A.weight: without base_model.model."},
		{"peft", "places", set("r", 3), llama, "is [2 10], want [3 10]"},
		{"peft", "base", good, tied, "the adapter was trained on another base"},
		{"vllm", "peft_type", set("peft_type", "IA3"), nil, `peft_type is "IA3", and it reads LORA only`},
		{"vllm", "required keys", set("lora_alpha", nil), nil, "lora_alpha is missing"},
		{"vllm", "rank", good, nil, "rank 2 of"},
		{"vllm", "modules_to_save", head, nil, `modules_to_save is ["lm_head"]`},
		{"vllm", "use_dora", set("use_dora", true), nil, "use_dora is true"},
		{"vllm", "bias", set("bias", "all"), nil, `bias is "all"`},
		{"vllm", "trainable_token_indices", set("trainable_token_indices", []int{1}), nil, "trainable_token_indices is [1]"},
		{"vllm", "patterns", set("alpha_pattern", map[string]int{"q_proj": 3}), nil, `alpha_pattern is {"q_proj":3}`},
		{"vllm", "tensor names", head, nil, "lm_head.weight: no lora_A and no lora_B"},
		{"vllm", "architecture", ofGPT2, gpt2, "model_type is gpt2"},
		{"vllm", "target modules", ofBERT, llama, "bert.encoder.layer.0.attention.output.dense"},
		{"llama.cpp", "peft_type", set("peft_type", "VERA"), nil, "reads LORA only"},
		{"llama.cpp", "use_dora", set("use_dora", true), nil, "use_dora is true"},
		{"llama.cpp", "modules_to_save", head, nil, "modules_to_save"},
		{"llama.cpp", "tensor names", head, nil, "lm_head.weight"},
		{"llama.cpp", "use_rslora", set("use_rslora", true), nil, "use_rslora is true"},
		{"llama.cpp", "alpha_pattern", set("alpha_pattern", map[string]int{"q_proj": 3}), nil, "alpha_pattern"},
		{"llama.cpp", "architecture", ofBERT, bert, `model_type is "bert", want one of llama`},
		{"llama.cpp", "modules", ofGPT2, llama, "transformer.h.0.attn.c_attn"},
		{"llama.cpp", "tied ends", ends, tied, "lm_head: embedding and head are one tensor there"},
		{"llama.cpp", "transposed weights", ofGPT2, gpt2, "transformer.h.0.attn.c_attn"},
	}
	for _, c := range interchange.Consumers {
		rows = append(rows, row{c.Name, "enable_lora", set("enable_lora", []bool{true, false, true}), nil, "enable_lora is [true,false,true]: convert it"})
		for _, r := range c.Rules {
			if !slices.ContainsFunc(rows, func(x row) bool { return x.consumer == c.Name && x.rule == r.Name }) {
				t.Errorf("%s: no adapter shows the rule %q", c.Name, r.Name)
			}
		}
	}
	for _, x := range rows {
		c := open(t, x.dir, x.base)
		if x.rule == "rank" {
			c.MaxRank = 1
		}
		f := find(t, c, x.consumer, x.rule)
		if (f.Verdict != interchange.Refuses && f.Verdict != interchange.Misreads) || !strings.Contains(strings.Join(f.Found, "\n"), x.want) {
			t.Errorf("%s, %s: %s %q, want %s", x.consumer, x.rule, f.Verdict, f.Found, x.want)
		}
	}
}

func open(t *testing.T, dir string, base *modeltest.Base) *interchange.Case {
	t.Helper()
	c, err := interchange.OpenCase(dir)
	if err != nil {
		t.Fatal(err)
	}
	if base != nil {
		c.Base, c.Model = base.Config, base.Model
	}
	return c
}

func find(t *testing.T, c *interchange.Case, consumer, rule string) interchange.Finding {
	t.Helper()
	for i := range interchange.Consumers {
		if x := &interchange.Consumers[i]; x.Name == consumer {
			for _, f := range x.Check(c) {
				if f.Rule == rule {
					return f
				}
			}
		}
	}
	t.Fatalf("%s has no rule %q", consumer, rule)
	return interchange.Finding{}
}

// TestNothingToObject has an adapter that everybody takes; without its base some rules are open.
func TestNothingToObject(t *testing.T) {
	b := tiny(t, "llama")
	dir, _ := trained(t, b, plain)
	for _, base := range []*modeltest.Base{b, nil} {
		c := open(t, dir, base)
		for i := range interchange.Consumers {
			for _, f := range interchange.Consumers[i].Check(c) {
				if f.Verdict != interchange.OK && (base != nil || f.Verdict != interchange.NotChecked) || f.Source == "" {
					t.Errorf("%s, %s: %s %q", f.Consumer, f.Rule, f.Verdict, f.Found)
				}
			}
		}
	}
}
