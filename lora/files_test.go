package lora

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// sameFiles compares two adapter folders byte by byte.
func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	for _, name := range []string{peft.ConfigFile, peft.TensorsFile} {
		x, err := os.ReadFile(filepath.Join(a, name))
		if err != nil {
			t.Fatal(err)
		}
		if y, err := os.ReadFile(filepath.Join(b, name)); err != nil || !bytes.Equal(x, y) {
			t.Errorf("%s: saved, loaded and saved again it differs (%v)", name, err)
		}
	}
}

// checkpointOf writes the frozen weights of a model to a folder.
func checkpointOf(t *testing.T, m *model.Model) *checkpoint.Checkpoint {
	t.Helper()
	dir := t.TempDir()
	var entries []checkpoint.Entry
	for s := range m.Slots() {
		if s.Tied {
			continue
		}
		w := s.Base.W
		data := make([]float32, w.Rows*w.Cols)
		for i := range w.Rows {
			w.Row(data[i*w.Cols:(i+1)*w.Cols], i)
		}
		entries = append(entries, checkpoint.FromFloats(s.Name+".weight", []int{w.Rows, w.Cols}, data))
		if s.Base.Bias != nil {
			entries = append(entries, checkpoint.FromFloats(s.Name+".bias", []int{len(s.Base.Bias)}, s.Base.Bias))
		}
	}
	fresh := tiny(t, m.Config.TieWordEmbeddings) // whose norms nothing has changed
	for _, v := range fresh.Vectors() {
		entries = append(entries, checkpoint.FromFloats(v.Name, []int{len(v.Value)}, v.Value))
	}
	if err := checkpoint.Write(filepath.Join(dir, "model.safetensors"), entries, nil); err != nil {
		t.Fatal(err)
	}
	c := m.Config
	config, err := json.Marshal(map[string]any{"model_type": c.ModelType, "architectures": []string{"Qwen2ForCausalLM"}, "hidden_size": c.HiddenSize,
		"intermediate_size": c.IntermediateSize, "num_hidden_layers": c.NumHiddenLayers, "vocab_size": c.VocabSize, "num_attention_heads": c.NumAttentionHeads,
		"num_key_value_heads": c.NumKeyValueHeads, "head_dim": c.HeadDim, "tie_word_embeddings": c.TieWordEmbeddings})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
		t.Fatal(err)
	}
	src, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// loaded is the model of a folder.
func loaded(t *testing.T, dir string) *model.Model {
	t.Helper()
	src, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	m, err := model.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestFileKeys lists what the options write, as PEFT does.
func TestFileKeys(t *testing.T) {
	for _, c := range []struct {
		name   string
		tied   bool
		change func(c *Config)
		want   map[string][]int // below base_model.model., of layer 0 or of none
	}{
		{"DoRA", false, func(c *Config) { c.UseDoRA, c.TargetModules.List = true, []string{"q_proj"} }, map[string][]int{
			"model.layers.0.self_attn.q_proj.lora_A.weight": {2, 12}, "model.layers.0.self_attn.q_proj.lora_B.weight": {12, 2}, "model.layers.0.self_attn.q_proj.lora_magnitude_vector": {12}}},
		{"lora_only", false, func(c *Config) { c.Beside.Bias, c.TargetModules.List = "lora_only", []string{"v_proj"} }, map[string][]int{
			"model.layers.0.self_attn.v_proj.lora_A.weight": {2, 12}, "model.layers.0.self_attn.v_proj.lora_B.weight": {6, 2}, "model.layers.0.self_attn.v_proj.base_layer.bias": {6}}},
		{"an embedding", false, func(c *Config) { c.TargetModules.List = []string{"embed_tokens"} }, map[string][]int{
			"model.embed_tokens.lora_embedding_A": {2, 23}, "model.embed_tokens.lora_embedding_B": {12, 2}, "model.embed_tokens.base_layer.weight": {23, 12}}},
		{"an embedding by its whole name, which PEFT does not look for", false, func(c *Config) { c.TargetModules.List = []string{"model.embed_tokens"} }, map[string][]int{
			"model.embed_tokens.lora_embedding_A": {2, 23}, "model.embed_tokens.lora_embedding_B": {12, 2}}},
		{"a tied pair", true, func(c *Config) { c.TargetModules.List, c.Beside.Tie = []string{"embed_tokens"}, true }, map[string][]int{
			"model.embed_tokens.lora_embedding_A": {2, 23}, "model.embed_tokens.lora_embedding_B": {12, 2}, "model.embed_tokens.base_layer.weight": {23, 12},
			"lm_head.lora_A.weight": {2, 12}, "lm_head.lora_B.weight": {23, 2}, "lm_head.base_layer.weight": {23, 12}}},
	} {
		a := attach(t, tiny(t, c.tied), settings(c.change))
		got := map[string][]int{}
		for _, e := range peft.Entries(a) {
			if name := strings.TrimPrefix(e.Name, peft.Prefix); !strings.Contains(name, "layers.1.") {
				got[name] = e.Shape
			}
		}
		if !maps.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestForeignBase refuses an adapter whose file holds another embedding than the base has.
func TestForeignBase(t *testing.T) {
	m := tiny(t, false)
	c := settings(func(c *Config) { c.TargetModules.List = []string{"embed_tokens"} })
	a := attach(t, m, c)
	dir := t.TempDir()
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	cfg := *m.Config
	other, err := model.New(&cfg, rand.New(rand.NewPCG(5, 5)))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = peft.Load(dir, other, []peft.Method{Method}, peft.Allow{})
	if want := "differs from the base's model.embed_tokens.weight in row 0: the adapter was trained on another base"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Load: %v, want …%s…", err, want)
	}
}
