package task

import (
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// causalLM predicts the next token.
var causalLM = Task{
	Name: "causal-lm",
	Type: "CAUSAL_LM",
	Loss: func(m *model.Model, p *op.Pass, b *data.Batch, o LossOptions) (mat.Tensor, op.LossSums, error) {
		if err := m.CheckTokens(b.Tokens); err != nil {
			return nil, op.LossSums{}, err
		}
		if err := m.CheckPositions(b.Positions); err != nil {
			return nil, op.LossSums{}, err
		}
		for _, t := range b.Targets {
			if t != data.NoTarget {
				if err := m.CheckTokens([]int32{t}); err != nil {
					return nil, op.LossSums{}, err
				}
			}
		}
		loss, sums := op.CrossEntropy(p, m.Hidden(p, b.Tokens), m.Output(), op.CrossEntropySpec{
			Targets: b.Targets, Weights: b.Weights, Scale: o.Scale, Smoothing: o.LabelSmoothing, PerRow: o.PerRow})
		return loss, sums, nil
	},
}
