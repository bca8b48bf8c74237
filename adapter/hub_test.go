package adapter

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

var hubTable = []peft.Method{Hub}

// tiny is a random model of a kind.
func tiny(t *testing.T, config string) *model.Model {
	t.Helper()
	c, err := model.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const (
	tinyGPT2 = `{"model_type": "gpt2", "n_embd": 12, "n_head": 3, "n_layer": 2, "n_positions": 32, "vocab_size": 23, "architectures": ["GPT2LMHeadModel"]}`
	tinyBERT = `{"model_type": "bert", "hidden_size": 12, "intermediate_size": 14, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": 23,
		"max_position_embeddings": 32, "type_vocab_size": 2, "num_labels": 3, "architectures": ["BertForSequenceClassification"]}`
)

// changed is an adapter of a config string with other numbers than it starts with.
func changed(t *testing.T, m *model.Model, config string) (*HubConfig, peft.Adapter) {
	t.Helper()
	c, err := ParseHub(config)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Attach(m, rand.New(rand.NewPCG(3, 4)))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for _, p := range a.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i] += float32(0.1 * rng.NormFloat64())
		}
	}
	return c, a
}

// config are the settings of the first part as JSON has them.
func config(t *testing.T, c *HubConfig) map[string]any {
	t.Helper()
	b, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		Config map[string]any `json:"config"`
	}
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	if list, ok := o.Config["configs"].([]any); ok {
		return list[0].(map[string]any)
	}
	return o.Config
}

