package task

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/nlpodyssey/spago/ag"
)

// tiny is a model with a batch of eight sequences, masked rows and weights.
func tiny(t *testing.T, name string) (*model.Model, *data.Batch) {
	i := slices.IndexFunc(modeltest.Tiny, func(c modeltest.Config) bool { return c.Name == name })
	base := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[i]))
	set := base.Set()
	return base.Model, set.Batch(modeltest.All(set))
}

func pass(b *data.Batch, grad bool) *op.Pass {
	p := op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena())
	p.Grad = grad
	return p
}

// naive is the loss of every row with a target from the model's logits, in float64.
func naive(m *model.Model, b *data.Batch, smoothing float64) (perRow []float64, correct int) {
	p := pass(b, false)
	p.Source = b.Source
	rows := make([]int, len(b.Tokens))
	for i := range rows {
		rows[i] = i
	}
	logits := m.Logits(p, m.Hidden(p, b.Tokens), rows)
	perRow = make([]float64, len(rows))
	for t, target := range b.Targets {
		if target == data.NoTarget {
			continue
		}
		sum, mean, best := 0.0, 0.0, 0
		row := logits.Row(t)
		for i, v := range row {
			sum += math.Exp(float64(v))
			mean += float64(v) / float64(len(row))
			if v > row[best] {
				best = i
			}
		}
		perRow[t] = math.Log(sum) - (1-smoothing)*float64(row[target]) - smoothing*mean
		if best == int(target) {
			correct++
		}
	}
	return perRow, correct
}

// TestLanguageModels compares loss, sums and rows with the formula on a model's logits.
func TestLanguageModels(t *testing.T) {
	for name, task := range map[string]Task{"llama": causalLM, "t5": seq2seqLM, "bart": seq2seqLM} {
		t.Run(name, func(t *testing.T) { languageModel(t, name, task) })
	}
}

func languageModel(t *testing.T, name string, task Task) {
	m, b := tiny(t, name)
	for _, smoothing := range []float64{0, 0.2} {
		want, correct := naive(m, b, smoothing)
		got := make([]float64, len(b.Tokens))
		node, sums, err := task.Loss(m, pass(b, false), b, LossOptions{Scale: 0.3, LabelSmoothing: smoothing, PerRow: got})
		if err != nil {
			t.Fatal(err)
		}
		loss, weight := 0.0, 0.0
		for i, target := range b.Targets {
			if target == data.NoTarget {
				continue
			}
			loss += float64(b.Weights[i]) * want[i]
			weight += float64(b.Weights[i])
			if math.Abs(got[i]-want[i]) > 1e-5 { // float32 logits of size 1 to 10
				t.Errorf("smoothing %g: row %d: loss %g, want %g", smoothing, i, got[i], want[i])
			}
		}
		if math.Abs(sums.Loss-loss) > 1e-5*loss || sums.Weight != weight || sums.Targets != b.NumTargets() || sums.Correct != correct {
			t.Errorf("smoothing %g: sums %+v, want loss %g, weight %g, %d targets, %d correct", smoothing, sums, loss, weight, b.NumTargets(), correct)
		}
		if v := float64(op.Of(node).Values()[0]); math.Abs(v-0.3*loss) > 1e-5*loss {
			t.Errorf("smoothing %g: node %g, want %g", smoothing, v, 0.3*loss)
		}
	}
}

// TestMaskedRowsHaveNoLoss changes the token of the last row of each sequence, which no target follows.
func TestMaskedRowsHaveNoLoss(t *testing.T) {
	m, b := tiny(t, "llama")
	loss := func() float64 {
		_, sums, err := causalLM.Loss(m, pass(b, false), b, LossOptions{Scale: 1})
		if err != nil {
			t.Fatal(err)
		}
		return sums.Loss
	}
	before := loss()
	for _, s := range b.Segments {
		b.Tokens[s.End-1] = (b.Tokens[s.End-1] + 1) % int32(m.Config.VocabSize)
	}
	if after := loss(); after != before {
		t.Errorf("loss %g, want %g: tokens that no target follows count", after, before)
	}
}

