package cli

import (
	"context"
	"fmt"
	"iter"
	"os"
	"strings"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/data/source"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/recipes"
)

// readData encodes the training and the held-out rows.
func (p *plan) readData(ctx context.Context, told func(string)) error {
	d := &p.recipe.Data
	limit := p.base.model.MaxTokens()
	if d.SequenceLen == 0 {
		d.SequenceLen = min(limit, 2048)
	}
	if d.SequenceLen > limit {
		before := ""
		if n := p.base.model.Config.MaxPositionEmbeddings - limit; n > 0 {
			before = fmt.Sprintf(", of which the method needs %d", n)
		}
		return usagef("data.sequence_len is %d, the model was made for max_position_embeddings %d%s", d.SequenceLen, p.base.model.Config.MaxPositionEmbeddings, before)
	}
	var sets []data.Weighted
	for _, s := range p.sources() {
		set, err := p.read(ctx, s.Path, s.Shape, limits{d.SkipRows, d.MaxRows}, d.EvalFraction > 0 || d.EvalEvery > 0, told)
		if err != nil {
			return err
		}
		sets = append(sets, data.Weighted{Set: set, Weight: s.Weight})
	}
	var err error
	if p.train = sets[0].Set; len(sets) > 1 || sets[0].Weight != 1 {
		if p.train, err = data.Mix(d.Seed, sets...); err != nil {
			return err
		}
	}
	switch {
	case d.EvalPath != "":
		if p.eval, err = p.read(ctx, d.EvalPath, d.Shape, limits{most: d.EvalMaxRows}, true, told); err != nil {
			return err
		}
	case d.EvalFraction > 0:
		p.train, p.eval = p.train.Split(d.EvalFraction, d.Seed)
	case d.EvalEvery > 0:
		p.train, p.eval = p.train.Every(d.EvalEvery)
	}
	if d.EvalMaxRows > 0 && d.EvalPath == "" {
		p.eval = p.eval[:min(len(p.eval), d.EvalMaxRows)]
	}
	p.train = p.train.Training()
	if len(p.train) == 0 {
		return fmt.Errorf("data: no rows to train on")
	}
	if p.task.Head == model.MaskedToken {
		mask, ok := p.base.tok.MASK()
		if !ok {
			return fmt.Errorf("data: the tokenizer has no mask_token, which model.task %q needs", p.task.Name)
		}
		p.masking = &data.Masking{Mask: mask, Vocabulary: p.base.tok.VocabSize(), Probability: d.MaskShare, WholeWord: d.WholeWord, Seed: d.Seed}
		p.eval = p.masking.Set(p.eval)
	}
	return nil
}

// read encodes one source. If evaluated, all or part of it is held out, so what reads predictions back is kept.
func (p *plan) read(ctx context.Context, path, shape string, n limits, evaluated bool, told func(string)) (data.Set, error) {
	told("reading " + path)
	set, report, err := p.encode(ctx, p.files(path, n), p.encoding(shape, evaluated))
	if err != nil && report != nil && report.Rows == 0 {
		return nil, fmt.Errorf("data: %s: no rows, want at least one", path)
	}
	if err != nil {
		return nil, err
	}
	p.reports = append(p.reports, report)
	return set, nil
}

// sources are those of the recipe.
func (p *plan) sources() []recipes.Source {
	d := &p.recipe.Data
	if d.Path != "" {
		return []recipes.Source{{Path: d.Path, Weight: 1, Shape: d.Shape}}
	}
	return d.Sources
}

// limits say which rows of a source are read.
type limits struct{ skip, most int } // most 0 = all

// rows reads a source.
func (p *plan) rows(path string, n limits) iter.Seq2[data.Row, error] { return p.files(path, n).Rows() }

// files are those of a source.
func (p *plan) files(path string, n limits) source.Files {
	files := source.Files{Unit: p.recipe.Data.Unit, Skip: n.skip, MaxRows: n.most}
	if name, ok := strings.CutPrefix(path, recipes.Builtin+"quickstart/"); ok {
		files.FS, files.Dir, files.Path = recipes.Quickstart(), recipes.Builtin+"quickstart", name
	} else {
		files.Dir, files.Path = source.Split(path)
		files.FS = os.DirFS(files.Dir)
	}
	return files
}

// encoding turns the recipe's section into data's own settings. If evaluated, what reads predictions back is kept.
func (p *plan) encoding(shape string, evaluated bool) data.Settings {
	d := &p.recipe.Data
	auto := func(s string) string {
		if s == "auto" {
			return ""
		}
		return s
	}
	return data.Settings{Shape: shape, Columns: d.Columns, Template: d.Template, System: d.System, Separator: d.Separator, TrainOnPrompt: d.TrainOnPrompt,
		SourcePrefix: d.SourcePrefix, TargetLen: d.TargetLen, DecoderStart: p.base.config.DecoderStartTokenID,
		SequenceLen: d.SequenceLen, Overlong: auto(d.Overlong), Concatenate: d.Concatenate, Workers: d.Workers,
		Task: p.task.Name, Labels: p.labels, ProblemType: auto(d.ProblemType), Stride: d.Stride, KeepOrigin: evaluated}
}
