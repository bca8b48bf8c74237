package interchange_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/interchange"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
)

// TestHubGoldens reads every adapter that the library wrote: a LoRA becomes one of PEFT's that makes the same logits, and back again;
// of the others it says why not.
func TestHubGoldens(t *testing.T) {
	cases, err := os.ReadDir(filepath.Join(golden.Dir(t), "adapters"))
	if err != nil {
		t.Fatal(err)
	}
	converted := 0
	for _, x := range cases {
		dir := filepath.Join(golden.Dir(t), "adapters", x.Name())
		if !x.IsDir() {
			continue
		}
		_, what, _ := strings.Cut(x.Name(), "-")
		t.Run(x.Name(), func(t *testing.T) {
			var about struct {
				Base string `json:"base"`
			}
			raw, err := os.ReadFile(filepath.Join(dir, "case.json"))
			if err = errors.Join(err, json.Unmarshal(raw, &about)); err != nil {
				t.Fatal(err)
			}
			b := modeltest.Open(t, filepath.Join(dir, about.Base))
			o := interchange.Options{Base: b.Config}
			in := filepath.Join(dir, "adapter")
			a, from, err := interchange.Read(in, o)
			if from.Name != "adapters" {
				t.Fatalf("read as %q, want adapters", from.Name)
			}
			if _, head := os.Stat(filepath.Join(in, "head_config.json")); what != "lora" || head == nil { // all heads here are the library's own
				if err == nil || !strings.Contains(err.Error(), "config") && !strings.Contains(err.Error(), "library") {
					t.Errorf("%v, want an error that says what only the library has", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			converted++
			want := adapted(t, b, in)
			for i, format := range []string{"peft", "adapters", "peft"} {
				out := filepath.Join(t.TempDir(), "out")
				if err := interchange.Write(out, format, a, o); err != nil {
					t.Fatal(err)
				}
				check.Close(t, "logits", adapted(t, b, out), want, 1e-5, 1e-5) // sums of tens of terms, with zeros between
				if a, from, err = interchange.Read(out, o); err != nil || from.Name != format {
					t.Fatalf("step %d is read as %q, %v, want %s", i, from.Name, err, format)
				}
			}
		})
	}
	if converted < 2 {
		t.Errorf("%d adapters converted, want those of gpt2 and llama", converted)
	}
}

// hubTrips are adapters of PEFT that the library can say, or the reason why it cannot.
var hubTrips = []struct {
	name, model string
	set         func(c *lora.Config)
	want        string // of the error; "" = none
}{
	{"queries and values", "llama", targets("q_proj", "v_proj"), ""},
	{"a gated MLP", "llama", targets("down_proj", "up_proj"), ""},
	{"an MLP", "bert", targets("query", "intermediate.dense"), ""},
	{"three in one", "gpt2", targets("c_attn"), ""},
	{"three in one and an MLP", "gpt2", targets("c_attn", "c_fc"), ""},
	{"one layer", "llama", func(c *lora.Config) {
		c.TargetModules, c.LayersToTransform = peft.Names{List: []string{"q_proj"}}, []int{1}
	}, ""},
	{"ranks and scales", "llama", func(c *lora.Config) {
		c.UseRSLoRA, c.TargetModules = true, peft.Names{List: []string{"q_proj", "k_proj"}}
		c.RankPattern, c.AlphaPattern = peft.Pattern{peft.NewEntry("q_proj", 3)}, peft.Pattern{peft.NewEntry("k_proj", 7)}
	}, ""},
	{"other projections", "llama", plain, "the library has no LoRA there"},
	{"an embedding", "llama", targets("embed_tokens", "q_proj"), "the library has no LoRA there"},
	{"uneven layers", "llama", targets("0.self_attn.q_proj", "1.self_attn.k_proj"), "the library wants the same everywhere"},
	{"DoRA", "llama", func(c *lora.Config) { c.UseDoRA, c.TargetModules = true, peft.Names{List: []string{"q_proj"}} }, "DoRA of the library"},
	{"a trained norm", "llama", func(c *lora.Config) {
		c.TargetModules, c.Beside.ModulesToSave = peft.Names{List: []string{"q_proj"}}, []string{"norm"}
	}, "neither of a LoRA nor of a head"},
	{"two stacks", "t5", targets("q", "v"), "has two stacks"},
}

func targets(names ...string) func(c *lora.Config) {
	return func(c *lora.Config) { c.TargetModules = peft.Names{List: names} }
}

func TestAsHub(t *testing.T) {
	for _, x := range hubTrips {
		t.Run(x.name, func(t *testing.T) {
			b := tiny(t, x.model)
			if x.want != "" && b.Encoder != nil {
				a := &interchange.Adapter{Modules: []interchange.Module{{Name: "encoder.block.0.layer.0.SelfAttention.q"}}}
				if err := interchange.Write(filepath.Join(t.TempDir(), "out"), "adapters", a, interchange.Options{Base: b.Config}); err == nil || !strings.Contains(err.Error(), x.want) {
					t.Errorf("%v, want %s", err, x.want)
				}
				return
			}
			dir, _ := trained(t, b, x.set)
			want := adapted(t, b, dir)
			o := interchange.Options{Base: b.Config}
			out, back := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "back")
			err := interchange.Write(out, "adapters", read(t, dir, o), o)
			if x.want != "" {
				if _, there := os.Stat(out); err == nil || !strings.Contains(err.Error(), x.want) || there == nil {
					t.Errorf("%v, want %s and no folder", err, x.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			check.Close(t, "logits", adapted(t, b, out), want, 1e-4, 1e-5) // scales multiplied into B; logits of size 10
			again := read(t, out, o)
			if err := interchange.Write(back, "peft", again, o); err != nil {
				t.Fatal(err)
			}
			check.Close(t, "logits", adapted(t, b, back), want, 1e-4, 1e-5)
		})
	}
	b := tiny(t, "llama")
	dir, _ := trained(t, b, targets("q_proj"))
	if err := interchange.Write(filepath.Join(t.TempDir(), "out"), "adapters", read(t, dir, interchange.Options{}), interchange.Options{}); err == nil || !strings.Contains(err.Error(), "config.json is needed") {
		t.Errorf("without a base: %v", err)
	}
}
