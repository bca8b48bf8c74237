package pefttest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/peft"
)

// gradients differentiates the loss by every parameter, with dropout on: its mask must be the same in every pass of one seed,
// and the same backward as forward.
func gradients(t *testing.T, x *bench) {
	_, a := x.trained(t)
	scale := 1 / float64(x.all.NumTargets())
	x.loss(t, x.all, scale, true, true, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	for name, p := range a.Params() {
		if x.Approximate != nil && x.Approximate(name) {
			continue
		}
		check.Slope(t, name, op.Data(p), slices.Clone(op.GradOf(p)), rng, func() float64 { return x.loss(t, x.all, scale, true, false, nil) })
	}
}

// packing compares the loss of every token in a batch of all sequences with that in its sequence alone.
func packing(t *testing.T, x *bench) {
	x.trained(t)
	together := make([]float64, len(x.all.Tokens))
	x.loss(t, x.all, 1, false, false, together)
	for i, seg := range x.all.Segments {
		alone := make([]float64, seg.End-seg.Start)
		x.loss(t, x.set.Batch([]int32{int32(i)}), 1, false, false, alone)
		for k, want := range alone {
			if got := together[seg.Start+k]; !(math.Abs(got-want) <= 1e-5+1e-5*want) { // float32 logits of size 1 to 10
				t.Errorf("sequence %d, row %d: loss %.7f, want %.7f as in the sequence alone", i, k, got, want)
			}
		}
	}
}

// accumulating compares one batch of eight sequences with four of two and eight of one.
func accumulating(t *testing.T, x *bench) {
	_, a := x.trained(t)
	weight := 0.0
	for k, target := range x.all.Targets {
		if target != data.NoTarget {
			weight += float64(x.all.Weights[k])
		}
	}
	wantLoss := x.loss(t, x.all, 1/weight, false, true, nil)
	want := takeGradients(a)
	for _, size := range []int{2, 1} {
		got := 0.0
		for i := 0; i < len(x.set); i += size {
			var picked []int32
			for k := range size {
				picked = append(picked, int32(i+k))
			}
			got += x.loss(t, x.set.Batch(picked), 1/weight, false, true, nil)
		}
		if !(math.Abs(got-wantLoss) <= 1e-6*wantLoss) {
			t.Errorf("batches of %d: loss %.9f, want %.9f", size, got, wantLoss)
		}
		for i, g := range takeGradients(a) {
			// Sums of 32 float32 terms in another order; terms are as large as the largest gradient, and rounding within the
			// model grows on the way through its norms.
			abs := 2e-6 + 1e-4*check.MaxDiff(want[i], make([]float32, len(g)))
			check.Close(t, fmt.Sprintf("batches of %d: gradient %d", size, i), g, want[i], abs, 1e-4)
		}
	}
}

// takeGradients copies the gradients of all parameters and sets them to zero.
func takeGradients(a peft.Adapter) (list [][]float32) {
	for _, p := range a.Params() {
		list = append(list, slices.Clone(op.GradOf(p)))
		p.ZeroGrad()
	}
	return list
}
