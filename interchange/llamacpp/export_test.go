package llamacpp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/tokenizer"
)

// folded opens a folder as a model without an adapter.
func folded(t *testing.T, dir string) (*checkpoint.Checkpoint, *merge.Folded) {
	t.Helper()
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f, err := merge.NewFolded(merge.Job{Base: c, AllowNothing: true})
	if err != nil {
		t.Fatal(err)
	}
	return c, f
}

// exported writes a folder's model and reads the file.
func exported(t *testing.T, dir, typ string) (*gguf.File, *Report) {
	t.Helper()
	_, f := folded(t, dir)
	out := filepath.Join(t.TempDir(), "m.gguf")
	r, err := Export(context.Background(), Job{Model: f, Type: typ, Out: out, Name: "m"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return g, r
}

// asTrained are models of architectures of which llama.cpp computes only what was published: modeltest's are otherwise.
var asTrained = []modeltest.Config{
	{Name: "gemma2 as published", JSON: `{"model_type": "gemma2", "hidden_size": 10, "intermediate_size": 14, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
		"head_dim": 6, "query_pre_attn_scalar": 6, "sliding_window": 3, "vocab_size": 23, "max_position_embeddings": 32, "initializer_range": 0.3}`},
	{Name: "gemma3 as published", JSON: `{"model_type": "gemma3_text", "hidden_size": 10, "intermediate_size": 14, "num_hidden_layers": 7, "num_attention_heads": 4, "num_key_value_heads": 2,
		"head_dim": 6, "query_pre_attn_scalar": 6, "sliding_window": 3, "attn_logit_softcapping": null, "final_logit_softcapping": null, "vocab_size": 23, "max_position_embeddings": 32,
		"initializer_range": 0.3}`},
	{Name: "phi3 of long texts", JSON: `{"model_type": "phi3", "hidden_size": 16, "intermediate_size": 14, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 23,
		"max_position_embeddings": 64, "original_max_position_embeddings": 16, "initializer_range": 0.3, "pad_token_id": 0, "partial_rotary_factor": 0.5,
		"rope_scaling": {"type": "longrope", "short_factor": [1, 1.5], "long_factor": [2, 7]}}`},
}

// exportable are the tiny models of the architectures that are exported whole.
func exportable(t *testing.T) (list []modeltest.Config) {
	types := map[string]bool{}
	for _, tiny := range slices.Concat(modeltest.Tiny, asTrained) {
		c, x, err := checked([]byte(tiny.JSON))
		if err != nil {
			continue
		}
		if _, _, err := x.keys(c); err == nil {
			list, types[c.ModelType] = append(list, tiny), true
		}
	}
	for _, x := range archs {
		for _, name := range x.modelTypes {
			if x.whole != nil && !types[name] {
				t.Errorf("no tiny model of %s is exported", name)
			}
		}
	}
	return list
}

// tensorOf finds a tensor of a file.
func tensorOf(t *testing.T, g *gguf.File, name string) (*gguf.Tensor, []float32) {
	t.Helper()
	i := slices.IndexFunc(g.Tensors, func(x gguf.Tensor) bool { return x.Name == name })
	if i < 0 {
		t.Fatalf("no tensor %q", name)
	}
	x, err := g.Tensors[i].Floats()
	if err != nil {
		t.Fatal(err)
	}
	return &g.Tensors[i], x
}

// back undoes what an architecture's file does to a tensor, step by step and not as Export does it.
func back(t *testing.T, g *gguf.File, c *model.Config, name string, shape []int) []float32 {
	t.Helper()
	stem := map[string]string{"model.embed_tokens.weight": "token_embd.weight", "transformer.wte.weight": "token_embd.weight", "transformer.wpe.weight": "position_embd.weight",
		"model.norm.weight": "output_norm.weight", "transformer.ln_f.weight": "output_norm.weight", "transformer.ln_f.bias": "output_norm.bias",
		"lm_head.weight": "output.weight"}[name]
	if stem == "" {
		if strings.HasPrefix(c.ModelType, "gemma2") || strings.HasPrefix(c.ModelType, "gemma3") {
			name = strings.NewReplacer("post_attention_layernorm", "post_attention_norm", "pre_feedforward_layernorm", "ffn_norm", "post_feedforward_layernorm", "post_ffw_norm").Replace(name)
		}
		stem = strings.NewReplacer("self_attn.qkv_proj", "attn_qkv", "mlp.gate_up_proj", "ffn_up", "model.layers.", "blk.", "transformer.h.", "blk.", "self_attn.q_proj", "attn_q", "self_attn.k_proj", "attn_k", "self_attn.v_proj", "attn_v",
			"self_attn.o_proj", "attn_output", "self_attn.q_norm", "attn_q_norm", "self_attn.k_norm", "attn_k_norm", "mlp.gate_proj", "ffn_gate", "mlp.up_proj", "ffn_up",
			"mlp.down_proj", "ffn_down", "input_layernorm", "attn_norm", "post_attention_layernorm", "ffn_norm", "ln_1", "attn_norm", "ln_2", "ffn_norm",
			"attn.c_attn", "attn_qkv", "attn.c_proj", "attn_output", "mlp.c_fc", "ffn_up", "mlp.c_proj", "ffn_down").Replace(name)
	}
	w, x := tensorOf(t, g, stem)
	y := slices.Clone(x)
	switch isProjection := strings.Contains(name, ".h.") && len(shape) == 2; {
	case c.ModelType == "gpt2" && isProjection:
		for i := range shape[0] {
			for k := range shape[1] {
				y[i*shape[1]+k] = x[k*shape[0]+i]
			}
		}
		shape = []int{shape[1], shape[0]}
	case strings.Contains(name, "q_proj.") && (c.ModelType == "llama" || c.ModelType == "mistral"):
		Permute(y, x, c.NumAttentionHeads, len(x)/shape[0], true)
	case strings.Contains(name, "k_proj.") && (c.ModelType == "llama" || c.ModelType == "mistral"):
		Permute(y, x, c.NumKeyValueHeads, len(x)/shape[0], true)
	case strings.HasSuffix(name, "norm.weight") && strings.HasPrefix(c.ModelType, "gemma"):
		for i := range y {
			y[i]--
		}
	}
	if !slices.Equal(w.Shape, shape) {
		t.Errorf("%s is %v, want %v", stem, w.Shape, shape)
	}
	return y
}

// TestEveryTensorComesBack writes every architecture as every type and finds the model's numbers again, within the type's bound.
func TestEveryTensorComesBack(t *testing.T) {
	bounds := map[string]float64{"F32": 1e-7, "F16": 1.0 / 2048, "BF16": 1.0 / 256, "Q8_0": 0.6 / 127, "Q5_0": 1.1 / 16, "Q4_0": 1.1 / 8, "Q6_K": 1.0 / 24, "Q5_K": 2.0 / 31, "Q4_K": 2.0 / 15}
	for _, tiny := range exportable(t) {
		dir := modeltest.Write(t, tiny)
		src, _ := folded(t, dir)
		c, err := model.ParseConfig([]byte(tiny.JSON))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range FileTypes {
			t.Run(tiny.Name+" as "+f.Name, func(t *testing.T) {
				g, r := exported(t, dir, f.Name)
				if r.Tensors != len(g.Tensors) {
					t.Errorf("%d tensors reported, %d there", r.Tensors, len(g.Tensors))
				}
				for _, name := range src.Names() {
					info, _ := src.Info(name)
					want, err := src.Floats(name)
					if err != nil {
						t.Fatal(err)
					}
					got := back(t, g, c, name, info.Shape)
					most, worst := 0.0, 0.0
					for i, v := range want {
						most, worst = max(most, math.Abs(float64(v))), max(worst, math.Abs(float64(v-got[i])))
					}
					bound := 0.0
					for _, x := range g.Tensors {
						bound = max(bound, bounds[x.Type.String()])
					}
					if f.Name == "f32" {
						bound = bounds["F32"] // 1 + w − 1 of gemma's norms
					}
					if worst > bound*max(1, most) {
						t.Errorf("%s: wrong by %g of %g, want %g of it", name, worst, most, bound)
					}
				}
			})
		}
	}
}

// TestKeys holds what is said about a model to the list of llama.cpp's converter.
func TestKeys(t *testing.T) {
	dir := t.TempDir()
	copyModel(t, dir, `{"model_type": "llama", "hidden_size": 64, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
		"vocab_size": 29, "max_position_embeddings": 77, "rms_norm_eps": 1e-5, "rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 16}}`)
	g, r := exported(t, dir, "q8_0")
	want := map[string]any{
		"general.architecture": "llama", "general.type": "model", "general.name": "m", "general.file_type": uint32(7), "general.quantization_version": uint32(2),
		"llama.vocab_size": uint32(29), "llama.context_length": uint32(77), "llama.embedding_length": uint32(64), "llama.block_count": uint32(1),
		"llama.feed_forward_length": uint32(24), "llama.attention.head_count": uint32(4), "llama.attention.head_count_kv": uint32(2),
		"llama.attention.layer_norm_rms_epsilon": float32(1e-5), "llama.attention.key_length": uint32(16), "llama.attention.value_length": uint32(16),
		"llama.rope.dimension_count": uint32(16), "llama.rope.freq_base": float32(10000), "llama.rope.scaling.type": "yarn",
		"llama.rope.scaling.factor": float32(4), "llama.rope.scaling.original_context_length": uint32(16), "tokenizer.ggml.model": "none",
	}
	for _, p := range g.Pairs {
		if want[p.Key] != p.Value {
			t.Errorf("%s is %v, want %v", p.Key, p.Value, want[p.Key])
		}
		delete(want, p.Key)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if len(r.FellBack) != 1 || r.FellBack[0] != "blk.0.ffn_down.weight: rows of 24, F16" {
		t.Errorf("fell back: %q", r.FellBack)
	}
}

// copyModel writes a model of random weights by its config.
func copyModel(t *testing.T, dir, config string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(modeltest.Write(t, modeltest.Config{Name: "m", JSON: config}))); err != nil {
		t.Fatal(err)
	}
}

// TestMixes chooses types as llama.cpp's mixes do.
func TestMixes(t *testing.T) {
	for _, x := range []struct {
		typ, name string
		shape     []int
		tied      bool
		want      gguf.Type
	}{
		{"q4_k", "blk.0.attn_q.weight", []int{256, 512}, false, gguf.Q4K},
		{"q4_k", "blk.0.attn_v.weight", []int{256, 512}, false, gguf.Q6K},
		{"q4_k", "blk.3.attn_v.weight", []int{256, 512}, false, gguf.Q6K},
		{"q4_k", "blk.2.ffn_down.weight", []int{256, 512}, false, gguf.Q4K},
		{"q4_k", "blk.7.ffn_down.weight", []int{256, 512}, false, gguf.Q6K},
		{"q4_k", "blk.0.attn_q.weight", []int{256, 96}, false, gguf.Q50},
		{"q4_k", "blk.7.ffn_down.weight", []int{256, 96}, false, gguf.Q80},
		{"q4_k", "blk.0.attn_q.weight", []int{256, 40}, false, gguf.F16},
		{"q4_k", "blk.0.attn_q_norm.weight", []int{256, 256}, false, gguf.F32},
		{"q4_k", "blk.0.attn_q.bias", []int{256}, false, gguf.F32},
		{"q4_0", "output.weight", []int{256, 512}, false, gguf.Q6K},
		{"q4_0", "output.weight", []int{256, 96}, false, gguf.Q80},
		{"q4_0", "token_embd.weight", []int{256, 512}, false, gguf.Q40},
		{"q4_0", "token_embd.weight", []int{256, 512}, true, gguf.Q6K},
		{"q8_0", "output.weight", []int{256, 512}, false, gguf.Q80},
		{"q4_0", "position_embd.weight", []int{256, 512}, false, gguf.F32},
		{"bf16", "output.weight", []int{256, 7}, false, gguf.BF16},
	} {
		f, err := FileTypeNamed(x.typ)
		if err != nil {
			t.Fatal(err)
		}
		w := &tensor{name: x.name, info: checkpoint.Info{Shape: x.shape}, cols: x.shape[len(x.shape)-1], layer: int(x.name[min(4, len(x.name)-1)] - '0')}
		if got, _ := f.of(w, 8, x.tied); got != x.want {
			t.Errorf("%s of %s %v is %s, want %s", x.typ, x.name, x.shape, got, x.want)
		}
	}
}

// TestVocabulary exports the quickstart's tokenizer, which cuts as qwen2's, and one of sentencepiece's kind.
func TestVocabulary(t *testing.T) {
	read := func(name string) []byte {
		b, err := fs.ReadFile(recipes.Quickstart(), name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tk, err := tokenizer.Open(recipes.Quickstart())
	if err != nil {
		t.Fatal(err)
	}
	j := &Job{Tokenizer: tk, TokenizerJSON: read("tokenizer.json"), config: &model.Config{VocabSize: tk.VocabSize() + 2}}
	got := vocabOf(t, j)
	tokens, kinds := got["tokenizer.ggml.tokens"].([]string), got["tokenizer.ggml.token_type"].([]int32)
	last := len(tokens) - 1
	for key, want := range map[string]any{"model": "gpt2", "pre": "qwen2", "bos_token_id": uint32(0), "eos_token_id": uint32(1), "add_bos_token": true, "add_eos_token": false} {
		if v := got["tokenizer.ggml."+key]; v != want {
			t.Errorf("%s is %v, want %v", key, v, want)
		}
	}
	if len(got["tokenizer.ggml.merges"].([]string)) != 1231 || len(tokens) != tk.VocabSize()+2 || tokens[last] != "[PAD1490]" || kinds[last] != unusedToken || kinds[0] != controlToken {
		t.Errorf("%d merges, %d tokens, the last %q of kind %d", len(got["tokenizer.ggml.merges"].([]string)), len(tokens), tokens[last], kinds[last])
	}
}

func vocabOf(t *testing.T, j *Job) map[string]any {
	t.Helper()
	pairs, _, err := j.vocabKeys(j.config.VocabSize)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, p := range pairs {
		got[p.Key] = p.Value
	}
	return got
}

// pieces is a tokenizer of sentencepiece's kind.
const pieces = `{"added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true}, {"id": 7, "content": "▁▁", "special": false}],
	"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
	"model": {"type": "BPE", "byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>", "merges": [["▁", "a"], "a b", "▁a b", "▁ ab"],
	"vocab": {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "▁a": 3, "ab": 4, "▁ab": 5, "▁": 6, "▁▁": 7, "a": 8, "b": 9, "xyz": 10}}}`

// TestScores turns merges into scores.
func TestScores(t *testing.T) {
	tk, err := tokenizer.New([]byte(pieces))
	if err != nil {
		t.Fatal(err)
	}
	j := &Job{Tokenizer: tk, TokenizerJSON: []byte(pieces), config: &model.Config{VocabSize: 11}}
	got := vocabOf(t, j)
	want := map[string]any{
		"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.add_space_prefix": true, "tokenizer.ggml.unknown_token_id": uint32(0), "tokenizer.ggml.add_bos_token": false, "tokenizer.ggml.add_eos_token": false,
		"tokenizer.ggml.tokens":     []string{"<unk>", "<s>", "<0x0A>", "▁a", "ab", "▁ab", "▁", "  ", "a", "b", "xyz"},
		"tokenizer.ggml.token_type": []int32{unknownToken, controlToken, byteToken, normalToken, normalToken, normalToken, normalToken, userToken, normalToken, normalToken, normalToken},
		"tokenizer.ggml.scores":     []float32{0, 0, 0, 0, -1, -2, 0, 0, 0, 0, farScore},
	}
	a, err1 := json.Marshal(got)
	b, err2 := json.Marshal(want)
	if err := errors.Join(err1, err2); err != nil || !bytes.Equal(a, b) {
		t.Errorf("keys\n%s, want\n%s, %v", a, b, err)
	}
}

// TestRefuses gives models and tokenizers that llama.cpp would misread.
func TestRefuses(t *testing.T) {
	const llama = `{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 29`
	for config, want := range map[string]string{
		llama + `, "hidden_act": "relu"}`:                                                        `llamacpp: hidden_act is "relu", want silu: llama.cpp's llama has no other`,
		llama + `, "rope_scaling": {"rope_type": "dynamic", "factor": 2}}`:                       `llamacpp: rope_type is "dynamic", want default, linear, llama3 or yarn`,
		`{"model_type": "bert"}`:                                                                 `llamacpp: model_type is "bert", want one of llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text, phi3, gpt2`,
		`{"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": true}`:                        `llamacpp: scale_attn_by_inverse_layer_idx is true, want false`,
		llama + `, "rope_scaling": {"rope_type": "yarn", "factor": 2, "attention_factor": 1.5}}`: `attention_factor`,
	} {
		_, _, err := checked([]byte(config))
		if err = wrap(err); err == nil {
			dir := t.TempDir()
			copyModel(t, dir, config)
			_, f := folded(t, dir)
			_, err = Export(context.Background(), Job{Model: f, Type: "f16", Out: filepath.Join(dir, "m.gguf")})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", config, err, want)
		}
	}
	for from, x := range map[string]struct{ to, want string }{
		`"BPE"`:                  {`"Unigram"`, "model is Unigram, want BPE"},
		`"byte_fallback": true`:  {`"byte_fallback": false`, `pre_tokenizer "none" is none of gpt-2, smollm, llama-bpe, qwen2, tekken; if llama.cpp has it, --pre gives its name`},
		`"added_tokens": [`:      {`"added_tokens": [{"id": 11, "content": "<x>"}, `, "tokenizer.json has 12 tokens, vocab_size in config.json is 11"},
		`"a b", "▁a b", "▁ ab"]`: {`7]`, "tokenizer.json: json: cannot"},
	} {
		tk, err := tokenizer.New([]byte(pieces))
		if changed := []byte(strings.Replace(pieces, from, x.to, 1)); err == nil {
			if other, err := tokenizer.New(changed); err == nil {
				tk = other
			}
			j := &Job{Tokenizer: tk, TokenizerJSON: changed, config: &model.Config{VocabSize: 11}}
			_, _, err = j.vocabKeys(11)
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%s: %v, want %s", x.to, err, x.want)
			}
		}
	}
}

// TestBadWeights exports numbers that no type holds, and tensors that have no place: one line, and nothing is left.
func TestBadWeights(t *testing.T) {
	tiny := exportable(t)[0]
	for name, x := range map[string]struct {
		tensor string
		value  float32
		want   string
	}{
		"not a number":            {"model.layers.0.mlp.up_proj.weight", float32(math.NaN()), `llamacpp: tensor "model.layers.0.mlp.up_proj.weight": rows 0 and on: the number at 3 is NaN, want finite numbers`},
		"beyond the type":         {"model.layers.0.mlp.up_proj.weight", 7e4, `the number 70000 at 3 is beyond F16`},
		"a tensor without a name": {"model.layers.0.mlp.side_proj.weight", 1, `llamacpp: tensor "model.layers.0.mlp.side_proj.weight" has no name in llama.cpp's llama`},
	} {
		dir := modeltest.Write(t, tiny)
		src, _ := folded(t, dir)
		var entries []checkpoint.Entry
		for _, n := range append(src.Names(), "model.layers.0.mlp.side_proj.weight") {
			info, ok := src.Info(n)
			if !ok && n != x.tensor {
				continue
			}
			v := make([]float32, 4)
			if ok {
				v, _ = src.Floats(n)
			} else {
				info.Shape = []int{4}
			}
			if n == x.tensor {
				v[3] = x.value
			}
			entries = append(entries, checkpoint.FromFloats(n, info.Shape, v))
		}
		bad := t.TempDir()
		if err := errors.Join(checkpoint.Write(filepath.Join(bad, "model.safetensors"), entries, nil), os.WriteFile(filepath.Join(bad, "config.json"), []byte(tiny.JSON), 0o666)); err != nil {
			t.Fatal(err)
		}
		_, f := folded(t, bad)
		out := filepath.Join(t.TempDir(), "m.gguf")
		_, err := Export(context.Background(), Job{Model: f, Type: "f16", Out: out})
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
		if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) > 0 {
			t.Errorf("%s: %v left, %v", name, left, err)
		}
	}
}

// TestSameBytes writes with one thread and with several, and stops when told.
func TestSameBytes(t *testing.T) {
	dir := t.TempDir()
	copyModel(t, dir, `{"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 300}`)
	var first []byte
	for _, threads := range []int{1, 4} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
		_, f := folded(t, dir)
		out := filepath.Join(t.TempDir(), "m.gguf")
		if _, err := Export(context.Background(), Job{Model: f, Type: "q4_k", Out: out}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		} else if !bytes.Equal(first, b) {
			t.Errorf("%d threads write other bytes than one", threads)
		}
	}
	_, f := folded(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	out := filepath.Join(t.TempDir(), "m.gguf")
	_, err := Export(ctx, Job{Model: f, Type: "q4_k", Out: out, Progress: func(done, total int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) > 0 {
		t.Errorf("cancelled: %v left, %v", left, err)
	}
}
