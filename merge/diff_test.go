package merge

import (
	"math"
	"slices"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
)

// TestDiff compares two checkpoints whose differences are known.
func TestDiff(t *testing.T) {
	base := source(t, 1, checkpoint.F32, mixConfig)
	w, _ := base.Floats("model.layers.1.q.weight")
	l := lowRank("x", 13, 11, 2, false)
	tuned := slices.Clone(w)
	l.AddTo(0, 13, tuned)
	one, _ := base.Floats("model.norm.weight")
	moved := slices.Clone(one)
	moved[3] += 2
	other := source(t, 1, checkpoint.F32, mixConfig, checkpoint.FromFloats("model.layers.1.q.weight", []int{13, 11}, tuned),
		checkpoint.FromFloats("model.norm.weight", []int{13}, moved), checkpoint.FromFloats("model.layers.2.norm.weight", []int{12}, make([]float32, 12)),
		checkpoint.FromFloats("lm_head.weight", []int{1}, []float32{1}))
	d, err := Diff(t.Context(), base, other, DiffOptions{Values: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Tensors) != 3 || d.Equal != len(base.Names())-3 || !slices.Equal(d.OnlyB, []string{"lm_head.weight"}) || d.OnlyA != nil {
		t.Fatalf("%+v", d)
	}
	q, apart, norm := d.Tensors[0], d.Tensors[1], d.Tensors[2]
	kernel.Axpy(tuned, -1, w)
	if want := math.Sqrt(squares(tuned)); math.Abs(q.Norm-want) > 1e-6*want || q.Spectrum == nil || q.Spectrum.Energy[1] < 1-1e-6 || q.Spectrum.Energy[0] > 0.99 {
		t.Errorf("%+v, want the norm %g and rank 2", q, want)
	}
	if !apart.Apart || apart.Tensor != "model.layers.2.norm.weight" {
		t.Errorf("%+v, want one of another shape", apart)
	}
	if norm.Share != 1.0/13 || math.Abs(norm.Max-2) > 1e-6 || norm.Spectrum != nil || norm.Cosine >= 1 { // 2 as the sum in float32 has it
		t.Errorf("%+v, want one number moved by 2", norm)
	}
	wide := source(t, 1, checkpoint.BF16, mixConfig)
	d, err = Diff(t.Context(), base, wide, DiffOptions{})
	if err != nil || len(d.Tensors) == 0 || d.Tensors[0].DTypes != [2]string{"F32", "BF16"} || d.Tensors[0].Relative > 1.0/256 || d.Tensors[0].Relative == 0 {
		t.Errorf("%v, %+v: want the rounding to bf16", err, d)
	}
}
