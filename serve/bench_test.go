package serve_test

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/synth"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/serve"
)

var benchCompute = flag.String("compute", "", "model.compute of benchmarks: f32, bf16 or split")

var benchModel = flag.String("model", "", "a folder, instead of a small model of random weights, for benchmarks; graft bench make writes large ones")

// smallShape is a model whose weights are beyond the caches of most machines: 30 million numbers in its layers.
const smallShape = `{"model_type": "llama", "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 12,
	"num_key_value_heads": 4, "vocab_size": 8000, "max_position_embeddings": 2048, "initializer_range": 0.02, "architectures": ["LlamaForCausalLM"]}`

// open loads the model of the benchmarks.
func open(b *testing.B) *model.Model {
	b.Helper()
	dir := *benchModel
	if dir == "" {
		dir = b.TempDir()
		if err := synth.Write(dir, []byte(smallShape), 1, synth.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	src, err := checkpoint.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { src.Close() })
	m, err := model.Load(src)
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// BenchmarkMixed continues texts of 64 tokens by 32, so many at a time, of which each passes through one of so many LoRA: of rank 8 on
// queries and values, PEFT's defaults, or of rank 16 on all linear layers.
func BenchmarkMixed(b *testing.B) {
	m := open(b)
	b.Run("queries and values", func(b *testing.B) { mixed(b, m, 8, ".*(q|v)_proj") })
	b.Run("all linear", func(b *testing.B) { mixed(b, m, 16, peft.AllLinear) })
}

func mixed(b *testing.B, m *model.Model, rank int, pattern string) {
	r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All})
	prompt := make([]int32, 63)
	for i := range prompt {
		prompt[i] = int32(i + 1)
	}
	for i := range 64 {
		publish(b, r, fmt.Sprint(i), write(b, m, filepath.Join(b.TempDir(), "adapter"), loraOf(rank, pattern), uint64(i)))
	}
	for _, c := range []struct {
		texts, adapters int
		way             string
	}{{16, 0, ""}, {16, 1, ""}, {16, 4, ""}, {16, 16, ""}, {64, 0, ""}, {64, 64, ""}, {16, 4, swapped}, {16, 16, swapped}, {16, 4, merged}, {16, 16, merged}} {
		b.Run(fmt.Sprintf("%d texts, %d adapters%s", c.texts, c.adapters, c.way), func(b *testing.B) {
			e := serve.NewEngine(m, r, serve.EngineOptions{Mode: compute(b), MaxSequences: c.texts, NoReuse: true})
			defer e.Close(context.Background())
			rounds := 1
			if c.way != "" {
				rounds = c.adapters
			}
			for b.Loop() {
				for k := range rounds {
					crowd(b, e, c.texts/rounds, func(i int) serve.Generation {
						g := serve.Generation{Prompt: append(prompt[:63:63], int32(i)), Options: generate.Options{MaxNewTokens: 32}}
						if c.adapters > 0 && c.way != merged {
							g.Adapters = peft.Fully(fmt.Sprint((i + k) % c.adapters))
						}
						if c.way == swapped {
							g.Adapters = peft.Fully(fmt.Sprint(k))
						}
						return g
					})
				}
			}
			report(b, e)
		})
	}
}

// What programs do that cannot mix adapters: give way to one adapter after the other, or keep a merged copy of the model for each, of
// which only texts of one adapter come together, too.
const (
	swapped = ", one after the other"
	merged  = ", merged copies in turn"
)

// compute is the mode of the flag.
func compute(b *testing.B) kernel.Mode {
	b.Helper()
	if *benchCompute == "" {
		return kernel.DefaultMode()
	}
	mode, err := kernel.ParseMode(*benchCompute)
	if err != nil {
		b.Fatal(err)
	}
	return mode
}

func loraOf(rank int, pattern string) *lora.Config {
	c := lora.New()
	c.Rank, c.Alpha, c.TargetModules = rank, 2*float64(rank), peft.Names{Pattern: pattern}
	return c
}

func publish(b *testing.B, r *serve.Registry, name, dir string) serve.Info {
	b.Helper()
	info, err := r.Load(context.Background(), name, dir)
	if err != nil {
		b.Fatal(err)
	}
	return info
}