func TestConfigStrings(t *testing.T) {
	for _, c := range []struct {
		text, key string
		want      any // or, of an error, what it says
	}{
		{"seq_bn", "reduction_factor", 16.0},
		{"seq_bn", "original_ln_before", true},
		{"houlsby", "mh_adapter", true},
		{"double_seq_bn[reduction_factor=8]", "reduction_factor", 8.0},
		{"double_seq_bn[reduction_factor=8]", "non_linearity", "swish"},
		{"par_bn", "scaling", 4.0},
		{"scaled_par_bn", "scaling", "learned"},
		{"seq_bn[non_linearity='gelu', ln_before=True]", "non_linearity", "gelu"},
		{`seq_bn[non_linearity="gelu", ln_before=True]`, "ln_before", true},
		{"seq_bn[leave_out=[0, 1], dropout=1e-1]", "leave_out", []any{0.0, 1.0}},
		{"seq_bn[reduction_factor={'1': 4, 'default': 8}]", "reduction_factor", map[string]any{"1": 4.0, "default": 8.0}},
		{"seq_bn[inv_adapter=None]", "inv_adapter", nil},
		{"compacter++", "phm_layer", true},
		{"lora[r=2,alpha=3]|seq_bn", "alpha", 3.0},
		{"unipelt", "prefix_length", 10.0},
		{"vera", "vera_b", 0.0},
		{"", "", "put together by |"},
		{"seq_bm", "", `names "seq_bm", want one of `},
		{"seq_bn[", "", "put together by |"},
		{"seq_bn[reduction_factor]", "", `"reduction_factor" is not key=value`},
		{"seq_bn[reduction_factor=os.x]", "", `"os.x" is no constant`},
		{"seq_bn[r=4]", "", "r is no setting"},
		{"seq_bn[ln_before=3]", "", "ln_before is 3"},
	} {
		got, err := ParseHub(c.text)
		if c.key == "" {
			if err == nil || !strings.Contains(err.Error(), c.want.(string)) {
				t.Errorf("%q: error %v, want one that says %q", c.text, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		a, _ := json.Marshal(config(t, got)[c.key])
		b, _ := json.Marshal(c.want)
		if !bytes.Equal(a, b) {
			t.Errorf("%q: %s is %s, want %s", c.text, c.key, a, b)
		}
	}
}

func TestEveryPresetIsValidAndSurvives(t *testing.T) {
	for _, p := range presets {
		c := NewHub(p.name)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		b, err := c.JSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := peft.ParseConfig(b, hubTable)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		if w := again.Shared().Warnings; len(w) > 0 {
			t.Errorf("%s: read again, it warns %q", p.name, w)
		}
		if second, err := again.JSON(); err != nil || !bytes.Equal(b, second) {
			t.Errorf("%s: written, read and written again it differs: %v\n%s\n%s", p.name, err, b, second)
		}
	}
}

func TestOldFilesMeanAnotherGELU(t *testing.T) {
	for text, want := range map[string]string{
		`{"config": {"non_linearity": "gelu"}, "type": "text_task"}`:              "gelu_new",
		`{"config": {"non_linearity": "gelu_orig"}, "type": "text_task"}`:         "gelu",
		`{"config": {"non_linearity": "gelu"}, "version": "adapters.1.0.0"}`:      "gelu",
		`{"config": {"architecture": "bottleneck", "non_linearity": "gelu_new"}}`: "gelu_new",
	} {
		c, err := peft.ParseConfig([]byte(text), hubTable)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.(*HubConfig).parts[0].hubMethod.(*bottleneck).act; got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestWhatCannotBe(t *testing.T) {
	for text, want := range map[string]string{
		"seq_bn[reduction_factor=0]":             "reduction_factor of layer 0 is 0, want more than 0",
		"seq_bn[reduction_factor={'0': 4}]":      `give a "default"`,
		"seq_bn[reduction_factor=1e-300]":        "more than the modules themselves have",
		"seq_bn[non_linearity='sine']":           `non_linearity is "sine", want one of relu`,
		"seq_bn[leave_out=[0, 1]]":               "leave no place",
		"seq_bn[cross_adapter=True]":             "cross_adapter is true",
		"compacter[phm_dim=5]":                   "phm_dim 5 does not divide",
		"dora":                                   "cannot take apart",
		"ia3[r=2]":                               `composition_mode is "scale", want r 1`,
		"vera[intermediate_lora=True]":           "vera_d and vera_b",
		"prefix_tuning|prompt_tuning":            "virtual tokens",
		"seq_bn|par_bn":                          "has a bottleneck already",
		"prefix_tuning[prefix_length=100000000]": "prefix_length is 1e+08, want 1 to",
	} {
		m := tiny(t, tinyGPT2)
		c, err := ParseHub(text)
		if err == nil {
			_, err = c.Attach(m, rand.New(rand.NewPCG(1, 2)))
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "adapter: ") && !strings.HasPrefix(err.Error(), "peft: ") {
			t.Errorf("%q: error %v, want one that says %q", text, err, want)
		}
		if m.Prompter() != nil || m.Blocks[0].MLPEnd != nil {
			t.Errorf("%q: what was refused is attached", text)
		}
	}
}

// TestSecondNames reads files that have tensors under one of two names, or without the model's name before them.
func TestSecondNames(t *testing.T) {
	m := tiny(t, tinyGPT2)
	c, a := changed(t, m, "seq_bn[ln_before=True, reduction_factor=4]|prefix_tuning_flat[prefix_length=2]")
	whole := t.TempDir()
	if err := peft.Save(whole, c, a); err != nil {
		t.Fatal(err)
	}
	a.Detach()
	entries := peft.Entries(a)
	without := func(end string) []checkpoint.Entry {
		return slices.DeleteFunc(slices.Clone(entries), func(e checkpoint.Entry) bool { return strings.Contains(e.Name, end) })
	}
	renamed := slices.Clone(entries)
	for i := range renamed {
		renamed[i].Name = strings.TrimPrefix(renamed[i].Name, "transformer.")
	}
	var spoiled []checkpoint.Entry
	for _, e := range entries {
		if strings.HasSuffix(e.Name, "h.0.output_adapters.adapters.default.adapter_down.0.weight") {
			e = checkpoint.FromFloats(e.Name, e.Shape, make([]float32, e.Shape[0]))
		}
		spoiled = append(spoiled, e)
	}
	for _, x := range []struct {
		name    string
		entries []checkpoint.Entry
		want    string // in the error; "" = none
	}{
		{"all", entries, ""},
		{"without the second name of the norm", without("adapter_down.0"), ""},
		{"without the first", without("adapter_norm_before"), ""},
		{"with the prefix beside the layers only", without(".pool."), ""},
		{"of the bare model", renamed, ""},
		{"with other numbers under the second name", spoiled, "differs from"},
		{"without a tensor", without("adapter_up"), "is missing"},
	} {
		dir := t.TempDir()
		for _, name := range []string{peft.ConfigFile} {
			b, err := os.ReadFile(filepath.Join(whole, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), b, 0o666)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := checkpoint.Write(filepath.Join(dir, HubFiles[0]), x.entries, nil); err != nil {
			t.Fatal(err)
		}
		_, b, err := peft.Load(dir, m, hubTable, peft.Allow{})
		switch {
		case x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)):
			t.Errorf("%s: error %v, want one that says %q", x.name, err, x.want)
		case err == nil:
			want := map[string][]float32{}
			for name, p := range a.Params() {
				want[name] = op.Data(p)
			}
			for name, p := range b.Params() {
				if !slices.Equal(op.Data(p), want[name]) {
					t.Errorf("%s: %s differs", x.name, name)
				}
			}
			b.Detach()
		}
	}
}

// TestOwnHead trains the head of transformers' class beside the adapter, which the library stores in a file of its own.
func TestOwnHead(t *testing.T) {
	m := tiny(t, tinyBERT)
	c := NewHub("lora[r=2]")
	c.TaskType = "SEQ_CLS"
	a, err := c.Attach(m, rand.New(rand.NewPCG(3, 4)))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := a.(peft.Merger); !ok {
		t.Error("the library's lora beside the model's own head cannot be folded")
	}
	dir := t.TempDir()
	for name, p := range a.Params() {
		if name == "classifier.weight" {
			op.Data(p)[5] = 7
		}
	}
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	a.Detach()
	file, err := checkpoint.OpenFile(filepath.Join(dir, hubHeadFiles[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if want := []string{"classifier.bias", "classifier.weight"}; !slices.Equal(file.Names(), want) {
		t.Errorf("the head's file has %q, want %q", file.Names(), want)
	}
	for _, ready := range []bool{true, false} {
		loaded, b, err := peft.Load(dir, m, hubTable, peft.Allow{Idle: true})
		if (err == nil) != ready {
			t.Fatalf("loaded with its head there (%v): %v", ready, err)
		}
		if !ready {
			break
		}
		for name, p := range b.Params() {
			if name == "classifier.weight" && op.Data(p)[5] != 7 {
				t.Error("the trained head is not loaded")
			}
		}
		if loaded.Shared().TaskType != "SEQ_CLS" {
			t.Errorf("task_type %q, want SEQ_CLS", loaded.Shared().TaskType)
		}
		b.Detach()
		if err := os.Remove(filepath.Join(dir, hubHeadFiles[0])); err != nil {
			t.Fatal(err)
		}
	}
}

const headConfig = `{"config": {"activation_function": "tanh", "bias": true, "head_type": "classification", "layers": 2, "num_labels": 3,
	"use_pooler": true}, "name": "default"}`

// TestLibraryHead puts a head of the library into the model's place, by its pooler, and leaves one out that does not fit.
func TestLibraryHead(t *testing.T) {
	m := tiny(t, tinyBERT)
	before := m.Top
	c, a := changed(t, m, "seq_bn[reduction_factor=4]")
	dir := t.TempDir()
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	a.Detach()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write(headFile, headConfig)
	ones := func(shape ...int) []float32 { return slices.Repeat([]float32{1}, shape[0]*append(shape, 1)[1]) }
	tensors := []checkpoint.Entry{
		checkpoint.FromFloats("heads.default.1.weight", []int{12, 12}, ones(12, 12)), checkpoint.FromFloats("heads.default.1.bias", []int{12}, ones(12)),
		checkpoint.FromFloats("heads.default.4.weight", []int{3, 12}, ones(3, 12)), checkpoint.FromFloats("heads.default.4.bias", []int{3}, ones(3)),
	}
	if err := checkpoint.Write(filepath.Join(dir, hubHeadFiles[0]), tensors, nil); err != nil {
		t.Fatal(err)
	}
	_, b, err := peft.Load(dir, m, hubTable, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.Top.Steps); n != 2 || m.Top.Steps[0].Dense != before.Steps[0].Dense || m.Top.Out.Name != "heads.default.4" {
		t.Errorf("the head has %d steps and ends in %q, want the pooler, heads.default.1 and heads.default.4", n, m.Top.Out.Name)
	}
	b.Detach()
	if m.Top.Out != before.Out {
		t.Error("after Detach the model has another head than before")
	}
	for n := range len(headConfig) - 1 { // cut off anywhere
		write(headFile, headConfig[:n])
		if _, _, err := peft.Load(dir, m, hubTable, peft.Allow{}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Fatalf("%s cut to %d bytes: %v, want an error that names %s", headFile, n, err, dir)
		}
	}
	for from, to := range map[string]string{`"layers": 2`: `"layers": 65`, `"num_labels": 3`: `"num_labels": -1`, "tanh": "sine", `"default"`: `"other"`} {
		write(headFile, strings.Replace(headConfig, from, to, 1))
		if _, _, err := peft.Load(dir, m, hubTable, peft.Allow{}); err == nil {
			t.Errorf("%s with %s: no error", headFile, to)
		}
	}
	write(headFile, strings.Replace(headConfig, `"classification"`, `"tagging"`, 1))
	loaded, b, err := peft.Load(dir, m, hubTable, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(loaded.Shared().Warnings, " "); !strings.Contains(w, `the head "tagging" is left out`) {
		t.Errorf("warnings %q, want one of the head that is left out", w)
	}
	b.Detach()
}

// FuzzConfigString reads any config string: what is accepted can be checked and written.
func FuzzConfigString(f *testing.F) {
	for _, p := range presets {
		f.Add(p.name)
	}
	f.Add("seq_bn[reduction_factor={'1': 4, 'default': 8}, leave_out=[0], non_linearity='gelu']|lora[r=8]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseHub(text)
		if err != nil {
			return
		}
		_ = c.Validate()
		if _, err := c.JSON(); err != nil {
			t.Errorf("read but not written: %v", err)
		}
	})
}

// FuzzHeadConfig reads any bytes as head_config.json.
func FuzzHeadConfig(f *testing.F) {
	f.Add([]byte(headConfig))
	f.Add([]byte(`{"config": null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHead(b); err == nil && h != nil && (h.layers < 1 || h.labels < 1) {
			t.Errorf("accepted a head of %d layers and %d labels", h.layers, h.labels)
		}
	})
}

// TestForerunnersNames reads a file whose tensors have the names of the library's forerunner.
func TestForerunnersNames(t *testing.T) {
	m := tiny(t, tinyBERT)
	c, a := changed(t, m, "double_seq_bn_inv[reduction_factor=4]")
	dir := t.TempDir()
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	a.Detach()
	entries := peft.Entries(a)
	for i := range entries {
		for _, o := range oldNames {
			if was, ok := o.of(entries[i].Name); ok {
				entries[i].Name = was
				break
			}
		}
	}
	if err := checkpoint.Write(filepath.Join(dir, HubFiles[0]), entries, nil); err != nil {
		t.Fatal(err)
	}
	if _, b, err := peft.Load(dir, m, hubTable, peft.Allow{}); err != nil {
		t.Error(err)
	} else {
		b.Detach()
	}
}
