package cli

import (
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/train"
	"github.com/nlpodyssey/spago/mat"
)

// objective is the plan's model and task as the training loop sees them.
type objective struct{ p *plan }

// Weight implements train.Objective.
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

// Loss implements train.Objective.
func (o objective) Loss(p *op.Pass, b *data.Batch, scale float64, l train.LossOptions) (mat.Tensor, train.Sums, error) {
	p.NEFTune = l.NEFTuneAlpha
	node, sums, err := o.p.task.Loss(o.p.base.model, p, b, task.LossOptions{Scale: scale, LabelSmoothing: l.LabelSmoothing})
	return node, train.Sums(sums), err
}

// steps is the plan's stream as the training loop sees it.
type steps struct{ s *data.Stream }

// Next implements train.Source.
func (s steps) Next() (train.Step, error) {
	step, err := s.s.Next()
	return train.Step(step), err
}

// Position implements train.Source.
func (s steps) Position() train.Position { return train.Position(s.s.Position()) }

// Seek implements train.Source.
func (s steps) Seek(p train.Position) error { return s.s.Seek(data.Position(p)) }