// crowd sends n requests at once and waits for all.
func crowd(b *testing.B, e *serve.Engine, n int, request func(i int) serve.Generation) {
	var wg sync.WaitGroup
	for i := range n {
		g := request(i)
		g.Logprobs = -1
		wg.Go(func() {
			if _, err := e.Generate(context.Background(), g, nil); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}

func report(b *testing.B, e *serve.Engine) {
	s := e.Stats()
	b.ReportMetric(float64(s.Tokens)/b.Elapsed().Seconds(), "tokens/s")
	b.ReportMetric(float64(s.Tokens)/float64(s.Steps), "tokens/step")
}

// BenchmarkContext continues 16 texts of 512 tokens by 32: most of what a step does beside products with weights is attention to pages.
func BenchmarkContext(b *testing.B) {
	m := open(b)
	prompt := make([]int32, 511)
	for _, rows := range []int{16, 32, 64, 128} {
		b.Run(fmt.Sprintf("pages of %d rows", rows), func(b *testing.B) {
			e := serve.NewEngine(m, serve.NewRegistry(m, serve.RegistryOptions{}), serve.EngineOptions{Mode: compute(b), PageRows: rows})
			defer e.Close(context.Background())
			for b.Loop() {
				crowd(b, e, 16, func(i int) serve.Generation {
					return serve.Generation{Prompt: append(prompt[:511:511], int32(i)), Options: generate.Options{MaxNewTokens: 32}}
				})
			}
			report(b, e)
		})
	}
}

// BenchmarkRegistered draws the adapters of 16 texts from so many that are registered, of which 64 have room in memory.
func BenchmarkRegistered(b *testing.B) {
	m := open(b)
	dir := write(b, m, filepath.Join(b.TempDir(), "adapter"), loraOf(8, ".*(q|v)_proj"), 1)
	size := publish(b, serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All}), "a", dir).Bytes
	for _, n := range []int{16, 64, 128, 256, 1000} {
		b.Run(fmt.Sprintf("%d adapters", n), func(b *testing.B) {
			r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All, Budget: 64 * size})
			for i := range n {
				publish(b, r, fmt.Sprint(i), dir)
			}
			e := serve.NewEngine(m, r, serve.EngineOptions{Mode: compute(b), NoReuse: true})
			defer e.Close(context.Background())
			rng := newRand()
			for b.Loop() {
				crowd(b, e, 16, func(i int) serve.Generation {
					return serve.Generation{Adapters: peft.Fully(fmt.Sprint(rng.IntN(n))), Prompt: []int32{1, 2, 3, int32(i)}, Options: generate.Options{MaxNewTokens: 32}}
				})
			}
			report(b, e)
			s := r.Stats()
			b.ReportMetric(float64(s.Hits)/float64(s.Hits+s.Misses), "hits/request")
		})
	}
}

// BenchmarkSwitch is the time to the first token of a prompt of one token: through the model alone, through an adapter in memory, one on
// disk, and one that the registry has never seen.
func BenchmarkSwitch(b *testing.B) {
	m := open(b)
	dirs := []string{write(b, m, filepath.Join(b.TempDir(), "adapter"), loraOf(8, ".*(q|v)_proj"), 1), write(b, m, filepath.Join(b.TempDir(), "adapter"), loraOf(8, ".*(q|v)_proj"), 2)}
	for _, c := range []struct {
		name   string
		before func(r *serve.Registry) // what must be done to bring about the state
		loads  bool
		use    []peft.Use
	}{
		{name: "the model alone"},
		{name: "in memory", use: peft.Fully("a")},
		{name: "on disk", use: peft.Fully("a"), before: func(r *serve.Registry) {
			l, err := r.Acquire(context.Background(), peft.Fully("b")) // which takes its room
			if err != nil {
				b.Fatal(err)
			}
			l.Release()
		}},
		{name: "never seen", use: peft.Fully("a"), loads: true, before: func(r *serve.Registry) {
			if err := r.Unload("a"); err != nil {
				b.Fatal(err)
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			size := publish(b, serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All}), "a", dirs[0]).Bytes
			r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All, Budget: size})
			publish(b, r, "b", dirs[1])
			publish(b, r, "a", dirs[0])
			e := serve.NewEngine(m, r, serve.EngineOptions{Mode: compute(b), NoReuse: true})
			defer e.Close(context.Background())
			for b.Loop() {
				if c.before != nil {
					b.StopTimer()
					c.before(r)
					b.StartTimer()
				}
				if c.loads {
					publish(b, r, "a", dirs[0])
				}
				crowd(b, e, 1, func(int) serve.Generation {
					return serve.Generation{Adapters: c.use, Prompt: []int32{1}, Options: generate.Options{MaxNewTokens: 1}}
				})
			}
		})
	}
}
