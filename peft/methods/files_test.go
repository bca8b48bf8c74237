package methods_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// smallAdapter saves a LoRA of rank 1 on one module of the model, not at its start.
func smallAdapter(t testing.TB, base *modeltest.Base) (dir string) {
	t.Helper()
	c := lora.New()
	c.Rank, c.Alpha, c.Init = 1, 3, "false"
	c.TargetModules = peft.Names{List: []string{linearNames(base.Model)[0]}}
	c.LayersToTransform = []int{1}
	a, err := c.Attach(base.Model, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	dir = t.TempDir()
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTruncatedAtEveryOffset cuts each file of an adapter at every byte: one line that names the file, and a model as before.
func TestTruncatedAtEveryOffset(t *testing.T) {
	base := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[0]))
	set := base.Set()
	before := base.Logits(t, set.Batch([]int32{0}))
	dir := smallAdapter(t, base)
	for _, name := range []string{peft.ConfigFile, peft.TensorsFile} {
		path := filepath.Join(dir, name)
		whole := read(t, path)
		for n := range whole {
			if err := os.WriteFile(path, whole[:n], 0o666); err != nil {
				t.Fatal(err)
			}
			_, _, err := methods.Load(dir, base.Model, peft.Allow{})
			if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%s cut to %d of %d bytes: %v, want one line that names the file", name, n, len(whole), err)
			}
		}
		if err := os.WriteFile(path, whole, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	after := base.Logits(t, set.Batch([]int32{0}))
	for i := range after {
		if after[i] != before[i] {
			t.Fatalf("logits changed after adapters were refused: [%d] = %g, want %g", i, after[i], before[i])
		}
	}
}

// TestBadConfigs gives a config wrong in one way each; the error is one line that names the key and says what it wants.
func TestBadConfigs(t *testing.T) {
	base := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[0]))
	dir := smallAdapter(t, base)
	path := filepath.Join(dir, peft.ConfigFile)
	whole := read(t, path)
	for _, c := range []struct {
		key, value string // value "" takes the key away
		want       string
	}{
		{"peft_type", "", "peft_type"},
		{"peft_type", `"NO_SUCH"`, `peft_type is "NO_SUCH", want one of LORA`},
		{"peft_type", `7`, "peft_type"},
		{"r", `0`, "r is 0, want 1 to"},
		{"r", `-3`, "r is -3, want 1 to"},
		{"r", `1e99`, "r is 1e99, want a whole number"},
		{"r", `1000000000000`, "r is 1000000000000, want 1 to"},
		{"r", `1.5`, "r is 1.5, want a whole number"},
		{"r", `"8"`, `r is "8", want a whole number`},
		{"r", `2`, "lora_A.weight"},
		{"lora_alpha", `"x"`, `lora_alpha is "x", want a number`},
		{"lora_alpha", `1e999`, "lora_alpha is 1e999, want a number"},
		{"lora_dropout", `1`, "lora_dropout is 1, want 0 or more and less than 1"},
		{"lora_dropout", `-0.1`, "lora_dropout is -0.1, want 0 or more"},
		{"use_rslora", `"yes"`, `use_rslora is "yes", want true or false`},
		{"init_lora_weights", `[1]`, "init_lora_weights is [1], want true, false or a string"},
		{"init_lora_weights", `"magic"`, `init_lora_weights is "magic", want one of`},
		{"target_modules", `{"a": 1}`, "target_modules"},
		{"target_modules", `[1, 2]`, "target_modules"},
		{"target_modules", `"(unclosed"`, "target_modules"},
		{"target_modules", `["nowhere"]`, "match no module"},
		{"layers_to_transform", `[-1]`, "layers_to_transform has -1, want 0 or more"},
		{"layers_to_transform", `[9]`, "match no module"},
		{"rank_pattern", `{"q_proj": 0}`, `rank_pattern "q_proj" is 0, want a whole number from 1`},
		{"rank_pattern", `{"q_proj": "big"}`, "rank_pattern"},
		{"rank_pattern", `{"(": 3}`, "rank_pattern"},
		{"alpha_pattern", `{"q_proj": 1e999}`, "alpha_pattern"},
		{"use_dora", `true`, "lora_magnitude_vector\" is missing"},
		{"bias", `"some"`, "bias"},
	} {
		o := map[string]json.RawMessage{}
		if err := json.Unmarshal(whole, &o); err != nil {
			t.Fatal(err)
		}
		if o[c.key] = json.RawMessage(c.value); c.value == "" {
			delete(o, c.key)
		}
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		_, a, err := methods.Load(dir, base.Model, peft.Allow{})
		if err == nil {
			a.Detach()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s = %s: %v, want an error that names the folder and says %q", c.key, c.value, err, c.want)
		}
	}
}

// FuzzConfig reads adapter_config.json of any content: no panic; what is read and is valid is written and read again as the same.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type": "LORA"}`))
	f.Add([]byte(`{"peft_type": "LORA", "r": 3, "lora_alpha": 7.5, "target_modules": "all-linear", "zz": [1, {"a": null}]}`))
	f.Add([]byte(`{"peft_type": "LORA", "target_modules": ["q_proj"], "rank_pattern": {"q_proj": 4}, "layers_to_transform": 1, "use_rslora": true}`))
	f.Add([]byte(`{"peft_type": "LORA", "init_lora_weights": "gaussian", "bias": "none", "lora_dropout": 0.05, "layers_pattern": ""}`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`{"peft_type": "\ud800", "r": 1e400}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := peft.ParseConfig(b, methods.All)
		if err != nil || c.Validate() != nil {
			return
		}
		first, err := c.JSON()
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", b, err)
		}
		again, err := peft.ParseConfig(first, methods.All)
		if err != nil {
			t.Fatalf("%q was written as %q, which cannot be read: %v", b, first, err)
		}
		if err := again.Validate(); err != nil {
			t.Fatalf("%q was valid, %q is not: %v", b, first, err)
		}
		second, err := again.JSON()
		if err != nil || string(first) != string(second) {
			t.Fatalf("%q: written as %q, read and written again as %q, %v", b, first, second, err)
		}
	})
}
