package serve_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/prefix"
	"github.com/graft-ml/graft/serve"
)

// kinds are adapters of every way in which rows of one pass can differ.
var kinds = []struct {
	name   string
	config func() peft.Config
}{
	{"lora", func() peft.Config { return lowRank(func(c *lora.Config) {}) }},
	{"dora", func() peft.Config { return lowRank(func(c *lora.Config) { c.UseDoRA = true }) }},
	{"bottleneck", func() peft.Config {
		c, err := adapter.ParseHub("seq_bn[reduction_factor=4]")
		if err != nil {
			panic(err) // the string is the test's own
		}
		return c
	}},
	{"prefix", func() peft.Config {
		c := prefix.NewTuning()
		c.NumVirtualTokens = 3
		return c
	}},
	{"prompt", func() peft.Config {
		c := prefix.NewPrompt()
		c.NumVirtualTokens = 2
		return c
	}},
}

func lowRank(set func(c *lora.Config)) peft.Config {
	c := lora.New()
	c.Rank, c.Alpha, c.TargetModules = 4, 7, peft.Names{Pattern: peft.AllLinear}
	set(c)
	return c
}

// kind finds the settings of a kind.
func kind(name string) peft.Config {
	for _, k := range kinds {
		if k.name == name {
			return k.config()
		}
	}
	panic("no kind " + name)
}

// write makes the folder of an adapter, whose numbers depend on the seed.
func write(t testing.TB, m *model.Model, dir string, c peft.Config, seed uint64) string {
	t.Helper()
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	a, err := c.Attach(view, rng)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i] += float32(0.1 * rng.NormFloat64())
		}
	}
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tiny is the small model of a name.
func tiny(t testing.TB, name string) *modeltest.Base {
	t.Helper()
	for _, c := range modeltest.Tiny {
		if c.Name == name {
			return modeltest.Open(t, modeltest.Write(t, c))
		}
	}
	t.Fatalf("no small model is called %q", name)
	return nil
}

// newRegistry is a registry with an adapter of each kind.
func newRegistry(t testing.TB, m *model.Model, budget int64) *serve.Registry {
	t.Helper()
	r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All, Budget: budget})
	for i, k := range kinds {
		dir := write(t, m, filepath.Join(t.TempDir(), k.name), k.config(), uint64(i))
		if _, err := r.Load(context.Background(), k.name, dir); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// newEngine is an engine that ends with the test.
func newEngine(t testing.TB, m *model.Model, r *serve.Registry, o serve.EngineOptions) *serve.Engine {
	t.Helper()
	e := serve.NewEngine(m, r, o)
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if n := e.Stats().CacheBytes; n != 0 {
			t.Errorf("%d bytes of the cache in use after Close", n)
		}
	})
	return e
}

// alone continues a prompt on a model with nothing but one adapter, nil for none.
func alone(t testing.TB, m *model.Model, dir string, prompt []int32, o generate.Options) []int32 {
	t.Helper()
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	if dir != "" {
		if _, _, err := peft.Load(dir, view, methods.All, peft.Allow{}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := generate.Tokens(context.Background(), generate.NewSession(view, kernel.ModeF32), [][]int32{prompt}, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

// near is how far log-probabilities of size 1 to 10 may be apart when float32 sums are taken in another order: those of pages, of other
// numbers of rows.
const near = 2e-5

// same compares answers. They may part where the two most probable tokens are as near as roundings: what follows is then compared no more.
func same(t testing.TB, what string, got, want []serve.Token) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i].ID != want[i].ID {
			if top := want[i].Top; len(top) < 2 || top[0].Logprob-top[1].Logprob > near {
				t.Errorf("%s: token %d is %d, want %d", what, i, got[i].ID, want[i].ID)
			}
			return
		}
		if d := math.Abs(float64(got[i].Logprob - want[i].Logprob)); d > near {
			t.Errorf("%s: log-probability %d is %g, want %g", what, i, got[i].Logprob, want[i].Logprob)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d tokens, want %d", what, len(got), len(want))
	}
}

func ids(tokens []serve.Token) (list []int32) {
	for _, t := range tokens {
		list = append(list, t.ID)
	}
	return list
}

func prompts(n, vocab int) (list [][]int32) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range n {
		p := make([]int32, 1+rng.IntN(9))
		for i := range p {
			p[i] = int32(rng.IntN(vocab))
		}
		list = append(list, p)
	}
	return list
}

// TestGenerateIsGenerate compares an engine's answers, one at a time, with those of package generate.
func TestGenerateIsGenerate(t *testing.T) {
	base := tiny(t, "llama")
	r := newRegistry(t, base.Model, 0)
	for _, o := range []serve.EngineOptions{{}, {MaxBatchTokens: 2, PageRows: 2, Ahead: 1}} {
		e := newEngine(t, base.Model, r, o)
		for i, p := range prompts(12, base.Config.VocabSize) {
			name, dir := "", ""
			var uses []peft.Use
			if i%6 > 0 {
				name = kinds[i%6-1].name
				uses = peft.Fully(name)
				info, err := r.Info(name)
				if err != nil {
					t.Fatal(err)
				}
				dir = info.Dir
			}
			g := generate.Options{MaxNewTokens: 8, EOS: []int32{7}}
			if i%2 == 1 {
				g.Temperature, g.Seed, g.RepetitionPenalty = 0.9, uint64(i), 1.2
			}
			got, err := e.Generate(context.Background(), serve.Generation{Adapters: uses, Prompt: p, Options: g, Logprobs: 2}, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := alone(t, base.Model, dir, p, g)
			if fmt.Sprint(ids(got.Tokens)) != fmt.Sprint(want) {
				t.Errorf("prompt %d through %q: %v, want %v", i, name, ids(got.Tokens), want)
			}
		}
	}
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(7, 8)) }
