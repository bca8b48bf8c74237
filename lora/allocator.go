package lora

import (
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// allocator makes AdaLoRA's branches and spends their ranks.
//
// The budget, a number of ranks over all targets, stays at its first value for tinit steps, falls by a cubic to target_r for
// each target, and stays there for the last tfinal steps. Ranks whose importance is lowest are set to zero; until the end they
// may come back. The importance of an element is the product of the smoothed |w·∂L/∂w| and its smoothed deviation; that
// of a rank is that of e plus the means of A's row and B's column ([zhang2023] equations 8 to 11).
type allocator struct {
	*adalora
	list  []*triplet
	kept  [][]float32 // 1 for ranks that are kept, by target; nil before the first allocation
	means map[*nn.Param]*importance
}

// importance are the smoothed measures of a matrix's elements.
type importance struct{ sensitivity, uncertainty []float32 }

// each yields all matrices with a name.
func (l *allocator) each() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, t := range l.list {
			for _, x := range []struct {
				name string
				p    *nn.Param
			}{{"lora_A", t.a}, {"lora_E", t.e}, {"lora_B", t.b}} {
				if !yield(t.name+"."+x.name, x.p) {
					return
				}
			}
		}
	}
}

// Begin implements peft.Scheduled.
func (l *allocator) Begin(steps int) error {
	if l.total == 0 {
		l.total = total(steps)
	}
	if l.warm >= int(l.total)-l.final {
		return fmt.Errorf("adalora: tinit is %d, tfinal is %d and there are %d steps, want tinit + tfinal smaller", l.warm, l.final, l.total)
	}
	l.means = map[*nn.Param]*importance{}
	for _, p := range l.each() {
		n := len(op.Data(p))
		l.means[p] = &importance{make([]float32, n), make([]float32, n)}
	}
	l.kept = make([][]float32, len(l.list))
	for i, t := range l.list {
		l.kept[i] = slices.Repeat([]float32{1}, len(op.Data(t.e)))
	}
	return nil
}

// State implements peft.Scheduled.
func (l *allocator) State() iter.Seq2[string, []float32] {
	return func(yield func(string, []float32) bool) {
		for name, p := range l.each() {
			if m := l.means[p]; m != nil && (!yield(name+".sensitivity", m.sensitivity) || !yield(name+".uncertainty", m.uncertainty)) {
				return
			}
		}
		for i, t := range l.list {
			if l.kept != nil && !yield(t.name+".kept", l.kept[i]) {
				return
			}
		}
	}
}

// AfterStep implements peft.Scheduled: PEFT's update_and_allocate.
func (l *allocator) AfterStep(step int) {
	end := int(l.total) - l.final
	if step < end {
		l.measure()
	}
	switch budget, due := l.budget(step); {
	case step < end && due, step == end:
		l.allocate(budget)
	case step > end:
		l.mask()
	}
}

// budget is the number of ranks after a step, and whether they are allocated anew.
func (l *allocator) budget(step int) (n int, due bool) {
	first, last := 0, l.target*len(l.list)
	for _, t := range l.list {
		first += len(op.Data(t.e))
	}
	end := int(l.total) - l.final
	switch {
	case step <= l.warm:
		return first, step == end
	case step > end:
		return last, true
	}
	left := 1 - float64(step-l.warm)/float64(end-l.warm)
	return int(float64(first-last)*math.Pow(left, 3) + float64(last)), step%l.every == 0
}

// measure smooths |w·∂L/∂w| and its deviation.
func (l *allocator) measure() {
	b1, b2 := float32(l.beta1), float32(l.beta2)
	for _, p := range l.each() {
		m, w, g := l.means[p], op.Data(p), op.GradOf(p)
		for i := range w {
			now := abs(w[i] * g[i])
			m.sensitivity[i] = b1*m.sensitivity[i] + (1-b1)*now
			m.uncertainty[i] = b2*m.uncertainty[i] + (1-b2)*abs(now-m.sensitivity[i])
		}
	}
}

func abs(x float32) float32 { return float32(math.Abs(float64(x))) }

// allocate keeps the most important ranks.
func (l *allocator) allocate(budget int) {
	scores := make([][]float32, len(l.list))
	var all []float32
	for i, t := range l.list {
		scores[i] = l.scores(t)
		all = append(all, scores[i]...)
	}
	drop := len(all) - budget
	if drop < 1 {
		return
	}
	slices.Sort(all)
	threshold := all[drop-1]
	for i := range l.list {
		for k, s := range scores[i] {
			if l.kept[i][k] = 1; s <= threshold {
				l.kept[i][k] = 0
			}
		}
	}
	l.mask()
}

// scores are the importances of a target's ranks.
func (l *allocator) scores(t *triplet) []float32 {
	a, e, b := l.means[t.a], l.means[t.e], l.means[t.b]
	r := len(e.sensitivity)
	in, out := len(a.sensitivity)/r, len(b.sensitivity)/r
	s := make([]float32, r)
	for k := range r {
		var row, col float32
		for j := range in {
			row += a.sensitivity[k*in+j] * a.uncertainty[k*in+j]
		}
		for i := range out {
			col += b.sensitivity[i*r+k] * b.uncertainty[i*r+k]
		}
		s[k] = e.sensitivity[k]*e.uncertainty[k] + (row/float32(in) + col/float32(out))
	}
	return s
}

// mask sets the singular values that are not kept to zero.
func (l *allocator) mask() {
	for i, t := range l.list {
		for k, v := range op.Data(t.e) {
			op.Data(t.e)[k] = v * l.kept[i][k]
		}
	}
}
