package train

import (
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/task"
	"github.com/nlpodyssey/spago/mat"
)

// For is the objective of a task on a model.
func For(m *model.Model, t task.Task) Objective { return objective{m, t} }

type objective struct {
	model *model.Model
	task  task.Task
}

// Weight implements Objective.
func (o objective) Weight(b *data.Batch) float64 {
	if b.Weights == nil {
		return float64(b.NumTargets())
	}
	w := 0.0
	for t, target := range b.Targets {
		if target != data.NoTarget {
			w += float64(b.Weights[t])
		}
	}
	return w
}

// Loss implements Objective.
func (o objective) Loss(p *op.Pass, b *data.Batch, scale float64, l LossOptions) (mat.Tensor, Sums, error) {
	p.NEFTune = l.NEFTuneAlpha
	node, sums, err := o.task.Loss(o.model, p, b, task.LossOptions{Scale: scale, LabelSmoothing: l.LabelSmoothing})
	return node, Sums(sums), err
}
