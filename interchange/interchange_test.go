package interchange_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/interchange"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// tiny is a small model of an architecture.
func tiny(t testing.TB, name string) *modeltest.Base {
	t.Helper()
	for _, c := range modeltest.Tiny {
		if c.Name == name {
			return modeltest.Open(t, modeltest.Write(t, c))
		}
	}
	t.Fatalf("no tiny model is called %q", name)
	return nil
}

// trained saves an adapter whose parameters all are something, and returns its folder and the logits that it makes.
func trained(t testing.TB, b *modeltest.Base, set func(c *lora.Config)) (dir string, logits []float32) {
	t.Helper()
	c := lora.New()
	c.Rank, c.Alpha, c.TargetModules, c.Dropout, c.BaseModel = 2, 5, peft.Names{Pattern: peft.AllLinear}, 0.25, "some/base"
	set(c)
	a, err := c.Attach(b.Model, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	rng := rand.New(rand.NewPCG(3, 4))
	for _, p := range a.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i] += float32(0.3 * rng.NormFloat64())
		}
	}
	if err := peft.Identify(t.Context(), c, b.Model); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "adapter")
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	return dir, logitsOf(t, b)
}

func logitsOf(t testing.TB, b *modeltest.Base) []float32 {
	t.Helper()
	set := modeltest.Set(b.Config.VocabSize)
	return b.Logits(t, set.Batch(modeltest.All(set)))
}

