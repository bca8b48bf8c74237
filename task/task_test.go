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
func tiny(t *testing.T) (*model.Model, *data.Batch) {
	base := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[0]))
	set := modeltest.Set(base.Config.VocabSize)
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

// TestCausalLM compares loss, sums and rows with the formula on a model's logits.
func TestCausalLM(t *testing.T) {
	m, b := tiny(t)
	for _, smoothing := range []float64{0, 0.2} {
		want, correct := naive(m, b, smoothing)
		got := make([]float64, len(b.Tokens))
		node, sums, err := causalLM.Loss(m, pass(b, false), b, LossOptions{Scale: 0.3, LabelSmoothing: smoothing, PerRow: got})
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
	m, b := tiny(t)
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

// TestGradients differentiates every task's loss by the head and the final norm.
func TestGradients(t *testing.T) {
	for _, task := range Tasks {
		m, b := tiny(t)
		m.Unfreeze()
		loss := func(grad bool) float64 {
			node, sums, err := task.Loss(m, pass(b, grad), b, LossOptions{Scale: 0.1, LabelSmoothing: 0.1})
			if err != nil {
				t.Fatal(err)
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
		for name, p := range m.Params() {
			if name == "lm_head.weight" || name == "model.norm.weight" {
				check.Slope(t, task.Name+": "+name, op.Data(p), slices.Clone(op.GradOf(p)), rng, func() float64 { return loss(false) })
			}
		}
	}
}

// TestForeignTokens checks that ids the model has no row for are refused before anything is computed.
func TestForeignTokens(t *testing.T) {
	m, b := tiny(t)
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
