package task

import (
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// seq2seqLM predicts the next token of a text that is told from a source: translations, summaries, whatever T5 is asked for. Batches
// come with the target shifted right behind the model's start token already.
var seq2seqLM = Task{
	Name:    "seq2seq-lm",
	Type:    "SEQ_2_SEQ_LM",
	Head:    model.TargetToken,
	Weight:  targetWeight,
	Predict: predictor(model.TargetToken),
	Loss: func(m *model.Model, p *op.Pass, b *data.Batch, o LossOptions) (mat.Tensor, op.LossSums, error) {
		if err := checkWords(m, b.Targets); err != nil {
			return nil, op.LossSums{}, err
		}
		h, err := hidden(m, p, b, model.TargetToken, targetRows(b))
		if err != nil {
			return nil, op.LossSums{}, err
		}
		s := op.CrossEntropySpec{Targets: b.Targets, Weights: b.Weights, Scale: o.Scale, Smoothing: o.LabelSmoothing, PerRow: o.PerRow}
		loss, sums := op.CrossEntropy(p, h, m.Output(), s)
		return loss, sums, nil
	},
}
