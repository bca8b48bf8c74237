package train_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/data/source"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/tokenizer"
	"github.com/graft-ml/graft/train"
)

// llamaShape has the proportions of a small LLaMA, so that a benchmark of two cores takes seconds.
const llamaShape = `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6,
	"num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 1024}`

// BenchmarkSpared trains LoRA on instructions with their answers, and then the same without one of the things that spare work. The
// unit is tokens of the texts.
func BenchmarkSpared(b *testing.B) {
	for _, c := range []struct {
		name      string
		prompts   bool // every row is a target
		alone     bool // beginnings are computed for each text
		recompute bool
		layers    []int // that have a LoRA; nil = all
	}{
		{name: "as it is"},
		{name: "beginnings not shared", alone: true},
		{name: "every row a target, and so read and projected", prompts: true, alone: true},
		{name: "layers computed again", recompute: true},
		{name: "LoRA in the last two layers alone", layers: []int{4, 5}},
	} {
		b.Run(c.name, func(b *testing.B) {
			must := func(err error) {
				if err != nil {
					b.Fatal(err)
				}
			}
			assets := golden.Assets(b)
			config, err := model.ParseConfig([]byte(llamaShape))
			must(err)
			rng := rand.New(rand.NewPCG(1, 2))
			m, err := model.New(config, rng)
			must(err)
			cfg := lora.New()
			cfg.Rank, cfg.Alpha, cfg.TargetModules, cfg.LayersToTransform = 8, 16, peft.Names{List: []string{"q_proj", "v_proj"}}, c.layers
			a, err := cfg.Attach(m, rng)
			must(err)
			tok, err := tokenizer.Open(os.DirFS(filepath.Join(assets, "tokenizers/llama-2-legacy")))
			must(err)
			set, _, err := data.Build(context.Background(), source.Files{FS: os.DirFS(assets), Path: "datasets/llama-factory-demo/alpaca_en_demo.json"}.Rows(), tok, nil,
				data.Settings{Shape: "instruction", SequenceLen: 512, TrainOnPrompt: c.prompts})
			must(err)
			set = set[:64]
			what, err := task.Lookup("causal-lm")
			must(err)
			arena := op.NewArena()
			for b.Loop() {
				stream, err := data.NewStream(set, data.Schedule{BatchSize: 8, Order: "sequential", Share: !c.alone})
				must(err)
				_, err = train.Run(context.Background(), train.Job{Config: train.Config{Steps: stream.Steps(1), LearningRate: 1e-5},
					Params: train.NewParams(a.Params()), Objective: train.For(m, what), Source: stream, Mode: kernel.ModeF32, Arena: arena, Recompute: c.recompute})
				must(err)
			}
			st := set.Stats()
			b.ReportMetric(float64(st.Tokens)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(float64(st.Targets)/float64(st.Tokens), "targets/token")
			b.ReportMetric(float64(arena.PeakBytes())/1e6, "MB")
		})
	}
}
