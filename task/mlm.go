package task

import (
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// maskedLM predicts the tokens that were hidden. Only the rows that have a target pass through the head.
var maskedLM = Task{
	Name:    "masked-lm",
	Head:    model.MaskedToken,
	Weight:  targetWeight,
	Predict: predictor(model.MaskedToken),
	Loss: func(m *model.Model, p *op.Pass, b *data.Batch, o LossOptions) (mat.Tensor, op.LossSums, error) {
		if err := checkWords(m, b.Targets); err != nil {
			return nil, op.LossSums{}, err
		}
		rows := targetRows(b)
		h, err := hidden(m, p, b, model.MaskedToken, rows)
		if err != nil {
			return nil, op.LossSums{}, err
		}
		s := op.CrossEntropySpec{Scale: o.Scale, Smoothing: o.LabelSmoothing}
		for _, t := range rows {
			s.Targets = append(s.Targets, b.Targets[t])
			if b.Weights != nil {
				s.Weights = append(s.Weights, b.Weights[t])
			}
		}
		if o.PerRow != nil {
			s.PerRow = make([]float64, len(rows))
		}
		own := p.Pick(rows)
		loss, sums := op.CrossEntropy(own, m.Top.Transform(own, op.Gather(p, h, rows)), m.Output(), s)
		for i, v := range s.PerRow {
			o.PerRow[rows[i]] = v
		}
		return loss, sums, nil
	},
}
