package e2e

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	parser "github.com/gpustack/gguf-parser-go"
	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/interchange/llamacpp"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
)

// share is how far a number may be off, as a share of its tensor's largest.
var share = map[string]float64{"F32": 0, "F16": 1.0 / 2048, "BF16": 1.0 / 256, "Q8_0": 0.6 / 127, "Q6_K": 1.0 / 24, "Q5_K": 2.0 / 31, "Q5_0": 1.1 / 16, "Q4_K": 2.0 / 15, "Q4_0": 1.1 / 8}

// TestModelByAnother exports models whole and reads them with a parser that knows nothing of graft: what the file is, and the embedding,
// at the place and of the type that the parser says.
func TestModelByAnother(t *testing.T) {
	for _, c := range []modeltest.Config{
		{Name: "llama", JSON: `{"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 61}`},
		{Name: "qwen2", JSON: `{"model_type": "qwen2", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 61, "tie_word_embeddings": true}`},
		{Name: "gemma", JSON: `{"model_type": "gemma", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 61}`},
		{Name: "gemma2", JSON: `{"model_type": "gemma2", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "query_pre_attn_scalar": 64, "vocab_size": 61}`},
		{Name: "gemma3", JSON: `{"model_type": "gemma3_text", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64, "query_pre_attn_scalar": 64, "vocab_size": 61, "sliding_window": 8}`},
		{Name: "phi3", JSON: `{"model_type": "phi3", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 61, "pad_token_id": 0}`},
		{Name: "gpt2", JSON: `{"model_type": "gpt2", "n_embd": 256, "n_layer": 2, "n_head": 4, "vocab_size": 61, "n_positions": 32}`},
	} {
		src, err := checkpoint.Open(modeltest.Write(t, c))
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		for _, typ := range llamacpp.TypeNames() {
			t.Run(c.Name+" as "+typ, func(t *testing.T) { readBack(t, src, c, typ) })
		}
	}
}

func readBack(t *testing.T, src *checkpoint.Checkpoint, c modeltest.Config, typ string) {
	folded, err := merge.NewFolded(merge.Job{Base: src, AllowNothing: true})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "m.gguf")
	r, err := llamacpp.Export(context.Background(), llamacpp.Job{Model: folded, Type: typ, Out: out, Name: "tiny"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseGGUFFile(out)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := model.ParseConfig([]byte(c.JSON))
	if err != nil {
		t.Fatal(err)
	}
	m, a := f.Metadata(), f.Architecture()
	if m.Type != "model" || m.Architecture != c.Name || m.Name != "tiny" || a.EmbeddingLength != 256 || a.BlockCount != 2 || a.AttentionHeadCount != 4 ||
		int(a.AttentionHeadCountKV) != cfg.NumKeyValueHeads || len(f.TensorInfos) != r.Tensors {
		t.Errorf("metadata %+v, architecture %+v, %d tensors; want %d", m, a, len(f.TensorInfos), r.Tensors)
	}
	bytes := uint64(0)
	for _, x := range f.TensorInfos {
		bytes += x.Bytes()
	}
	if int64(bytes) != r.Bytes {
		t.Errorf("the tensors have %d bytes, want %d", bytes, r.Bytes)
	}
	t.Logf("%.1f %% of the bytes that it was, %.2f bits per number, type of file %v", 100*float64(r.Bytes)/float64(r.From), r.BitsEach, m.FileType)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	name := map[bool]string{true: "transformer.wte.weight", false: "model.embed_tokens.weight"}[c.Name == "gpt2"]
	want, err := src.Floats(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f.TensorInfos {
		if x.Name != "token_embd.weight" {
			continue
		}
		start := uint64(f.TensorDataStartOffset) + x.Offset
		got := make([]float32, x.Elements())
		if err := gguf.Type(x.Type).Decode(got, data[start:start+x.Bytes()]); err != nil {
			t.Fatal(err)
		}
		most, worst := 0.0, 0.0
		for i, v := range want {
			most, worst = max(most, math.Abs(float64(v))), max(worst, math.Abs(float64(v-got[i])))
		}
		if bound := share[gguf.Type(x.Type).String()]; worst > bound*most {
			t.Errorf("the embedding as %v is wrong by %g of %g, want %g of it", x.Type, worst, most, bound)
		}
		return
	}
	t.Error("no embedding")
}
