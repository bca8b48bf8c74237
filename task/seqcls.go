package task

import (
	"errors"
	"fmt"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// seqCls labels whole sequences: with one class, with any of several labels, or with values, as problem_type says.
var seqCls = Task{
	Name:    "seq-cls",
	Type:    "SEQ_CLS",
	Head:    model.SequenceLabels,
	Weight:  labelWeight,
	Predict: predictor(model.SequenceLabels),
	Loss: func(m *model.Model, p *op.Pass, b *data.Batch, o LossOptions) (mat.Tensor, op.LossSums, error) {
		problem, err := problemOf(m.Config, b)
		if err != nil {
			return nil, op.LossSums{}, err
		}
		if err := checkClassWeights(o.ClassWeights, m.Config.Classes()); err != nil {
			return nil, op.LossSums{}, err
		}
		if problem.name == "regression" && o.ClassWeights != nil {
			return nil, op.LossSums{}, errors.New("task: class weights for values, which have no classes")
		}
		h, err := hidden(m, p, b, model.SequenceLabels, m.Top.Read(p))
		if err != nil {
			return nil, op.LossSums{}, err
		}
		own, x := m.Features(p, h) // [segments, ·]
		if problem.loss != nil {
			loss, sums := op.Labels(own, op.Project(own, x, m.Output()), op.LabelsSpec{Loss: problem.loss, Labels: b.Labels, Weights: o.ClassWeights,
				Scale: o.Scale, PerRow: o.PerRow})
			return loss, sums, nil
		}
		targets := classes(b)
		s := op.CrossEntropySpec{Targets: targets, Scale: o.Scale, Smoothing: o.LabelSmoothing, PerRow: o.PerRow}
		s.Weights = rowWeights(&data.Batch{Targets: targets}, o)
		loss, sums := op.CrossEntropy(own, x, m.Output(), s)
		return loss, sums, nil
	},
}

// problem is one value of problem_type.
type problem struct {
	name string
	loss op.LabelLoss // by label; nil = cross-entropy of one class
}

var problems = []problem{
	{"single_label_classification", nil},
	{"multi_label_classification", op.BinaryCrossEntropy},
	{"regression", op.SquaredError},
}

// ProblemType is the config's problem_type, or what transformers makes of its absence: one label is a value, a class for
// each sequence is single_label_classification, a number for each label multi_label_classification.
func ProblemType(c *model.Config, b *data.Batch) string {
	switch {
	case c.ProblemType != "":
		return c.ProblemType
	case c.Classes() == 1:
		return "regression"
	case len(b.Labels) > 0 && len(b.Labels[0]) > 1:
		return "multi_label_classification"
	}
	return "single_label_classification"
}

// problemOf finds the problem and checks the batch's labels.
func problemOf(c *model.Config, b *data.Batch) (problem, error) {
	if len(b.Labels) != len(b.Segments) {
		return problem{}, fmt.Errorf("task: %d labels for %d sequences", len(b.Labels), len(b.Segments))
	}
	name := ProblemType(c, b)
	for _, x := range problems {
		if x.name == name {
			return x, x.check(c.Classes(), b)
		}
	}
	return problem{}, fmt.Errorf("model: config.json: problem_type is %q, want one of %s, %s, %s", name, problems[0].name, problems[1].name, problems[2].name)
}

// check reports labels that the problem cannot have.
func (x problem) check(n int, b *data.Batch) error {
	want := n
	if x.loss == nil {
		want = 1
	}
	for i, l := range b.Labels {
		if len(l) != want {
			return fmt.Errorf("task: sequence %d has %d labels, %s with %d labels wants %d", i, len(l), x.name, n, want)
		}
		if c := l[0]; x.loss == nil && (c < 0 || int(c) >= n || c != float32(int(c))) {
			return fmt.Errorf("task: sequence %d has class %g, want 0 to %d", i, c, n-1)
		}
	}
	return nil
}

// classes are the labels as numbers of classes.
func classes(b *data.Batch) []int32 {
	list := make([]int32, len(b.Labels))
	for i, l := range b.Labels {
		list[i] = int32(l[0])
	}
	return list
}

// labelWeight is the number of sequences, or the sum of their classes' weights.
func labelWeight(b *data.Batch, o LossOptions) float64 {
	if o.ClassWeights == nil || len(b.Labels) == 0 || len(b.Labels[0]) != 1 {
		return float64(len(b.Segments)) // labels' weights are within the mean of a sequence
	}
	return targetWeight(&data.Batch{Targets: classes(b)}, o)
}
