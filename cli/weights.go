package cli

import (
	"slices"
	"strings"

	"github.com/graft-ml/graft/data"
)

// weighClasses makes weights of the labels, nil if all count alike.
func (p *plan) weighClasses() ([]float32, error) {
	t := &p.recipe.Train
	if len(t.ClassWeights) == 0 && !t.BalanceClasses {
		return nil, nil
	}
	if !p.task.Head.HasLabels() || p.problem == data.Regression {
		return nil, usagef("train.class_weights and train.balance_classes mean nothing for model.task %q without labels of classes", p.task.Name)
	}
	if t.BalanceClasses {
		return balanced(p.train, len(p.labels), p.problem == data.MultiLabel), nil
	}
	w := slices.Repeat([]float32{1}, len(p.labels))
	for _, e := range t.ClassWeights {
		i := slices.Index(p.labels, e.Key)
		if i < 0 {
			return nil, usagef("train.class_weights: %q is none of the labels %s", e.Key, strings.Join(p.labels, ", "))
		}
		if !(e.Value >= 0) {
			return nil, usagef("train.class_weights: %q weighs %g, want at least 0", e.Key, e.Value)
		}
		w[i] = float32(e.Value)
	}
	return w, nil
}

// balanced weighs each of n labels by rows / (n · rows with it); a label without rows weighs 1.
func balanced(set data.Set, n int, several bool) []float32 {
	counts, all := make([]int, n), 0
	for i := range set {
		for _, c := range classesOf(&set[i], several) {
			counts[c]++
			all++
		}
	}
	w := make([]float32, n)
	for c, k := range counts {
		w[c] = 1
		if k > 0 {
			w[c] = float32(float64(all) / (float64(n) * float64(k)))
		}
	}
	return w
}

// classesOf are the classes of an example: of the whole, one or several, or of its tokens.
func classesOf(e *data.Example, several bool) (list []int) {
	for k, v := range e.Labels {
		switch {
		case !several:
			list = append(list, int(v))
		case v > 0.5:
			list = append(list, k)
		}
	}
	for _, tag := range e.Tags {
		if tag != data.NoTarget {
			list = append(list, int(tag))
		}
	}
	return list
}
