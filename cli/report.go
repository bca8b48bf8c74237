package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/report"
	"github.com/graft-ml/graft/train"
)

// reportRun measures the model as training left it, and reports.
func (p *plan) reportRun(ctx context.Context, dir string, told func(string)) ([]report.Score, error) {
	told("evaluating")
	tuned, err := report.Measure(ctx, p.base.model, p.task, p.base.mode, p.eval)
	if err != nil {
		return nil, err
	}
	says, err := p.says(ctx, told)
	if err != nil {
		return nil, err
	}
	scores, err := says.written.Scores()
	if err != nil {
		return nil, err
	}
	return scores, p.report(ctx, dir, tuned, says, told)
}

// sayings are what a model says to the held-out rows, beside its losses; fields that its task has not are nil.
type sayings struct {
	read    *report.Predictions
	written *report.Texts
}

// says has the model label the held-out rows, answer their questions, or write texts for them.
func (p *plan) says(ctx context.Context, told func(string)) (s sayings, err error) {
	if s.read, err = p.predictions(ctx); err != nil {
		return s, err
	}
	if p.recipe.Eval.Generate > 0 {
		told("writing texts")
	}
	s.written, err = p.written(ctx)
	return s, err
}

// scores are the figures of all that was said.
func (s sayings) scores() ([]report.Score, error) {
	list, err := scoresOf(s.read)
	if err != nil {
		return nil, err
	}
	of, err := s.written.Scores()
	return append(list, of...), err
}

// judged says that the task is judged by more than its loss.
func (p *plan) judged() bool { return p.task.Head.HasLabels() || p.task.Head == model.AnswerSpan }

// predictions has the model label the held-out rows, or answer their questions; nil of tasks about language itself.
func (p *plan) predictions(ctx context.Context) (*report.Predictions, error) {
	if !p.judged() {
		return nil, nil
	}
	arena := op.NewArena()
	return report.Read(ctx, p.eval, p.labels, p.problem, func(b *data.Batch) (kernel.Mat, error) {
		defer arena.Reset()
		return p.task.Predict(p.base.model, op.NewPass(b.Segments, b.Positions, p.base.mode, arena), b)
	})
}

// scoresOf are the figures by which predictions are judged; none of no predictions.
func scoresOf(read *report.Predictions) ([]report.Score, error) {
	if read == nil {
		return nil, nil
	}
	return read.Scores()
}

// addScores lists figures in words.
func addScores(t *pairs, scores []report.Score) {
	for _, s := range scores {
		t.add(strings.ReplaceAll(s.Name, "_", " "), fmt.Sprintf("%.4f", s.Value))
	}
}

// metrics are the scores of an evaluation while training goes on; the loop itself counts the accuracy.
func (p *plan) metrics(ctx context.Context) (list []train.Metric, err error) {
	read, err := p.predictions(ctx)
	if err != nil {
		return nil, err
	}
	scores, err := scoresOf(read)
	for _, s := range scores {
		if s.Name != "accuracy" {
			list = append(list, train.Metric{Name: "eval_" + s.Name, Value: s.Value})
		}
	}
	return list, err
}

// report measures the base, counts n-grams, and writes the report of a run into its folder. It takes the adapter off.
func (p *plan) report(ctx context.Context, dir string, tuned *report.Measured, says sayings, told func(string)) error {
	s, err := train.Summarize(dir)
	if err != nil {
		return err
	}
	recipe, err := os.ReadFile(filepath.Join(dir, "recipe.toml"))
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	in := report.Input{Name: runName(dir), Facts: p.facts(s), Recipe: recipe, Curves: s.Curves, Set: p.eval, Tuned: tuned,
		Predictions: says.read, Texts: says.written, Pieces: p.pieces, Seed: p.recipe.Data.Seed}
	if p.task.Head.HasLabels() {
		in.Prior = report.CountLabels(p.train, p.eval, len(p.labels), p.problem)
	}
	told("evaluating the base")
	if in.Base, in.BaseName, err = p.measureBase(ctx, in.Texts); err != nil {
		return err
	}
	if writes(p.task.Head) {
		told("counting n-grams")
		if in.NGram, err = report.CountNGrams(p.train, p.eval, p.base.model.Config.VocabSize); err != nil {
			return err
		}
	}
	told("writing the report")
	r, err := report.Build(in)
	if err != nil {
		return err
	}
	return writeReport(dir, r)
}

// runName is the last name of a run's folder.
func runName(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return filepath.Base(dir)
}

// measureBase measures the model that training started from: the same without its adapter, or, where all weights were
// trained, as it is opened again. It writes the same texts.
func (p *plan) measureBase(ctx context.Context, texts *report.Texts) (_ *report.Measured, name string, err error) {
	b := p.base
	if p.adapter != nil {
		p.adapter.Detach()
	} else {
		if b, err = openFiles(p.recipe.Model.Path, arithmeticOf(p.recipe)); err != nil {
			return nil, "", err
		}
		if err := p.makeModel(ctx, b); err != nil {
			return nil, "", err
		}
		defer b.close()
	}
	if len(b.model.Fresh) > 0 {
		name = "untrained head"
	}
	if texts != nil {
		if texts.Base, err = p.writeAll(ctx, b); err != nil {
			return nil, "", err
		}
	}
	m, err := report.Measure(ctx, b.model, p.task, p.base.mode, p.eval)
	return m, name, err
}

// facts says what ran.
func (p *plan) facts(s *train.Summary) []report.Fact {
	r, c := p.recipe, p.base.model.Config
	trained := p.numBase()
	if p.adapter != nil {
		trained = peft.NumParams(p.adapter)
	}
	kernels := ""
	if n := len(s.Sessions); n > 0 {
		kernels = ", kernel " + s.Sessions[n-1].Kernel
	}
	return []report.Fact{
		{Name: "model", Value: fmt.Sprintf("%s (%s, %d layers of %d)", r.Model.Path, c.ModelType, c.NumHiddenLayers, c.HiddenSize)},
		{Name: "method", Value: fmt.Sprintf("%s, %s numbers trained", r.Method.Type, count(trained))},
		{Name: "task", Value: p.task.Name},
		{Name: "training rows", Value: count(int64(len(p.train)))},
		{Name: "compute", Value: p.base.mode.String() + kernels},
		{Name: "seed", Value: fmt.Sprint(r.Train.Seed)},
		{Name: "base", Value: "sha256 " + s.BaseHash},
		{Name: "recipe and rows", Value: "sha256 " + s.RecipeHash},
	}
}

// pieces is report.PiecesOf: special tokens are shown as they are written.
func (p *plan) pieces(ids []int32) []string {
	d := p.base.tok.NewDecoder(false)
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = d.Next(id)
	}
	if n := len(out); n > 0 {
		out[n-1] += d.Flush()
	}
	return out
}

// writeReport writes the files of a report into a run folder.
func writeReport(dir string, r *report.Report) error {
	files, err := r.Files()
	if err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		err = errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o777))
		if err == nil {
			err = atomicfile.WriteBytes(name, f.Content)
		}
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return nil
}