// fixture is a tiny model with the head of a task, and a batch with its labels.
func fixture(t *testing.T, x Task, problem string) (*model.Model, *data.Batch) {
	t.Helper()
	switch x.Head {
	case model.NextToken:
		return tiny(t, modeltest.Tiny[0].Name)
	case model.TargetToken:
		return tiny(t, "t5")
	}
	i := slices.IndexFunc(modeltest.Tiny, func(c modeltest.Config) bool { return c.Name == "bert" })
	c := modeltest.Tiny[i]
	c.JSON = strings.Replace(c.JSON, "BertForMaskedLM", "Bert"+x.Head.String(), 1)
	labels := `{"id2label": {"0": "a", "1": "b", "2": "c"}, "problem_type": "` + problem + `", `
	c.JSON = labels + strings.TrimPrefix(c.JSON, "{")
	base := modeltest.Open(t, modeltest.Write(t, c))
	set := base.Set()
	b := set.Batch(modeltest.All(set))
	b.Types = make([]int32, len(b.Tokens))
	for r, s := range b.Segments {
		b.Types[s.End-1] = 1
		b.Spans = append(b.Spans, [2]int32{int32(s.Start + (s.End-s.Start)/3), int32(s.End - 1)})
		l := []float32{float32(r % 3)}
		if problem != "single_label_classification" {
			l = []float32{float32(r % 2), 1, float32(r) / 8}
		}
		b.Labels = append(b.Labels, l)
	}
	if x.Head == model.TokenLabels {
		for i := range b.Targets {
			if b.Targets[i] != data.NoTarget {
				b.Targets[i] %= 3
			}
		}
	}
	return base.Model, b
}

// TestGradients differentiates every task's loss by the head and a norm.
func TestGradients(t *testing.T) {
	for _, task := range Tasks {
		kinds := []string{"single_label_classification"}
		if task.Head == model.SequenceLabels {
			kinds = append(kinds, "multi_label_classification", "regression")
		}
		for _, problem := range kinds {
			t.Run(task.Name+" "+problem, func(t *testing.T) {
				m, b := fixture(t, task, problem)
				m.Unfreeze()
				o := LossOptions{Scale: 0.1, LabelSmoothing: 0.1}
				if task.Head == model.TokenLabels || task.Head == model.SequenceLabels && problem != "regression" {
					o.ClassWeights = []float32{1, 0.5, 2}
				}
				loss := func(grad bool) float64 {
					node, sums, err := task.Loss(m, pass(b, grad), b, o)
					if err != nil {
						t.Fatal(err)
					}
					if w := task.Weight(b, o); math.Abs(w-sums.Weight) > 1e-6 {
						t.Fatalf("the batch weighs %g, its loss %g", w, sums.Weight)
					}
					if grad {
						if err := ag.Backward(node); err != nil {
							t.Fatal(err)
						}
					}
					return 0.1 * sums.Loss
				}
				loss(true)
				rng := rand.New(rand.NewPCG(1, 2))
				n := 0
				for name, p := range m.Params() {
					if !strings.HasPrefix(name, "bert.") && !strings.HasPrefix(name, "model.") || strings.Contains(name, "pooler") || strings.HasSuffix(name, "orm.weight") {
						n++
						check.Slope(t, name, op.Data(p), slices.Clone(op.GradOf(p)), rng, func() float64 { return loss(false) })
					}
				}
				if n < 2 {
					t.Errorf("only %d parameters differentiated", n)
				}
			})
		}
	}
}

// TestPackedPredictions compares the scores of a batch with those of each sequence alone.
func TestPackedPredictions(t *testing.T) {
	for _, task := range Tasks {
		m, b := fixture(t, task, "single_label_classification")
		all, err := task.Predict(m, pass(b, false), b)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for i, s := range b.Segments {
			n := s.End - s.Start
			one := &data.Batch{Tokens: b.Tokens[s.Start:s.End], Positions: b.Positions[s.Start:s.End], Segments: []data.Segment{{End: n}}}
			if b.Types != nil {
				one.Types = b.Types[s.Start:s.End]
			}
			if src := b.Source; src != nil {
				g := src.Segments[i]
				one.Source = &op.Source{Tokens: src.Tokens[g.Start:g.End], Positions: src.Positions[g.Start:g.End], Segments: []data.Segment{{End: g.End - g.Start}}}
			}
			alone, err := task.Predict(m, pass(one, false), one)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int{true: 1, false: n}[task.Head == model.SequenceLabels]; alone.Rows != want {
				t.Errorf("%s: %d rows of scores, want %d", task.Name, alone.Rows, want)
			}
			check.Close(t, fmt.Sprintf("%s: scores of sequence %d", task.Name, i), all.RowRange(at, at+alone.Rows).Data[:len(alone.Data)], alone.Data, 2e-5, 1e-5)
			at += alone.Rows
		}
	}
}