// adapted are the logits with the adapter of a folder.
func adapted(t testing.TB, b *modeltest.Base, dir string) []float32 {
	t.Helper()
	_, a, err := methods.Load(dir, b.Model, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	return logitsOf(t, b)
}

func read(t testing.TB, path string, o interchange.Options) *interchange.Adapter {
	t.Helper()
	a, _, err := interchange.Read(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func plain(c *lora.Config) {}

// trips are adapters and the formats that can hold them.
var trips = []struct {
	name, model string
	set         func(c *lora.Config)
	formats     string
}{
	{"llama", "llama", plain, "peft gguf mlx loralib"},
	{"llama with biases", "llama, tied, with biases", plain, "peft gguf mlx loralib"},
	{"mistral", "mistral, window of 3", plain, "peft gguf mlx loralib"},
	{"qwen2", "qwen2, window in the upper layer", plain, "peft gguf mlx loralib"},
	{"qwen3", "qwen3", plain, "peft gguf mlx"},
	{"gemma", "gemma", plain, "peft gguf mlx"},
	{"gemma2", "gemma2", plain, "peft gguf mlx"},
	{"gemma3", "gemma3", plain, "peft gguf mlx"},
	{"phi3", "phi3", plain, "peft gguf mlx"},
	{"gpt2", "gpt2", plain, "peft gguf mlx loralib"},
	{"bert", "bert", plain, "peft loralib"},
	{"rsLoRA and patterns", "llama", func(c *lora.Config) {
		c.UseRSLoRA = true
		c.RankPattern, c.AlphaPattern = peft.Pattern{peft.NewEntry("q_proj", 3)}, peft.Pattern{peft.NewEntry("down_proj", 7)}
	}, "peft gguf mlx"},
	{"one layer, two kinds", "llama", func(c *lora.Config) {
		c.TargetModules, c.LayersToTransform = peft.Names{List: []string{"q_proj", "v_proj"}}, []int{1}
	}, "peft gguf mlx loralib"},
	{"an embedding and a head", "llama", func(c *lora.Config) {
		c.TargetModules = peft.Names{List: []string{"embed_tokens", "lm_head", "k_proj"}}
	}, "peft gguf mlx"},
	{"uneven layers", "llama", func(c *lora.Config) {
		c.TargetModules = peft.Names{List: []string{"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.k_proj", "1.self_attn.q_proj"}}
	}, "peft gguf mlx loralib"},
	{"DoRA", "llama", func(c *lora.Config) { c.UseDoRA = true }, "peft mlx"},
	{"the head of tied ends", "llama, tied, with biases", func(c *lora.Config) { c.TargetModules = peft.Names{List: []string{"lm_head", "q_proj"}} }, "peft"},
	{"DoRA of an embedding", "llama", func(c *lora.Config) {
		c.UseDoRA, c.TargetModules = true, peft.Names{List: []string{"embed_tokens", "q_proj"}}
	}, "peft"},
	{"a trained head", "llama", func(c *lora.Config) { c.Beside.ModulesToSave = []string{"lm_head", "norm"} }, "peft"},
}

// TestThereAndBack writes adapters in each format, reads them, writes them as PEFT's, and attaches these: they are what they were.
func TestThereAndBack(t *testing.T) {
	for _, x := range trips {
		b := tiny(t, x.model)
		dir, _ := trained(t, b, x.set)
		want := adapted(t, b, dir)
		o := interchange.Options{Base: b.Config, Alpha: 5}
		for _, format := range strings.Fields(x.formats) {
			t.Run(x.name+" as "+format, func(t *testing.T) {
				a := read(t, dir, o)
				out, back := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "back")
				if err := interchange.Write(out, format, a, o); err != nil {
					t.Fatal(err)
				}
				again, from, err := interchange.Read(out, o)
				if err != nil || from.Name != format {
					t.Fatalf("read as %q, %v, want %s", from.Name, err, format)
				}
				if got, was := branches(again), branches(a); got < was || got > was && format != "mlx" { // which fills ranks up with zeros
					t.Errorf("%d numbers, want %d", got, was)
				}
				if err := interchange.Write(back, "peft", again, o); err != nil {
					t.Fatal(err)
				}
				check.Close(t, "logits", adapted(t, b, back), want, 1e-4, 1e-5) // scales multiplied into B; logits of size 10
				if format != "loralib" && again.BaseHash != a.BaseHash {
					t.Errorf("base %q, want %q", again.BaseHash, a.BaseHash)
				}
			})
		}
	}
}

// branches counts the numbers of an adapter's branches.
func branches(a *interchange.Adapter) int64 {
	only := interchange.Adapter{Modules: a.Modules}
	return only.NumParams()
}

// TestOthersRefuse lists, for every adapter above, that the formats which cannot hold it say so, and leave nothing behind.
func TestOthersRefuse(t *testing.T) {
	for _, x := range trips {
		b := tiny(t, x.model)
		dir, _ := trained(t, b, x.set)
		o := interchange.Options{Base: b.Config, Alpha: 5}
		for _, format := range []string{"gguf", "mlx"} {
			if slices.Contains(strings.Fields(x.formats), format) {
				continue
			}
			out := filepath.Join(t.TempDir(), "out")
			err := interchange.Write(out, format, read(t, dir, o), o)
			if _, there := os.Stat(out); err == nil || there == nil {
				t.Errorf("%s as %s: %v, want an error and no file", x.name, format, err)
			}
		}
	}
}

// TestUnchanged converts PEFT's to PEFT's: the same tensors, byte for byte, and the same value of every key.
func TestUnchanged(t *testing.T) {
	b := tiny(t, "llama")
	dir, _ := trained(t, b, plain)
	out := filepath.Join(t.TempDir(), "out")
	if err := interchange.Write(out, "peft", read(t, dir, interchange.Options{}), interchange.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{peft.ConfigFile, peft.TensorsFile} {
		was, err1 := os.ReadFile(filepath.Join(dir, name))
		is, err2 := os.ReadFile(filepath.Join(out, name))
		if err1 != nil || err2 != nil || string(was) != string(is) {
			t.Errorf("%s differs: %v, %v", name, err1, err2)
		}
	}
}

// TestMLXFile holds names, shapes and settings to what mlx-lm reads.
func TestMLXFile(t *testing.T) {
	b := tiny(t, "llama")
	dir, _ := trained(t, b, func(c *lora.Config) { c.TargetModules = peft.Names{List: []string{"q_proj", "lm_head"}} })
	a := read(t, dir, interchange.Options{})
	out := filepath.Join(t.TempDir(), "out")
	if err := interchange.Write(out, "mlx", a, interchange.Options{}); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(out, "adapter_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{
    "fine_tune_type": "lora",
    "model": "some/base",
    "num_layers": -1,
    "lora_parameters": {
        "rank": 2,
        "scale": 2.5,
        "dropout": 0.25,
        "keys": [
            "lm_head",
            "self_attn.q_proj"
        ]
    }
}`
	if string(config) != want {
		t.Errorf("config\n%s\nwant\n%s", config, want)
	}
	c, err := checkpoint.OpenFile(filepath.Join(out, "adapters.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := ""
	for _, n := range c.Names() {
		info, _ := c.Info(n)
		got += fmt.Sprintln(n, info.Shape)
	}
	if want := `lm_head.lora_a [10 2]
lm_head.lora_b [2 23]
model.layers.0.self_attn.q_proj.lora_a [10 2]
model.layers.0.self_attn.q_proj.lora_b [2 24]
model.layers.1.self_attn.q_proj.lora_a [10 2]
model.layers.1.self_attn.q_proj.lora_b [2 24]
`; got != want {
		t.Errorf("tensors\n%s, want\n%s", got, want)
	}
	v, err := c.Floats("lm_head.lora_a")
	if err != nil || v[1] != a.Modules[0].A.Row(1)[0] || v[2] != a.Modules[0].A.Row(0)[1] {
		t.Errorf("lora_a is not A transposed: %v, %v", v, err)
	}
}
