package interchange

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/interchange/llamacpp"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

const llamaConfig = `{"model_type": "llama", "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "head_dim": 4, "vocab_size": 23}`

func config(t testing.TB, text string) *model.Config {
	t.Helper()
	c, err := model.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func random(rows, cols int) kernel.Mat {
	rng := rand.New(rand.NewPCG(uint64(rows), uint64(cols)))
	m := kernel.NewMat(make([]float32, rows*cols), rows, cols)
	for i := range m.Data {
		m.Data[i] = float32(rng.NormFloat64())
	}
	return m
}

// sample adapts queries, keys and an MLP of the small llama, with two scales.
func sample() *Adapter {
	return &Adapter{Settings: peft.Object{"base_model_name_or_path": "some/base"}, BaseHash: "abc", Modules: []Module{
		{Name: "model.layers.0.self_attn.q_proj", A: random(2, 8), B: random(16, 2), Scale: 2},
		{Name: "model.layers.1.self_attn.k_proj", A: random(2, 8), B: random(8, 2), Scale: 2},
		{Name: "model.layers.1.mlp.down_proj", A: random(3, 6), B: random(8, 3), Scale: 4},
	}}
}

// TestGGUFFile holds keys, names, shapes and numbers to what llama.cpp's converter writes and its loader wants.
func TestGGUFFile(t *testing.T) {
	a, path := sample(), filepath.Join(t.TempDir(), "a.gguf")
	if err := writeGGUF(path, a, Options{Base: config(t, llamaConfig)}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := []gguf.Pair{{Key: "general.architecture", Value: "llama"}, {Key: "general.type", Value: "adapter"}, {Key: "adapter.type", Value: "lora"},
		{Key: "adapter.lora.alpha", Value: float32(4)}, {Key: "general.file_type", Value: uint32(0)}, {Key: "general.base_model.count", Value: uint32(1)},
		{Key: "general.base_model.0.name", Value: "some/base"}, {Key: "graft.base_sha256", Value: "abc"}}; !reflect.DeepEqual(f.Pairs, want) {
		t.Errorf("keys %v, want %v", f.Pairs, want)
	}
	want := []struct {
		name  string
		shape []int
		first float32
	}{
		{"blk.0.attn_q.weight.lora_a", []int{2, 8}, a.Modules[0].A.Data[0]},
		{"blk.0.attn_q.weight.lora_b", []int{16, 2}, a.Modules[0].B.Data[0]},
		{"blk.1.attn_k.weight.lora_a", []int{2, 8}, a.Modules[1].A.Data[0]},
		{"blk.1.attn_k.weight.lora_b", []int{8, 2}, a.Modules[1].B.Data[0]},
		{"blk.1.ffn_down.weight.lora_a", []int{3, 6}, a.Modules[2].A.Data[0]},
		{"blk.1.ffn_down.weight.lora_b", []int{8, 3}, 3 * a.Modules[2].B.Data[0]}, // 4 of rank 3 is alpha 12, not 4
	}
	for i, w := range want {
		x := f.Tensors[i]
		v, err := x.Floats()
		if err != nil || x.Name != w.name || !reflect.DeepEqual(x.Shape, w.shape) || v[0] != w.first {
			t.Errorf("tensor %q %v begins with %g, %v, want %q %v %g", x.Name, x.Shape, v[0], err, w.name, w.shape, w.first)
		}
	}
	q, err := f.Tensors[1].Floats()
	if err != nil {
		t.Fatal(err)
	}
	for i, from := range []int{0, 2, 1, 3, 4, 6, 5, 7} { // of each head of 4 rows 0, 2, 1, 3: neighbours are a pair
		if got, want := q[2*i], a.Modules[0].B.Row(from)[0]; got != want {
			t.Errorf("row %d of lora_b begins with %g, want row %d's %g", i, got, from, want)
		}
	}
	k, err := f.Tensors[3].Floats()
	if err != nil || k[2*1] != a.Modules[1].B.Row(2)[0] || k[2*4] != a.Modules[1].B.Row(4)[0] {
		t.Errorf("keys are not permuted by their own two heads: %v, %v", k, err)
	}
}

// TestPermuted is reshape(heads, 2, d/2).swapaxes(1, 2), the converter's own words, and back.
func TestPermuted(t *testing.T) {
	m := random(24, 3)
	p := permuted(m, 2, false)
	row := 0
	for h := range 2 {
		for i := range 6 {
			for s := range 2 {
				if want := m.Row(h*12 + s*6 + i); !reflect.DeepEqual(p.Row(row), want) {
					t.Errorf("row %d is %v, want %v", row, p.Row(row), want)
				}
				row++
			}
		}
	}
	if back := permuted(p, 2, true); !reflect.DeepEqual(back, m) {
		t.Error("permuted and back it is another matrix")
	}
}

// TestEmbeddingInGGUF transposes the A of token_embd, of which llama.cpp picks rows.
func TestEmbeddingInGGUF(t *testing.T) {
	a := &Adapter{Modules: []Module{{Name: "model.embed_tokens", Embedding: true, A: random(2, 23), B: random(8, 2), Scale: 1}}}
	path := filepath.Join(t.TempDir(), "a.gguf")
	o := Options{Base: config(t, llamaConfig)}
	if err := writeGGUF(path, a, o); err != nil {
		t.Fatal(err)
	}
	b, err := readGGUF(path, Options{Base: o.Base})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(b.Modules, a.Modules) {
		t.Errorf("read %+v, want %+v", b.Modules, a.Modules)
	}
	data, _ := os.ReadFile(path)
	f, err := gguf.Parse(data)
	if err != nil || !reflect.DeepEqual(f.Tensors[0].Shape, []int{23, 2}) || !reflect.DeepEqual(f.Tensors[1].Shape, []int{8, 2}) {
		t.Errorf("tensors %+v, %v, want [23 2] and [8 2]", f, err)
	}
}

// changed is the sample as a file with something else in it.
func changed(t testing.TB, change func(f *gguf.File)) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.gguf")
	if err := writeGGUF(path, sample(), Options{Base: config(t, llamaConfig)}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	change(f)
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBadGGUF changes one thing at a time.
func TestBadGGUF(t *testing.T) {
	set := func(key string, v any) func(f *gguf.File) {
		return func(f *gguf.File) {
			for i := range f.Pairs {
				if f.Pairs[i].Key == key {
					f.Pairs[i].Value = v
				}
			}
		}
	}
	base := config(t, llamaConfig)
	for name, x := range map[string]struct {
		change func(f *gguf.File)
		base   *model.Config
		want   string
	}{
		"a model":                 {set(llamacpp.KeyType, "model"), base, `general.type is "model", want "adapter"`},
		"no type":                 {func(f *gguf.File) { f.Pairs = f.Pairs[2:] }, base, `"general.type" is missing`},
		"a control vector":        {set(keyKind, "control"), base, `adapter.type is "control", want "lora"`},
		"an unknown architecture": {set(llamacpp.KeyArch, "rwkv"), base, `general.architecture is "rwkv", want one of llama,`},
		"another architecture":    {set(llamacpp.KeyArch, "qwen2"), base, `general.architecture is "qwen2", and the base's model_type "llama"`},
		"an alpha that is a word": {set(keyAlpha, "four"), base, `"adapter.lora.alpha" is four, want a float32`},
		"no base":                 {func(*gguf.File) {}, nil, `"blk.0.attn_q": its rows are permuted by head: want the base's config.json`},
		"other heads":             {func(*gguf.File) {}, config(t, strings.Replace(llamaConfig, `"num_attention_heads": 4`, `"num_attention_heads": 6`, 1)), "16 rows, which 6 heads of even size do not share"},
		"half a pair":             {func(f *gguf.File) { f.Tensors = f.Tensors[1:] }, base, `"blk.0.attn_q" lacks its lora_a or lora_b`},
		"a norm":                  {func(f *gguf.File) { f.Tensors[0].Name = "blk.0.attn_norm.weight" }, base, `"blk.0.attn_norm.weight" is no lora_a or lora_b`},
		"a part that is none":     {func(f *gguf.File) { f.Tensors[0].Name = "blk.0.ssm_in.weight.lora_a" }, base, `"blk.0.ssm_in" is no part of llama.cpp's llama`},
		"a vector":                {func(f *gguf.File) { f.Tensors[0].Shape = []int{16} }, base, `is [16], want a matrix`},
		"ranks that do not fit":   {func(f *gguf.File) { f.Tensors[0].Shape = []int{4, 4} }, base, `A is [4, 4] and B [16, 2], want one rank`},
		"a tensor of a type that is not read": {func(f *gguf.File) {
			f.Tensors[0] = gguf.Tensor{Name: f.Tensors[0].Name, Type: 9, Shape: []int{1, 32}, Data: make([]byte, 36)}
		}, base, "Q8_1 is not read, want one of F32"},
		"a number that is not one": {func(f *gguf.File) { copy(f.Tensors[0].Data[4:], []byte{0, 0, 0xc0, 0x7f}) }, base, "has no finite number at 1"},
	} {
		path := filepath.Join(t.TempDir(), "a.gguf")
		if err := os.WriteFile(path, changed(t, x.change), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Read(path, Options{Base: x.base}); err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
	}
}

// TestTruncatedGGUF cuts an adapter at every byte.
func TestTruncatedGGUF(t *testing.T) {
	data := changed(t, func(*gguf.File) {})
	for n := range len(data) {
		if _, err := decodeGGUF(data[:n:n], Options{Base: config(t, llamaConfig)}); !errors.Is(err, gguf.ErrFormat) {
			t.Fatalf("cut to %d of %d bytes: %v, want a format error", n, len(data), err)
		}
	}
}

// FuzzGGUF reads anything without a panic; what it reads can be written.
func FuzzGGUF(f *testing.F) {
	f.Add(changed(f, func(*gguf.File) {}))
	base := config(f, llamaConfig)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := decodeGGUF(data, Options{Base: base})
		if err != nil || a.check("x") != nil {
			return
		}
		if _, err := encodeGGUF(a, Options{Base: base}); err != nil {
			t.Error(err)
		}
	})
}
