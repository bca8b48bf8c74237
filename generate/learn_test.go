package generate_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/train"
	"github.com/nlpodyssey/spago/ag"
)

// TestEncoderDecodersLearn trains all of a model on eight sources whose targets are the sources backwards, and has it tell them.
func TestEncoderDecodersLearn(t *testing.T) {
	for _, tiny := range modeltest.Tiny {
		if tiny.Name != "t5 1.1" && tiny.Name != "bart" {
			continue
		}
		t.Run(tiny.Name, func(t *testing.T) {
			base := modeltest.Open(t, modeltest.Write(t, tiny))
			base.Unfreeze()
			start, end := *base.Config.DecoderStartTokenID, base.Config.EOSTokenID[0]
			var set data.Set
			var sources [][]int32
			rng := rand.New(rand.NewPCG(3, 4))
			for i := range 8 {
				var source []int32
				for range 2 + i%3 {
					source = append(source, int32(3+rng.IntN(base.Config.VocabSize-4)))
				}
				e := data.Example{Source: source, IDs: []int32{start}}
				for _, id := range slices.Backward(source) {
					e.IDs = append(e.IDs, id)
				}
				e.IDs = append(e.IDs, end)
				e.Loss = []data.Span{{Start: 1, End: int32(len(e.IDs)), Weight: 1}}
				set, sources = append(set, e), append(sources, source)
			}
			if loss := descend(t, base, set.Batch(modeltest.All(set)), 150); loss > 0.05 {
				t.Errorf("loss %g after 150 steps, want below 0.05", loss)
			}
			got, err := generate.Sources(t.Context(), base.Model, kernel.ModeF32, sources, start, generate.Options{MaxNewTokens: 8, EOS: []int32{end}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range set {
				if !slices.Equal(got[i], set[i].IDs[1:]) {
					t.Errorf("source %v: told %v, want %v", sources[i], got[i], set[i].IDs[1:])
				}
			}
		})
	}
}

// descend takes so many steps of AdamW on one batch and returns the loss before the last.
func descend(t *testing.T, base *modeltest.Base, b *data.Batch, steps int) (loss float64) {
	t.Helper()
	own, _ := task.For(base.Model)
	o, err := train.NewOptimizer("adamw", []train.Group{{Params: train.NewParams(base.Params()), LearningRate: 1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	arena := op.NewArena()
	for range steps {
		o.ZeroGrad()
		p := op.NewPass(b.Segments, b.Positions, kernel.ModeF32, arena)
		p.Grad = true
		node, sums, err := own.Loss(base.Model, p, b, task.LossOptions{Scale: 1 / own.Weight(b, task.LossOptions{})})
		if err != nil {
			t.Fatal(err)
		}
		if err := ag.Backward(node); err != nil {
			t.Fatal(err)
		}
		o.Step(0.01)
		arena.Reset()
		loss = sums.Loss / sums.Weight
	}
	return loss
}
