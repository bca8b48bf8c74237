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

// recomputing compares a pass that keeps its activations with one that computes them again, with dropout on, bit for bit.
func recomputing(t *testing.T, x *bench) {
	_, a := x.trained(t)
	wantLoss := x.loss(t, x.all, 1, true, true, nil)
	want := takeGradients(a)
	x.recompute = true
	for _, x.attended = range []bool{false, true} {
		if got := x.loss(t, x.all, 1, true, true, nil); got != wantLoss {
			t.Errorf("attention kept %v: loss %.9f, want %.9f", x.attended, got, wantLoss)
		}
		for i, g := range takeGradients(a) {
			if !sameBits(g, want[i]) {
				t.Errorf("attention kept %v: gradient %d differs, by up to %g", x.attended, i, check.MaxDiff(g, want[i]))
			}
		}
	}
}

// leaving compares a batch most of whose rows have no target, so that the last layer need not compute them, with one that
// computes all rows and weighs those by nothing.
func leaving(t *testing.T, x *bench) {
	_, a := x.trained(t)
	few, all := *x.all, *x.all
	few.Targets, all.Weights = slices.Clone(few.Targets), slices.Clone(all.Weights)
	for i, target := range few.Targets {
		if i%3 != 1 && target != data.NoTarget {
			few.Targets[i], all.Weights[i] = data.NoTarget, 0
		}
	}
	wantLoss := x.loss(t, &all, 1, false, true, nil)
	want := takeGradients(a)
	if got := x.loss(t, &few, 1, false, true, nil); !(math.Abs(got-wantLoss) <= 1e-6*wantLoss) {
		t.Errorf("loss %.9f, want %.9f", got, wantLoss)
	}
	for i, g := range takeGradients(a) {
		// The same sums; kernels for other numbers of rows may round otherwise.
		abs := 2e-6 + 1e-5*check.MaxDiff(want[i], make([]float32, len(g)))
		check.Close(t, fmt.Sprintf("gradient %d", i), g, want[i], abs, 1e-5)
	}
}

// sharing compares texts with the same beginning laid out with it once and one by one.
func sharing(t *testing.T, x *bench) {
	_, a := x.trained(t)
	if !x.base.Model.Shares() {
		return
	}
	tokens := x.all.Tokens
	at := func(i int) int32 { return tokens[i%len(tokens)] }
	var set data.Set
	for k := range 5 {
		e := data.Example{}
		for i := range 17 + k {
			if e.IDs = append(e.IDs, at(i)); k == 4 {
				e.IDs[i] = at(3*i + 1) // shares nothing
			}
		}
		for i := range 3 + k {
			e.IDs = append(e.IDs, at(7*i+k))
		}
		e.Loss = []data.Span{{Start: int32(17 + k), End: int32(len(e.IDs)), Weight: 1}}
		set = append(set, e)
	}
	whole := set.Batch([]int32{0, 1, 2, 3, 4})
	shared := whole.Share()
	if shared.Spared < 3*16 {
		t.Fatalf("%d rows spared, want at least 48", shared.Spared)
	}
	wantLoss := x.loss(t, whole, 1, false, true, nil)
	want := takeGradients(a)
	if got := x.loss(t, shared, 1, false, true, nil); !(math.Abs(got-wantLoss) <= 1e-6*wantLoss) {
		t.Errorf("loss %.9f, want %.9f", got, wantLoss)
	}
	for i, g := range takeGradients(a) {
		// As in accumulating: other sums of the same terms.
		abs := 2e-6 + 1e-4*check.MaxDiff(want[i], make([]float32, len(g)))
		check.Close(t, fmt.Sprintf("gradient %d", i), g, want[i], abs, 1e-4)
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
