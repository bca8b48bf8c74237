package task

import (
	"fmt"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// questionAnswering finds the rows at which an answer starts and ends.
var questionAnswering = Task{
	Name:    "question-answering",
	Type:    "QUESTION_ANS",
	Head:    model.AnswerSpan,
	Weight:  func(b *data.Batch, _ LossOptions) float64 { return float64(len(b.Segments)) },
	Predict: predictor(model.AnswerSpan),
	Loss: func(m *model.Model, p *op.Pass, b *data.Batch, o LossOptions) (mat.Tensor, op.LossSums, error) {
		if len(b.Spans) != len(b.Segments) {
			return nil, op.LossSums{}, fmt.Errorf("task: %d spans for %d sequences", len(b.Spans), len(b.Segments))
		}
		for i, s := range b.Segments {
			if at := b.Spans[i]; int(at[0]) < s.Start || at[0] > at[1] || int(at[1]) >= s.End {
				return nil, op.LossSums{}, fmt.Errorf("task: sequence %d has an answer of rows %d to %d, want rows within %d to %d", i, at[0], at[1], s.Start, s.End-1)
			}
		}
		h, err := hidden(m, p, b, model.AnswerSpan, nil)
		if err != nil {
			return nil, op.LossSums{}, err
		}
		own, x := m.Features(p, h)
		z := op.Project(own, x, m.Output()) // [T, 2]
		loss, sums := op.Spans(p, z, op.SpansSpec{Spans: b.Spans, Scale: o.Scale, PerRow: o.PerRow})
		return loss, sums, nil
	},
}
