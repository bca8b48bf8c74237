package task

import (
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// causalLM predicts the next token.
var causalLM = Task{
	Name:    "causal-lm",
	Type:    "CAUSAL_LM",
	Head:    model.NextToken,
	Weight:  targetWeight,
	Predict: predictor(model.NextToken),
	Loss: func(m *model.Model, p *op.Pass, b *data.Batch, o LossOptions) (mat.Tensor, op.LossSums, error) {
		if err := checkWords(m, b.Targets); err != nil {
			return nil, op.LossSums{}, err
		}
		h, err := hidden(m, p, b, model.NextToken)
		if err != nil {
			return nil, op.LossSums{}, err
		}
		loss, sums := op.CrossEntropy(p, h, m.Output(), op.CrossEntropySpec{
			Targets: b.Targets, Weights: b.Weights, Scale: o.Scale, Smoothing: o.LabelSmoothing, PerRow: o.PerRow})
		return loss, sums, nil
	},
}

// checkWords reports a target that is no token.
func checkWords(m *model.Model, targets []int32) error {
	for _, t := range targets {
		if t != data.NoTarget {
			if err := m.CheckTokens([]int32{t}); err != nil {
				return err
			}
		}
	}
	return nil
}
