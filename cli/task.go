package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/task"
)

// settle decides what is trained for, and by which labels. The recipe keeps both, so that a run can tell.
func (p *plan) settle(_ context.Context, told func(string)) error {
	name, err := p.taskName()
	if err != nil {
		return err
	}
	if p.task, err = task.Lookup(name); err != nil {
		return usageError{err}
	}
	p.recipe.Model.Task = name
	if err := p.base.config.CheckHead(p.task.Head); err != nil {
		return fmt.Errorf("%s: %w (model.task is %q)", p.base.path, err, name)
	}
	if err := p.checkShapes(); err != nil {
		return err
	}
	if !p.task.Head.HasLabels() {
		return nil
	}
	return p.settleLabels(told)
}

// taskName is the task: by the recipe's words, else by what its rows are only good for, else by the adapter to start from, else
// by the model's head. A head of words on an encoder, or none, says little, so that the first row counts more.
func (p *plan) taskName() (string, error) {
	if t := p.recipe.Model.Task; t != "auto" {
		return t, nil
	}
	for _, s := range p.sources() {
		if t := data.ShapeTask(s.Shape); t != "" {
			return t, nil
		}
	}
	if dir := p.recipe.Method.Adapter; dir != "" {
		c, err := methods.ReadConfig(dir)
		if err != nil {
			return "", err
		}
		if t, ok := byType(c.Shared().TaskType); ok {
			return t.Name, nil
		}
	}
	kind := p.base.config.HeadKind()
	if kind == model.NoHead || kind == model.MaskedToken {
		if t := p.taskOfRows(); t != "" {
			return t, nil
		}
	}
	for _, t := range task.Tasks {
		if t.Head == kind {
			return t.Name, nil
		}
	}
	return task.Tasks[len(task.Tasks)-1].Name, nil
}

// byType finds a task by its task_type in adapter_config.json.
func byType(name string) (task.Task, bool) {
	i := slices.IndexFunc(task.Tasks, func(t task.Task) bool { return t.Type == name && name != "" })
	if i < 0 {
		return task.Task{}, false
	}
	return task.Tasks[i], true
}

// taskOfRows is the task that the first row's columns are for; "" if they are for none of its own.
func (p *plan) taskOfRows() string {
	for _, s := range p.sources() {
		for row, err := range p.rows(s.Path, limits{most: 1}) {
			if err == nil {
				return data.TaskOf(&row, p.recipe.Data.Columns)
			}
		}
	}
	return ""
}

// checkShapes refuses shapes that are for another task.
func (p *plan) checkShapes() error {
	own := data.ShapesFor(p.task.Name)
	for _, s := range p.sources() {
		of := data.ShapeTask(s.Shape)
		switch {
		case s.Shape == "auto" || of == p.task.Name || of == "" && own == nil:
		case of != "":
			return usagef("data.shape is %q, which is for model.task %q, not %q", s.Shape, of, p.task.Name)
		default:
			return usagef("data.shape is %q, want %s for model.task %q", s.Shape, strings.Join(own, " or "), p.task.Name)
		}
	}
	return nil
}

// settleLabels names the labels: as the recipe says, as a model has them that labels already, or as the rows have them.
func (p *plan) settleLabels(told func(string)) error {
	d := &p.recipe.Data
	own := p.base.config
	labels := own.HeadKind() == p.task.Head // the model's words count
	if labels && d.ProblemType == "auto" && own.ProblemType != "" {
		d.ProblemType = own.ProblemType
	}
	found, err := p.look(told)
	if err != nil {
		return err
	}
	if p.task.Head == model.SequenceLabels {
		p.problem = found.Problem
		d.ProblemType = found.Problem
	}
	switch {
	case len(d.Labels) > 0:
		p.labels = d.Labels
	case p.problem == data.Regression:
		p.labels = model.DefaultLabels(found.Values)
	case labels && covers(own.ClassNames(), found.Labels):
		p.labels = own.ClassNames()
	default:
		p.labels = found.Labels
	}
	if n := len(p.labels); n < 1 || n < 2 && p.problem != data.MultiLabel && p.problem != data.Regression {
		return fmt.Errorf("data: the rows have the labels %q, want at least 2 for model.task %q (data.labels names those that rows lack)", p.labels, p.task.Name)
	}
	d.Labels = p.labels
	return nil
}

