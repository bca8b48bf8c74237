// Package task says what a model is trained for: its loss, and what evaluation reports. A task is one file and one line of
// the table Tasks.
//
//	t, err := task.Lookup("seq-cls")
//	loss, sums, err := t.Loss(m, p, batch, task.LossOptions{Scale: 1 / t.Weight(batch, task.LossOptions{})})
//	scores, err := t.Predict(m, p, batch)
package task

import (
	"fmt"
	"strings"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// Task is one row of the table.
type Task struct {
	Name string         // in recipes
	Type string         // task_type of adapter_config.json; "" = null
	Head model.HeadKind // that the model must have
	// Loss builds the node [1, 1] of Scale·Σ weight·loss over the batch's targets, and the sums before scaling. If p.Grad,
	// ag.Backward of the node adds to the gradients of all trainable parameters.
	Loss func(m *model.Model, p *op.Pass, b *data.Batch, o LossOptions) (mat.Tensor, op.LossSums, error)
	// Weight is what the losses of a batch weigh together: the sums' Weight, known before the pass.
	Weight func(b *data.Batch, o LossOptions) float64
	// Predict gives the scores: [segments, n] of tasks about whole sequences, else [T, n].
	Predict func(m *model.Model, p *op.Pass, b *data.Batch) (kernel.Mat, error)
}

// LossOptions are what a loss may do besides its plain form.
type LossOptions struct {
	Scale          float64
	LabelSmoothing float64
	ClassWeights   []float32 // by class or label, of seq-cls and token-cls; nil = 1
	PerRow         []float64 // if not nil, receives the unweighted loss of each row, or of each segment for tasks about those
}

// Tasks lists what graft can train for.
var Tasks = []Task{causalLM, seq2seqLM, seqCls, tokenCls, questionAnswering, maskedLM}

// Lookup finds a task by its name.
func Lookup(name string) (Task, error) {
	var names []string
	for _, t := range Tasks {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return Task{}, fmt.Errorf("task: %q is not a task, want one of %s", name, strings.Join(names, ", "))
}

// For is the task that a model's head is for; false of a bare model.
func For(m *model.Model) (Task, bool) {
	for _, t := range Tasks {
		if t.Head == m.Kind {
			return t, true
		}
	}
	return Task{}, false
}

// hidden checks the batch and passes it through the model up to the head, which reads some of the rows; nil = all.
func hidden(m *model.Model, p *op.Pass, b *data.Batch, head model.HeadKind, read []int) (mat.Tensor, error) {
	if err := checkBatch(m, b, head); err != nil {
		return nil, err
	}
	if err := m.CheckRoutes(p); err != nil {
		return nil, err
	}
	p.Types, p.Source, p.Read = b.Types, b.Source, read
	return m.Hidden(p, b.Tokens), nil
}

// checkBatch reports a batch that the model cannot take.
func checkBatch(m *model.Model, b *data.Batch, head model.HeadKind) error {
	if m.Kind != head {
		return fmt.Errorf("task: the model has a head %s, want %s", m.Kind, head)
	}
	if err := m.CheckTokens(b.Tokens); err != nil {
		return err
	}
	if err := m.CheckPositions(b.Positions); err != nil {
		return err
	}
	if err := m.CheckSource(b.Source, len(b.Segments)); err != nil {
		return err
	}
	return m.CheckTypes(b.Types)
}

// predictor is the Predict of a task.
func predictor(head model.HeadKind) func(m *model.Model, p *op.Pass, b *data.Batch) (kernel.Mat, error) {
	return func(m *model.Model, p *op.Pass, b *data.Batch) (kernel.Mat, error) {
		h, err := hidden(m, p, b, head, m.Top.Read(p))
		if err != nil {
			return kernel.Mat{}, err
		}
		return m.Scores(p, h), nil
	}
}

// targetRows are the rows that have a target; nil where none has.
func targetRows(b *data.Batch) (rows []int) {
	for t, target := range b.Targets {
		if target != data.NoTarget {
			rows = append(rows, t)
		}
	}
	return rows
}

// targetWeight is the weight of the rows that have a target.
func targetWeight(b *data.Batch, o LossOptions) (w float64) {
	if weights := rowWeights(b, o); weights != nil {
		for t, target := range b.Targets {
			if target != data.NoTarget {
				w += float64(weights[t])
			}
		}
		return w
	}
	return float64(b.NumTargets())
}

// rowWeights are the weights of the rows, times those of their classes; nil = 1.
func rowWeights(b *data.Batch, o LossOptions) []float32 {
	if o.ClassWeights == nil {
		return b.Weights
	}
	w := make([]float32, len(b.Targets))
	for t, target := range b.Targets {
		if int(target) < 0 || int(target) >= len(o.ClassWeights) {
			continue
		}
		w[t] = o.ClassWeights[target]
		if b.Weights != nil {
			w[t] *= b.Weights[t]
		}
	}
	return w
}

// checkTargets reports a target that is none of n classes.
func checkTargets(targets []int32, n int) error {
	for i, t := range targets {
		if t != data.NoTarget && (t < 0 || int(t) >= n) {
			return fmt.Errorf("task: label %d at row %d, want 0 to %d", t, i, n-1)
		}
	}
	return nil
}

// checkClassWeights reports class weights that are not one for each class.
func checkClassWeights(w []float32, n int) error {
	if w != nil && len(w) != n {
		return fmt.Errorf("task: %d class weights, the model has %d labels", len(w), n)
	}
	return nil
}
