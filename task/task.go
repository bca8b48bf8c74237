// Package task says what a model is trained for: its loss, and what evaluation reports. A task is one file and one line of
// the table Tasks.
//
//	loss, sums, err := task.Tasks[0].Loss(m, p, batch, task.LossOptions{Scale: 1 / weight})
package task

import (
	"fmt"
	"strings"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/nlpodyssey/spago/mat"
)

// Task is one row of the table.
type Task struct {
	Name string // in recipes
	Type string // task_type of adapter_config.json
	// Loss builds the node [1, 1] of Scale·Σ weight·loss over the batch's targets, and the sums before scaling. If p.Grad,
	// ag.Backward of the node adds to the gradients of all trainable parameters.
	Loss func(m *model.Model, p *op.Pass, b *data.Batch, o LossOptions) (mat.Tensor, op.LossSums, error)
}

// LossOptions are what a loss may do besides its plain form.
type LossOptions struct {
	Scale          float64
	LabelSmoothing float64
	PerRow         []float64 // if not nil, [T] receives each row's unweighted loss
}

// Tasks lists what graft can train for.
var Tasks = []Task{causalLM}

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
