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
		if err := synth.Llama(dir, []byte(smallShape), 1, synth.Options{}); err != nil {
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

// BenchmarkMixed continues texts of 8 tokens by 32, so many at a time, of which each passes through one of so many LoRA: of rank 8 on
// queries and values, PEFT's defaults, or of rank 16 on all linear layers.
func BenchmarkMixed(b *testing.B) {
	m := open(b)
	mixed(b, m, "queries and values", 8, ".*(q|v)_proj")
	mixed(b, m, "all linear", 16, peft.AllLinear)
}

func mixed(b *testing.B, m *model.Model, targets string, rank int, pattern string) {
	r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All})
	for i := range 64 {
		c := lora.New()
		c.Rank, c.Alpha, c.TargetModules = rank, 2*float64(rank), peft.Names{Pattern: pattern}
		dir := write(b, m, filepath.Join(b.TempDir(), "adapter"), c, uint64(i))
		if _, err := r.Load(context.Background(), fmt.Sprint(i), dir); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct{ texts, adapters int }{{16, 0}, {16, 1}, {16, 4}, {16, 16}, {64, 0}, {64, 64}} {
		b.Run(fmt.Sprintf("%s, %d texts, %d adapters", targets, c.texts, c.adapters), func(b *testing.B) {
			e := serve.NewEngine(m, r, serve.EngineOptions{Mode: kernel.DefaultMode(), MaxSequences: c.texts, NoReuse: true})
			defer e.Close(context.Background())
			for b.Loop() {
				var wg sync.WaitGroup
				for i := range c.texts {
					g := serve.Generation{Prompt: []int32{1, 2, 3, 4, 5, 6, 7, int32(i)}, Options: generate.Options{MaxNewTokens: 32}, Logprobs: -1}
					if c.adapters > 0 {
						g.Adapters = peft.Fully(fmt.Sprint(i % c.adapters))
					}
					wg.Go(func() {
						if _, err := e.Generate(context.Background(), g, nil); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			b.ReportMetric(float64(e.Stats().Tokens)/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(float64(e.Stats().Tokens)/float64(e.Stats().Steps), "tokens/step")
		})
	}
}

// BenchmarkContext continues 16 texts of 512 tokens by 32: most of what a step does beside products with weights is attention to pages.
func BenchmarkContext(b *testing.B) {
	m := open(b)
	for _, rows := range []int{16, 32, 64, 128} {
		b.Run(fmt.Sprintf("pages of %d rows", rows), func(b *testing.B) {
			e := serve.NewEngine(m, serve.NewRegistry(m, serve.RegistryOptions{}), serve.EngineOptions{Mode: kernel.DefaultMode(), PageRows: rows})
			defer e.Close(context.Background())
			prompt := make([]int32, 512)
			for b.Loop() {
				var wg sync.WaitGroup
				for i := range 16 {
					g := serve.Generation{Prompt: append(prompt[:511:511], int32(i)), Options: generate.Options{MaxNewTokens: 32}, Logprobs: -1}
					wg.Go(func() {
						if _, err := e.Generate(context.Background(), g, nil); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			b.ReportMetric(float64(e.Stats().Tokens)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
