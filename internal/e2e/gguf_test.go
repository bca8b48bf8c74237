// Package e2e holds tests that need other programs' libraries to check graft by. It is a module of its own, so that graft does not
// depend on them:
//
//	cd internal/e2e && go test ./...
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	parser "github.com/gpustack/gguf-parser-go"
	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/interchange"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// TestGGUFByAnother reads what graft writes with a parser that knows nothing of graft.
func TestGGUFByAnother(t *testing.T) {
	base, err := model.ParseConfig([]byte(`{"model_type": "llama", "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 23}`))
	if err != nil {
		t.Fatal(err)
	}
	a := &interchange.Adapter{Settings: peft.Object{"base_model_name_or_path": "some/base"}, Modules: []interchange.Module{
		{Name: "model.layers.0.self_attn.q_proj", A: kernel.NewMat(make([]float32, 16), 2, 8), B: kernel.NewMat(make([]float32, 16), 8, 2), Scale: 2},
		{Name: "model.layers.1.mlp.down_proj", A: kernel.NewMat(make([]float32, 12), 2, 6), B: kernel.NewMat(make([]float32, 16), 8, 2), Scale: 2},
	}}
	for dtype, want := range map[string]string{"f32": "F32", "f16": "F16", "bf16": "BF16"} {
		path := filepath.Join(t.TempDir(), "a.gguf")
		if err := interchange.Write(path, "gguf", a, interchange.Options{Base: base, DType: dtype}); err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseGGUFFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if m := f.Metadata(); m.Type != "adapter" || m.Architecture != "llama" || !m.LittleEndian || m.Alignment != 32 {
			t.Errorf("%s: metadata %+v", dtype, m)
		}
		kv, _ := f.Header.MetadataKV.Get("adapter.lora.alpha")
		if kv.ValueFloat32() != 4 {
			t.Errorf("%s: alpha %v, want 4", dtype, kv.Value)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		own, err := gguf.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range f.TensorInfos {
			got := fmt.Sprintln(x.Name, x.Dimensions, x.Type, x.Bytes())
			o := own.Tensors[i]
			if w := fmt.Sprintln(o.Name, []uint64{uint64(o.Shape[1]), uint64(o.Shape[0])}, want, len(o.Data)); got != w {
				t.Errorf("%s: tensor %swant %s", dtype, got, w)
			}
		}
	}
}
