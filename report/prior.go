package report

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/metric"
)

// Prior is the baseline that does not read the text: it foretells every label by how often the training rows have it.
type Prior struct {
	Name     string
	Says     string // how it foretells, in a sentence
	Examples []metric.Loss
	Accuracy *float64 // of always the commonest class; nil where there is none
}

// CountLabels counts the labels of the training rows and measures the held-out ones. Counts are raised by one, so that a label
// that no row has is not impossible. It is nil for tasks without labels.
//
//	n         labels
//	problem   of whole texts, else ""
func CountLabels(train, heldOut data.Set, n int, problem string) *Prior {
	if len(train) == 0 || len(heldOut) == 0 {
		return nil
	}
	const name = "label frequencies"
	switch {
	case problem == data.MultiLabel:
		return &Prior{Name: name, Says: "The label frequencies foretell each label by its share of the training rows.", Examples: setLosses(train, heldOut, n)}
	case problem == data.Regression:
		return &Prior{Name: "mean value", Says: "The mean value is that of the training rows, whatever the text.", Examples: valueLosses(train, heldOut, n)}
	}
	counts := make([]float64, n)
	for i := range train {
		for _, c := range classesOf(&train[i]) {
			counts[c]++
		}
	}
	sum, best := float64(n), 0
	for c, k := range counts {
		if sum += k; k > counts[best] {
			best = c
		}
	}
	p := &Prior{Name: name, Says: fmt.Sprintf("The %s foretell every label by its share of the training rows.", name)}
	right, all := 0.0, 0.0
	for i := range heldOut {
		var l metric.Loss
		for _, c := range classesOf(&heldOut[i]) {
			l.Add(-math.Log((counts[c] + 1) / sum))
			if all++; c == best {
				right++
			}
		}
		p.Examples = append(p.Examples, l)
	}
	share := right / all
	p.Accuracy = &share
	return p
}

// classesOf are the classes of an example: one of the whole, or one of each tagged token.
func classesOf(e *data.Example) (list []int) {
	if e.Labels != nil {
		return []int{int(e.Labels[0])}
	}
	for _, tag := range e.Tags {
		if tag != data.NoTarget {
			list = append(list, int(tag))
		}
	}
	return list
}

// setLosses are the binary cross-entropies of labels by their shares, the mean over the labels of each example.
func setLosses(train, heldOut data.Set, n int) (list []metric.Loss) {
	share := make([]float64, n)
	for k := range share {
		for i := range train {
			share[k] += float64(train[i].Labels[k])
		}
		share[k] = (share[k] + 1) / float64(len(train)+2)
	}
	for i := range heldOut {
		sum := 0.0
		for k, v := range heldOut[i].Labels {
			sum -= float64(v)*math.Log(share[k]) + (1-float64(v))*math.Log(1-share[k])
		}
		list = append(list, metric.Loss{Sum: sum / float64(n), Weight: 1})
	}
	return list
}

// valueLosses are the squared errors of the mean values, the mean over the values of each example.
func valueLosses(train, heldOut data.Set, n int) (list []metric.Loss) {
	means := make([]float64, n)
	for k := range means {
		for i := range train {
			means[k] += float64(train[i].Labels[k]) / float64(len(train))
		}
	}
	for i := range heldOut {
		sum := 0.0
		for k, v := range heldOut[i].Labels {
			sum += (float64(v) - means[k]) * (float64(v) - means[k])
		}
		list = append(list, metric.Loss{Sum: sum / float64(n), Weight: 1})
	}
	return list
}