// look reads the labels of all sources.
func (p *plan) look(told func(string)) (all data.Survey, err error) {
	if len(p.recipe.Data.Labels) > 0 && p.recipe.Data.ProblemType != "auto" {
		return data.Survey{Problem: p.recipe.Data.ProblemType}, nil
	}
	for i, s := range p.sources() {
		told("reading the labels of " + s.Path)
		d := &p.recipe.Data
		x, err := data.Look(p.rows(s.Path, limits{d.SkipRows, d.MaxRows}), p.encoding(s.Shape, false))
		if err != nil {
			return all, err
		}
		if i == 0 {
			all = x
			continue
		}
		all.Labels = data.JoinLabels(all.Labels, x.Labels)
	}
	return all, nil
}

// covers says that a model's names of classes hold those of the rows, or that the rows have the classes' numbers.
func covers(classes, rows []string) bool {
	named := !slices.ContainsFunc(rows, func(s string) bool { return !slices.Contains(classes, s) })
	numbered := !slices.ContainsFunc(rows, func(s string) bool {
		n, err := strconv.Atoi(s)
		return err != nil || n < 0 || n >= len(classes)
	})
	return len(classes) > 0 && (named || numbered)
}

// want is the head of the task.
func (p *plan) want() model.Want {
	return model.Want{Kind: p.task.Head, Labels: p.labels, ProblemType: p.problem, RNG: rand.New(rand.NewPCG(p.recipe.Train.Seed, 3))}
}

// openModel makes the model that is trained.
func (p *plan) openModel(ctx context.Context, tell func(string)) error {
	err := p.makeModel(ctx, p.base)
	if p.base.unpacked != nil {
		tell(p.base.unpacked.String())
	}
	return err
}

// makeModel makes the model that training starts from, with the head of the task.
func (p *plan) makeModel(ctx context.Context, b *base) error {
	if m := p.recipe.Model; m.Init == "random" {
		return b.draw(p.want(), m.Seed)
	}
	w := p.want()
	return b.load(ctx, &w)
}

// saveHead has the adapter train and store what the head has and the checkpoint lacks, as far as PEFT does not do so by itself:
// of a pooler that was drawn at random, nobody else would know the numbers.
func (p *plan) saveHead(settings map[string]json.RawMessage) {
	var names []string
	if err := json.Unmarshal(settings["modules_to_save"], &names); err != nil {
		names = nil // there are none
	}
	var modules []string
	for _, tensor := range p.base.model.Fresh {
		module := tensor[:strings.LastIndexByte(tensor, '.')]
		if !peft.SavesModule(p.task.Type, module) && !slices.Contains(append(modules, names...), module) {
			modules = append(modules, module)
		}
	}
	for _, m := range modules { // without those that lie in another
		if !slices.ContainsFunc(modules, func(outer string) bool { return strings.HasPrefix(m, outer+".") }) {
			names = append(names, m)
		}
	}
	if len(modules) > 0 {
		settings["modules_to_save"], _ = json.Marshal(names) // strings always marshal
	}
}

// checkHead refuses a method that would leave a head as it was drawn.
func (p *plan) checkHead() error {
	var errs []error
	trained := map[string]bool{}
	for _, q := range p.params {
		trained[q.Name] = true
	}
	for _, name := range untrained(p.base.model, trained) {
		errs = append(errs, fmt.Errorf("model: %s has no tensor %q, which model.task %q needs, and method.type %q does not train it", p.base.path, name, p.task.Name, p.recipe.Method.Type))
	}
	return errors.Join(errs...)
}
