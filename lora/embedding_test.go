package lora

import (
	"math/rand/v2"
	"testing"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// TestEmbedding compares the gradients of an embedding's branch with central differences; the lengths of DoRA are constant
// in these. A token that comes twice gains both gradients.
func TestEmbedding(t *testing.T) {
	for _, dora := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(13, 17))
		f := &layer.Frozen{W: kernel.FrozenF32(drawn(rng, 7, 3).Data, 7, 3)}
		slot := &layer.Slot{Name: "embed", Kind: layer.Embedding, Lookup: &layer.Table{W: f.W}, Base: f}
		e := &embedding{slot: slot, base: slot.Lookup, rank: 2, scale: 1.3, A: op.NewParam(drawn(rng, 2, 7).Data, 2, 7), B: op.NewParam(drawn(rng, 3, 2).Data, 3, 2)}
		n := []float32{1, 1, 1}
		if dora {
			e.weigh()
			n = e.lengths()
			op.Data(e.M)[1] *= 2
		}
		ids := []int32{6, 2, 2, 0, 5}
		dy := drawn(rng, len(ids), 3)
		p := op.NewPass(nil, make([]int32, len(ids)), kernel.ModeF32, op.NewArena())
		want := func() (sum float64) {
			a, b := op.Of(e.A).View(), op.Of(e.B).View()
			for t, id := range ids {
				for j := range 3 {
					v := float64(f.W.At(int(id), j))
					for k := range 2 {
						v += float64(e.scale) * float64(b.Row(j)[k]) * float64(a.Row(k)[id])
					}
					if dora {
						v *= float64(op.Data(e.M)[j]) / float64(n[j])
					}
					sum += v * float64(dy.Row(t)[j])
				}
			}
			return sum
		}
		y := kernel.NewMat(make([]float32, len(ids)*3), len(ids), 3)
		e.Look(p, y, ids)
		got := 0.0
		for i, v := range y.Data {
			got += float64(v) * float64(dy.Data[i])
		}
		if d := got - want(); d > 1e-4 || d < -1e-4 { // float32 sums of fifteen terms
			t.Errorf("dora %v: Σ y∘dy = %g, want %g", dora, got, want())
		}
		e.LookBackward(p, dy, ids)
		for name, q := range e.Params() {
			differences(t, name, op.Data(q), op.GradOf(q), want)
		}
	}
}
