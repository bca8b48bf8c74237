package task

import (
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// tokenCls labels rows: a batch's target is the class of its own row.
var tokenCls = Task{
	Name:    "token-cls",
	Type:    "TOKEN_CLS",
	Head:    model.TokenLabels,
	Weight:  targetWeight,
	Predict: predictor(model.TokenLabels),
	Loss: func(m *model.Model, p *op.Pass, b *data.Batch, o LossOptions) (mat.Tensor, op.LossSums, error) {
		n := m.Config.Classes()
		if err := checkTargets(b.Targets, n); err != nil {
			return nil, op.LossSums{}, err
		}
		if err := checkClassWeights(o.ClassWeights, n); err != nil {
			return nil, op.LossSums{}, err
		}
		h, err := hidden(m, p, b, model.TokenLabels, targetRows(b))
		if err != nil {
			return nil, op.LossSums{}, err
		}
		own, x := m.Features(p, h)
		loss, sums := op.CrossEntropy(own, x, m.Output(), op.CrossEntropySpec{
			Targets: b.Targets, Weights: rowWeights(b, o), Scale: o.Scale, Smoothing: o.LabelSmoothing, PerRow: o.PerRow})
		return loss, sums, nil
	},
}
