package report

import (
	"context"
	"fmt"
	"math"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/metric"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/task"
)

// Measured is what a model makes of held-out examples.
type Measured struct {
	Sums     op.LossSums
	Examples []metric.Loss // of each example
	Rows     [][]float32   // of each example [tokens]: the unweighted loss of row t; 0 where it has no target; nil for tasks about whole sequences
}

// Loss is the mean loss per target.
func (m *Measured) Loss() float64 { return m.Sums.Loss / m.Sums.Weight }

// Accuracy is the share of targets that were the most likely prediction.
func (m *Measured) Accuracy() float64 { return float64(m.Sums.Correct) / float64(m.Sums.Targets) }

func (m *Measured) len() int {
	if m == nil {
		return 0
	}
	return len(m.Examples)
}

// microTokens bounds one forward pass of an evaluation.
const microTokens = 4096

// Measure computes the loss of every example.
func Measure(ctx context.Context, m *model.Model, t task.Task, mode kernel.Mode, set data.Set) (*Measured, error) {
	out := &Measured{}
	arena := op.NewArena()
	for b, err := range set.Batches(microTokens) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		rows := make([]float64, len(b.Tokens)) // or the first of them, one for each segment
		_, sums, err := t.Loss(m, op.NewPass(b.Segments, b.Positions, mode, arena), b, task.LossOptions{Scale: 1, PerRow: rows})
		if err != nil {
			return nil, err
		}
		arena.Reset()
		out.add(b, rows, sums)
	}
	if out.Sums.Targets == 0 {
		return nil, fmt.Errorf("eval: the held-out examples have no targets")
	}
	if l := out.Loss(); math.IsNaN(l) || math.IsInf(l, 0) {
		return nil, fmt.Errorf("eval: the loss is %g, want a finite number: the weights hold NaN or are too large", l)
	}
	return out, nil
}

// add takes the losses of a batch apart by example.
func (m *Measured) add(b *data.Batch, rows []float64, sums op.LossSums) {
	m.Sums.Loss += sums.Loss
	m.Sums.Weight += sums.Weight
	m.Sums.Targets += sums.Targets
	m.Sums.Correct += sums.Correct
	for i, s := range b.Segments {
		var sum metric.Loss
		if b.Labels != nil || b.Spans != nil { // one loss for each segment
			sum.Add(rows[i])
			m.Examples, m.Rows = append(m.Examples, sum), append(m.Rows, nil)
			continue
		}
		losses := make([]float32, s.End-s.Start)
		for t := s.Start; t < s.End; t++ {
			if b.Targets[t] == data.NoTarget {
				continue
			}
			weight := 1.0
			if b.Weights != nil {
				weight = float64(b.Weights[t])
			}
			sum.AddWeighted(rows[t], weight)
			losses[t-s.Start] = float32(rows[t])
		}
		m.Examples, m.Rows = append(m.Examples, sum), append(m.Rows, losses)
	}
}
