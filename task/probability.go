package task

import (
	"cmp"
	"math"
	"slices"
)

// Softmax turns logits into probabilities that sum to 1.
//
//	logits [n]   any numbers; −∞ has probability 0
func Softmax(logits []float32) []float64 {
	wide := make([]float64, len(logits))
	for i, v := range logits {
		wide[i] = float64(v)
	}
	return softmax(wide)
}

func softmax(x []float64) []float64 {
	p, sum, top := make([]float64, len(x)), 0.0, math.Inf(-1)
	for _, v := range x {
		top = max(top, v)
	}
	for i, v := range x {
		p[i] = math.Exp(v - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// Sigmoid turns each logit into the probability of its own label.
func Sigmoid(logits []float32) []float64 {
	p := make([]float64, len(logits))
	for i, v := range logits {
		p[i] = 1 / (1 + math.Exp(-float64(v)))
	}
	return p
}

// best is the index of the largest value, the first of equal ones.
func best(values []float64) int {
	at := 0
	for i, v := range values {
		if v > values[at] {
			at = i
		}
	}
	return at
}

// Prediction is a label and how probable the model thinks it is.
type Prediction struct {
	Label       int     `json:"id"`
	Name        string  `json:"label"`
	Probability float64 `json:"probability"`
}

// RankClasses lists all classes from the most probable on, equal ones by their numbers.
//
//	logits [n], names [n]
func RankClasses(logits []float32, names []string) []Prediction {
	list := predictions(Softmax(logits), names)
	slices.SortStableFunc(list, func(a, b Prediction) int { return cmp.Compare(b.Probability, a.Probability) })
	return list
}

// ChooseLabels lists the labels that are at least so probable, for problems where a text may have several, by their numbers.
//
//	logits [n], names [n]
func ChooseLabels(logits []float32, names []string, threshold float64) []Prediction {
	return slices.DeleteFunc(predictions(Sigmoid(logits), names), func(p Prediction) bool { return p.Probability < threshold })
}

func predictions(p []float64, names []string) []Prediction {
	list := make([]Prediction, len(p))
	for i := range p {
		list[i] = Prediction{i, names[i], p[i]}
	}
	return list
}