// TestBadLabels checks that labels a model cannot have are errors before anything is computed.
func TestBadLabels(t *testing.T) {
	for _, c := range []struct {
		task   Task
		change func(b *data.Batch)
		want   string
	}{
		{seqCls, func(b *data.Batch) { b.Labels[1][0] = 3 }, "sequence 1 has class 3, want 0 to 2"},
		{seqCls, func(b *data.Batch) { b.Labels[1][0] = 0.5 }, "sequence 1 has class 0.5"},
		{seqCls, func(b *data.Batch) { b.Labels[2] = []float32{1, 0} }, "sequence 2 has 2 labels"},
		{seqCls, func(b *data.Batch) { b.Labels = nil }, "0 labels for 8 sequences"},
		{seqCls, func(b *data.Batch) { b.Types[4] = 2 }, "token type 2 at 4, want 0 to type_vocab_size 2 - 1"},
		{tokenCls, func(b *data.Batch) { b.Targets[3] = 3 }, "label 3 at row 3, want 0 to 2"},
		{questionAnswering, func(b *data.Batch) { b.Spans[1] = [2]int32{0, 0} }, "sequence 1 has an answer of rows 0 to 0, want rows within 7 to 9"},
		{questionAnswering, func(b *data.Batch) { b.Spans = nil }, "0 spans for 8 sequences"},
		{maskedLM, func(b *data.Batch) { b.Targets[3] = 23 }, "token 23 at"},
		{maskedLM, func(b *data.Batch) { b.Source = &op.Source{} }, "bert has no encoder that could read a source"},
		{seq2seqLM, func(b *data.Batch) { b.Targets[3] = 23 }, "token 23 at"},
		{seq2seqLM, func(b *data.Batch) { b.Source = nil }, "t5 reads a source, the batch has none"},
		{seq2seqLM, func(b *data.Batch) { b.Source.Segments = b.Source.Segments[1:] }, "7 sources for 8 sequences"},
		{seq2seqLM, func(b *data.Batch) { b.Source.Tokens[5] = -1 }, "token -1 at 5, want 0 to vocab_size 23 - 1 (is this the model's own tokenizer?), in the source"},
	} {
		m, b := fixture(t, c.task, "single_label_classification")
		c.change(b)
		if _, _, err := c.task.Loss(m, pass(b, true), b, LossOptions{Scale: 1}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.task.Name, err, c.want)
		}
	}
	m, b := tiny(t, "llama")
	if _, _, err := seqCls.Loss(m, pass(b, true), &data.Batch{Segments: b.Segments[:0]}, LossOptions{}); err == nil || !strings.Contains(err.Error(), "has a head ForCausalLM, want ForSequenceClassification") {
		t.Errorf("seq-cls on a decoder: %v, want an error that names the heads", err)
	}
}

// TestForeignTokens checks that ids the model has no row for are refused before anything is computed.
func TestForeignTokens(t *testing.T) {
	m, b := tiny(t, "llama")
	vocab := int32(m.Config.VocabSize)
	for _, change := range []struct {
		says string
		list []int32
		id   int32
	}{{"token", b.Tokens, vocab}, {"token", b.Tokens, -1}, {"target", b.Targets, vocab}, {"target", b.Targets, -1}} {
		keep := change.list[2]
		change.list[2] = change.id
		_, _, err := causalLM.Loss(m, pass(b, true), b, LossOptions{Scale: 1})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("token %d at", change.id)) {
			t.Errorf("%s %d: %v, want an error that names it", change.says, change.id, err)
		}
		change.list[2] = keep
	}
}

func TestLookup(t *testing.T) {
	for _, want := range Tasks {
		if got, err := Lookup(want.Name); err != nil || got.Type != want.Type {
			t.Errorf("Lookup(%q) = %q, %v, want %q", want.Name, got.Type, err, want.Type)
		}
	}
	if _, err := Lookup("poetry"); err == nil || !strings.Contains(err.Error(), `"poetry" is not a task, want one of causal-lm`) {
		t.Errorf("Lookup of no task: %v, want the list of tasks", err)
	}
}
