package train_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
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

// BenchmarkPadding trains LoRA on the same real examples as they are and filled up to the longest of their batch, which is what
// a batch as a rectangle costs: updates of sixteen examples. The unit is tokens of the texts, not of the filling.
func BenchmarkPadding(b *testing.B) {
	for _, c := range []struct {
		name, path, task string
		labels, examples int
		s                data.Settings
	}{
		{"snips", "datasets/snips/train/seq.in", "seq-cls", 7, 320, data.Settings{SequenceLen: 64}},
		{"xquad", "datasets/xquad/xquad.en.json", "question-answering", 2, 64, data.Settings{SequenceLen: 256, Overlong: "truncate"}},
	} {
		newPadding(b, c.path, c.task, c.labels, c.examples, c.s).compare(b, c.name)
	}
	newTelling(b).compare(b, "alpaca by t5")
}

// compare runs the examples packed and padded.
func (x *padding) compare(b *testing.B, name string) {
	for _, form := range []struct {
		name string
		set  data.Set
	}{{"packed", x.set}, {"padded", padded(x.set, 16)}} {
		b.Run(name+"/"+form.name, func(b *testing.B) {
			for range b.N {
				x.run(b, form.set)
			}
			b.ReportMetric(float64(x.set.Stats().Tokens)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(float64(form.set.Stats().Tokens)/float64(x.set.Stats().Tokens), "rows/token")
		})
	}
}

// t5Shape is T5-small with half its layers, so that a benchmark of two cores takes seconds.
const t5Shape = `{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 3, "num_heads": 8,
	"vocab_size": 32128, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}`

// newTelling is a random encoder-decoder with a LoRA and instructions with their answers.
func newTelling(b *testing.B) *padding {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	assets := golden.Assets(b)
	x := &padding{arena: op.NewArena()}
	var err error
	x.task, err = task.Lookup("seq2seq-lm")
	must(err)
	config, err := model.ParseConfig([]byte(t5Shape))
	must(err)
	rng := rand.New(rand.NewPCG(1, 2))
	x.model, err = model.New(config, rng)
	must(err)
	cfg := lora.New()
	cfg.Rank, cfg.Alpha, cfg.TargetModules = 8, 16, peft.Names{List: []string{"q", "v"}}
	a, err := cfg.Attach(x.model, rng)
	must(err)
	x.params = train.NewParams(a.Params())
	tok, err := tokenizer.Open(os.DirFS(filepath.Join(assets, "tokenizers/t5-small")))
	must(err)
	s := data.Settings{Task: "seq2seq-lm", Shape: "seq2seq", Columns: map[string]string{"source": "instruction", "target": "output"}, SequenceLen: 256,
		DecoderStart: config.DecoderStartTokenID}
	x.set, _, err = data.Build(context.Background(), source.Files{FS: os.DirFS(assets), Path: "datasets/llama-factory-demo/alpaca_en_demo.json"}.Rows(), tok, nil, s)
	must(err)
	x.set = x.set[:32]
	return x
}

// padding is an encoder with a LoRA and examples for it.
type padding struct {
	model  *model.Model
	task   task.Task
	params []train.Param
	set    data.Set
	arena  *op.Arena
}

func newPadding(b *testing.B, path, name string, labels, examples int, s data.Settings) *padding {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	assets := golden.Assets(b)
	x := &padding{arena: op.NewArena()}
	var err error
	x.task, err = task.Lookup(name)
	must(err)
	folder := filepath.Join(assets, "models/all-minilm-l6-v2")
	src, err := checkpoint.Open(folder)
	must(err)
	b.Cleanup(func() { src.Close() })
	rng := rand.New(rand.NewPCG(1, 2))
	x.model, err = model.LoadFor(src, model.Want{Kind: x.task.Head, Labels: make([]string, labels), RNG: rng})
	must(err)
	cfg := lora.New()
	cfg.Rank, cfg.Alpha, cfg.TargetModules = 8, 16, peft.Names{List: []string{"query", "key", "value", "dense"}}
	a, err := cfg.Attach(x.model, rng)
	must(err)
	x.params = train.NewParams(a.Params())
	tok, err := tokenizer.Open(os.DirFS(folder))
	must(err)
	s.Task = name
	x.set, _, err = data.Build(context.Background(), source.Files{FS: os.DirFS(assets), Path: path}.Rows(), tok, nil, s)
	must(err)
	x.set = x.set[:examples]
	return x
}

func (x *padding) run(b *testing.B, set data.Set) {
	b.Helper()
	stream, err := data.NewStream(set, data.Schedule{BatchSize: 16, Order: "sequential"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := train.Run(context.Background(), train.Job{Config: train.Config{Steps: stream.Steps(1), LearningRate: 1e-5},
		Params: x.params, Objective: train.For(x.model, x.task), Source: stream, Mode: kernel.ModeF32, Arena: x.arena}); err != nil {
		b.Fatal(err)
	}
}

// padded fills each of n neighbours up to the longest of them.
func padded(set data.Set, n int) data.Set {
	out := slices.Clone(set)
	for batch := range slices.Chunk(out, n) {
		longest, source := 0, 0
		for i := range batch {
			longest, source = max(longest, len(batch[i].IDs)), max(source, len(batch[i].Source))
		}
		for i := range batch {
			e := &batch[i]
			if e.Source != nil {
				e.Source = append(slices.Clone(e.Source), make([]int32, source-len(e.Source))...)
			}
			fill := make([]int32, longest-len(e.IDs))
			e.IDs = append(slices.Clone(e.IDs), fill...)
			if e.Types != nil {
				e.Types = append(slices.Clone(e.Types), fill...)
			}
		}
	}
	return out
}
