package task

import (
	"slices"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// causalLM predicts the next token. The first of a text counts where a method puts virtual tokens before it.
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
		h, led, err := hiddenLed(m, p, b)
		if err != nil {
			return nil, op.LossSums{}, err
		}
		s := op.CrossEntropySpec{Targets: b.Targets, Weights: b.Weights, Scale: o.Scale, Smoothing: o.LabelSmoothing, PerRow: o.PerRow}
		withFirsts(&s, b, led)
		loss, sums := op.CrossEntropy(p, h, m.Output(), s)
		if len(led) > 0 {
			copy(o.PerRow, s.PerRow)
		}
		return loss, sums, nil
	},
}

// withFirsts adds the first tokens of the led segments to the targets.
func withFirsts(s *op.CrossEntropySpec, b *data.Batch, led []int) {
	if len(led) == 0 {
		return
	}
	s.Targets, s.Weights = slices.Clone(b.Targets), slices.Clone(b.Weights)
	for _, i := range led {
		s.Targets = append(s.Targets, b.Firsts[i])
		if b.Weights != nil {
			s.Weights = append(s.Weights, b.FirstWeights[i])
		}
	}
	if s.PerRow != nil {
		s.PerRow = make([]float64, len(s.Targets))
	}
}

// Weigh is what a batch's targets weigh on a model, over which its loss is averaged.
func (t Task) Weigh(m *model.Model, b *data.Batch, o LossOptions) float64 {
	sum := t.Weight(b, o)
	if t.Head == model.NextToken && m.Leads() {
		sum += targetWeight(&data.Batch{Targets: b.Firsts, Weights: b.FirstWeights}, o)
	}
	return sum
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

// hiddenLed passes the batch through the model, with a further row for each segment whose first token counts: see Model.HiddenLed.
func hiddenLed(m *model.Model, p *op.Pass, b *data.Batch) (h mat.Tensor, led []int, err error) {
	if b.Firsts == nil || !m.Leads() {
		h, err = hidden(m, p, b, model.NextToken, targetRows(b))
		return h, nil, err
	}
	if err := checkBatch(m, b, model.NextToken); err != nil {
		return nil, nil, err
	}
	p.Types = b.Types
	h, led = m.HiddenLed(p, b.Tokens)
	return h, led, nil
}
