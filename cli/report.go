package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/report"
	"github.com/graft-ml/graft/train"
)

// reportRun measures the model as training left it, and reports.
func (p *plan) reportRun(ctx context.Context, dir string, told func(string)) error {
	told("evaluating")
	tuned, err := report.Measure(ctx, p.base.model, p.task, p.base.mode, p.eval)
	if err != nil {
		return err
	}
	return p.report(ctx, dir, tuned, told)
}

// report measures the base, counts n-grams, and writes the report of a run into its folder. It takes the adapter off.
func (p *plan) report(ctx context.Context, dir string, tuned *report.Measured, told func(string)) error {
	s, err := train.Summarize(dir)
	if err != nil {
		return err
	}
	recipe, err := os.ReadFile(filepath.Join(dir, "recipe.toml"))
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	in := report.Input{Name: runName(dir), Facts: p.facts(s), Recipe: recipe, Curves: s.Curves, Set: p.eval, Tuned: tuned,
		Pieces: p.pieces, Seed: p.recipe.Data.Seed}
	told("evaluating the base")
	if in.Base, err = p.measureBase(ctx); err != nil {
		return err
	}
	if p.task.Name == "causal-lm" {
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
// trained, as it is opened again.
func (p *plan) measureBase(ctx context.Context) (_ *report.Measured, err error) {
	if p.adapter != nil {
		p.adapter.Detach()
		return report.Measure(ctx, p.base.model, p.task, p.base.mode, p.eval)
	}
	b, err := openFiles(p.recipe.Model.Path, p.recipe.Model.Compute)
	if err != nil {
		return nil, err
	}
	if err := p.makeModel(b); err != nil {
		return nil, err
	}
	defer b.close()
	return report.Measure(ctx, b.model, p.task, p.base.mode, p.eval)
}

// facts says what ran.
func (p *plan) facts(s *train.Summary) []report.Fact {
	r, c := p.recipe, p.base.model.Config
	trained := p.numBase()
	if p.adapter != nil {
		trained = peft.NumParams(p.adapter)
	}
	kernel := ""
	if n := len(s.Sessions); n > 0 {
		kernel = ", kernel " + s.Sessions[n-1].Kernel
	}
	return []report.Fact{
		{Name: "model", Value: fmt.Sprintf("%s (%s, %d layers of %d)", r.Model.Path, c.ModelType, c.NumHiddenLayers, c.HiddenSize)},
		{Name: "method", Value: fmt.Sprintf("%s, %s numbers trained", r.Method.Type, count(trained))},
		{Name: "task", Value: p.task.Name},
		{Name: "training rows", Value: count(int64(len(p.train)))},
		{Name: "compute", Value: p.base.mode.String() + kernel},
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
