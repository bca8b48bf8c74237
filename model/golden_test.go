package model_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/task/tasktest"
)

// goldenCase is case.json of golden/models.
type goldenCase struct {
	Name      string  `json:"name"`
	Task      string  `json:"task"`
	ModelType string  `json:"model_type"`
	Storage   string  `json:"storage"`
	Loss      float64 `json:"loss"`
	Unpadded  float64 `json:"loss_without_padding"` // of answers: the reference's softmax runs over padding, too
	Noise     struct {
		Logits float64 `json:"logits_f32_vs_f64"`
		Loss   float64 `json:"loss_f64"`
	} `json:"noise"`
	Greedy *struct {
		Continuations [][]int32 `json:"continuations"`
	} `json:"greedy"`
	Generate json.RawMessage `json:"generate"` // see told
}

// told is what the reference told of the sources. Every list begins with the start token, and those of beams are filled after their
// last. Beside these are the options, by transformers' names.
type told struct {
	Greedy [][]int32   `json:"greedy"`
	Beam   [][][]int32 `json:"beam"`
	Scores [][]float64 `json:"beam_scores"`
}

// TestGoldenModels compares logits, hidden states, losses and greedy continuations with transformers'.
func TestGoldenModels(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "models")
	suite := golden.NewSuite(t, "models")
	folders, err := os.ReadDir(dir)
	if err != nil {
		t.Skipf("no golden models: %v", err)
	}
	for _, f := range folders {
		path := filepath.Join(dir, f.Name())
		var c goldenCase
		b, err := os.ReadFile(filepath.Join(path, "case.json"))
		if err != nil {
			continue
		}
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
		_, err = os.Stat(filepath.Join(path, "pytorch_model.bin"))
		facts := golden.Facts{"model_type": c.ModelType, "task": c.Task, "storage": map[bool]string{true: "torch", false: "safetensors"}[err == nil]}
		suite.Case(f.Name(), facts, func(t *testing.T) { runGolden(t, path, c) })
	}
}

