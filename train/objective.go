package train

import (
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/task"
	"github.com/nlpodyssey/spago/mat"
)

// For is the objective of a task on a model.
func For(m *model.Model, t task.Task) Objective { return ForClasses(m, t, nil) }

// ForClasses is the objective of a classification whose classes weigh differently in training; nil = all the same. Evaluations
// weigh them alike.
func ForClasses(m *model.Model, t task.Task, classWeights []float32) Objective {
	return objective{m, t, classWeights}
}

type objective struct {
	model        *model.Model
	task         task.Task
	classWeights []float32
}

// Weight implements Objective.
func (o objective) Weight(b *data.Batch) float64 {
	return o.task.Weigh(o.model, b, task.LossOptions{ClassWeights: o.classWeights})
}

// Loss implements Objective.
func (o objective) Loss(p *op.Pass, b *data.Batch, scale float64, l LossOptions) (mat.Tensor, Sums, error) {
	p.NEFTune = l.NEFTuneAlpha
	options := task.LossOptions{Scale: scale, LabelSmoothing: l.LabelSmoothing}
	if p.Grad {
		options.ClassWeights = o.classWeights
	}
	node, sums, err := o.task.Loss(o.model, p, b, options)
	return node, Sums(sums), err
}