func runGolden(t *testing.T, path string, c goldenCase) {
	src, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	ref, err := checkpoint.Open(filepath.Join(path, "reference.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer ref.Close()
	b := tasktest.Batch(t, ref, c.Task)
	if c.Unpadded != 0 {
		c.Loss = c.Unpadded
	}
	for _, name := range []string{"config.json", "config_v4.json"} {
		raw, err := src.ReadFile(name)
		if err != nil {
			continue // config_v4.json exists only where it differs
		}
		cfg, err := model.ParseConfig(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m, err := model.LoadConfig(cfg, src)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for slot := range m.Slots() { // also in files of the bare model, whose names lack the prefix
			if _, ok := src.Info(slot.Tensor("weight")); !ok && !slot.Tied {
				t.Errorf("%s: slot %s is tensor %q, which the checkpoint lacks", name, slot.Name, slot.Tensor("weight"))
			}
		}
		for _, k := range m.Constants() {
			if info, _ := src.Info(k.Name); !slices.Equal(info.Shape, k.Shape) || !slices.Equal(floats(t, src, k.Name), k.Value) {
				t.Errorf("%s: constant %q %v is not the tensor %v", name, k.Name, k.Shape, info.Shape)
			}
		}
		asReference(m)
		// A few times the reference's own distance from float64, and rounding of values of this size.
		abs, rel := max(2e-5, 5*c.Noise.Logits), 1e-5
		if c.Task == "base" {
			bare(t, m, b, ref, abs, rel)
			continue
		}
		logits, loss := forward(t, m, b, kernel.ModeF32)
		check.Close(t, name+": logits", logits, tasktest.Logits(t, ref, ""), abs, rel)
		if d := loss - c.Loss; d > 1e-5 || d < -1e-5 {
			t.Errorf("%s: loss %.7f, want %.7f", name, loss, c.Loss)
		}
		for _, mode := range []kernel.Mode{kernel.ModeSplit, kernel.ModeBF16} {
			l, s := forward(t, m, b, mode)
			t.Logf("%s: %s: logits within %.2g, loss %.6f (f32 %.6f)", name, mode, check.MaxDiff(l, logits), s, loss)
		}
		hidden(t, m, b, ref, abs, rel)
		if c.Greedy != nil {
			greedy(t, m, b, c.Greedy.Continuations)
		}
		if c.Generate != nil {
			fromSource(t, m, b, c)
		}
	}
}

// fromSource tells each source of the batch by the best token and by beams, as the reference did.
func fromSource(t *testing.T, m *model.Model, b *data.Batch, c goldenCase) {
	var g told
	if err := json.Unmarshal(c.Generate, &g); err != nil {
		t.Fatal(err)
	}
	o, ignored, err := generate.Options{EOS: m.Config.EOSTokenID}.Configure(c.Generate, 1)
	if err != nil || ignored != nil {
		t.Fatalf("options: %v, not followed: %q", err, ignored)
	}
	beams := o.NumBeams
	o.NumBeams = 1
	start := []int32{*m.Config.DecoderStartTokenID}
	var sources, prompts [][]int32
	for _, s := range b.Source.Segments {
		sources, prompts = append(sources, b.Source.Tokens[s.Start:s.End]), append(prompts, start)
	}
	session := generate.NewSession(m, kernel.ModeF32)
	if err := session.Read(sources); err != nil {
		t.Fatal(err)
	}
	got, err := generate.Tokens(t.Context(), session, prompts, o, nil)
	for i := range got {
		got[i] = append(slices.Clone(start), got[i]...)
	}
	if err != nil || !reflect.DeepEqual(got, g.Greedy) {
		t.Errorf("greedy: %v, %v, want %v", got, err, g.Greedy)
	}
	o.NumBeams = beams
	session = generate.NewSession(m, kernel.ModeF32)
	if err := session.Read(sources); err != nil {
		t.Fatal(err)
	}
	for i := range sources {
		list, err := generate.Beams(t.Context(), session, start, o)
		if err != nil || len(list) != len(g.Beam[i]) {
			t.Fatalf("beams: %d ways, %v, want %d", len(list), err, len(g.Beam[i]))
		}
		for k, h := range list {
			want := g.Beam[i][k][1:]
			if n := len(h.IDs); n > len(want) || !slices.Equal(h.IDs, want[:n]) || n < len(want) && !slices.Contains(o.EOS, h.IDs[n-1]) || math.Abs(h.Score-g.Scores[i][k]) > 1e-4 { // float32 logits
				t.Errorf("source %d, beam %d: %v of score %.6f, want %v of score %.6f", i, k, h.IDs, h.Score, want, g.Scores[i][k])
			}
		}
	}
}

// asReference makes a model do what the reference does where that is wrong.
func asReference(m *model.Model) {
	if m.ModelType() != "falcon" {
		return
	}
	for _, b := range m.Blocks {
		// transformers' eager attention adds Falcon's ALiBi twice, once to the scores and once within the mask. Its other
		// implementations, and the code that the models were trained with, add it once.
		if bias, ok := b.Attention.(*layer.Attention).Bias.(*op.ALiBi); ok {
			twice := *bias
			twice.Scale *= 2
			b.Attention.(*layer.Attention).Bias = &twice
		}
	}
}

// forward returns scores and mean loss of a batch.
func forward(t *testing.T, m *model.Model, b *data.Batch, mode kernel.Mode) ([]float32, float64) {
	t.Helper()
	x, ok := task.For(m)
	if !ok {
		t.Fatal("the model has no head")
	}
	scores, err := x.Predict(m, op.NewPass(b.Segments, b.Positions, mode, op.NewArena()), b)
	if err != nil {
		t.Fatal(err)
	}
	_, sums, err := x.Loss(m, op.NewPass(b.Segments, b.Positions, mode, op.NewArena()), b, task.LossOptions{Scale: 1})
	if err != nil {
		t.Fatal(err)
	}
	if w := x.Weight(b, task.LossOptions{}); w != sums.Weight {
		t.Errorf("the batch weighs %g, its loss %g", w, sums.Weight)
	}
	return scores.Data, sums.Loss / sums.Weight
}

// bare compares what a model without a head gives.
func bare(t *testing.T, m *model.Model, b *data.Batch, ref *checkpoint.Checkpoint, abs, rel float64) {
	p := op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena())
	p.Types = b.Types
	h := m.Hidden(p, b.Tokens)
	check.Close(t, "last_hidden_state", op.Of(h).Values(), floats(t, ref, "last_hidden_state"), abs, rel)
	_, pooled := m.Features(p, h)
	check.Close(t, "pooler_output", op.Of(pooled).Values(), floats(t, ref, "pooler_output"), abs, rel)
}

// hidden compares the states before each block and after the final norm.
func hidden(t *testing.T, m *model.Model, b *data.Batch, ref *checkpoint.Checkpoint, abs, rel float64) {
	compare := func(stack string) func(i int, x []float32) {
		return func(i int, x []float32) {
			name := fmt.Sprintf("%shidden_states.%d", stack, i)
			if slices.Contains(ref.Names(), name) {
				check.Close(t, name, x, floats(t, ref, name), abs, rel)
			} else if stack != "" {
				t.Errorf("the reference has no %s", name)
			}
		}
	}
	m.Trace = compare("")
	defer func() { m.Trace = nil }()
	if m.Encoder != nil {
		m.Trace, m.Encoder.Trace = compare("decoder_"), compare("encoder_")
		defer func() { m.Encoder.Trace = nil }()
	}
	p := op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena())
	p.Types, p.Source = b.Types, b.Source
	m.Hidden(p, b.Tokens)
}

// greedy continues all rows at once by the best token, with a cache.
func greedy(t *testing.T, m *model.Model, b *data.Batch, want [][]int32) {
	var prompts [][]int32
	for _, s := range b.Segments {
		prompts = append(prompts, b.Tokens[s.Start:s.End])
	}
	got, err := generate.Tokens(t.Context(), generate.NewSession(m, kernel.ModeF32), prompts, generate.Options{MaxNewTokens: len(want[0])}, nil)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("greedy: %v, %v, want %v", got, err, want)
	}
}

func floats(t *testing.T, c *checkpoint.Checkpoint, name string) []float32 {
	t.Helper()
	v, err := c.Floats(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
