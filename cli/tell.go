package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/task"
)

// writes says that a model with the head gives texts: continuations, or what it tells of sources.
func writes(k model.HeadKind) bool { return k == model.NextToken || k == model.TargetToken }

// reads says that the model tells a text of a source.
func (b *base) reads() bool { return b.model.Kind == model.TargetToken }

// generationKeys are the keys of [generate] with the options of the same meaning; in and out point to values of one type.
var generationKeys = []struct {
	name string
	of   func(g *recipes.Generate, o *generate.Options) (in, out any)
}{
	{"max_new_tokens", func(g *recipes.Generate, o *generate.Options) (in, out any) { return &g.MaxNewTokens, &o.MaxNewTokens }},
	{"temperature", func(g *recipes.Generate, o *generate.Options) (in, out any) { return &g.Temperature, &o.Temperature }},
	{"top_k", func(g *recipes.Generate, o *generate.Options) (in, out any) { return &g.TopK, &o.TopK }},
	{"top_p", func(g *recipes.Generate, o *generate.Options) (in, out any) { return &g.TopP, &o.TopP }},
	{"min_p", func(g *recipes.Generate, o *generate.Options) (in, out any) { return &g.MinP, &o.MinP }},
	{"repetition_penalty", func(g *recipes.Generate, o *generate.Options) (in, out any) {
		return &g.RepetitionPenalty, &o.RepetitionPenalty
	}},
	{"no_repeat_ngram_size", func(g *recipes.Generate, o *generate.Options) (in, out any) {
		return &g.NoRepeatNgram, &o.NoRepeatNgram
	}},
	{"num_beams", func(g *recipes.Generate, o *generate.Options) (in, out any) { return &g.NumBeams, &o.NumBeams }},
	{"length_penalty", func(g *recipes.Generate, o *generate.Options) (in, out any) {
		return &g.LengthPenalty, &o.LengthPenalty
	}},
	{"seed", func(g *recipes.Generate, o *generate.Options) (in, out any) { return &g.Seed, &o.Seed }},
}

func assign(to, from any) { reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from).Elem()) }

// options turns the recipe's section into generate's own, with the end tokens of the model, if there is one.
func options(g recipes.Generate, b *base) (o generate.Options) {
	for _, k := range generationKeys {
		in, out := k.of(&g, &o)
		assign(out, in)
	}
	if b != nil {
		o.EOS = endTokens(b)
	}
	return o
}

// generation are the options for a model. One that reads sources goes by its generation_config.json, over which the section of
// the run counts, and over that what is named; the section g is filled with what counts in the end. notes are about keys of the file that
// are not followed.
func (b *base) generation(g, run *recipes.Generate, named func(key string) bool) (o generate.Options, notes []string, err error) {
	if !b.reads() {
		return options(*g, b), nil, nil
	}
	if o, notes, err = b.configured(); err != nil {
		return o, nil, err
	}
	for _, k := range generationKeys {
		in, out := k.of(g, &o)
		if !named(k.name) && run != nil {
			was, _ := k.of(run, &o)
			assign(in, was)
		} else if !named(k.name) {
			assign(in, out)
		}
		assign(out, in)
	}
	if run != nil && !named("stop") {
		g.Stop = run.Stop
	}
	if o.NumBeams > 1 && o.Temperature > 0 { // beams are not sampled: what is named counts
		if named("temperature") && !named("num_beams") {
			o.NumBeams, g.NumBeams = 1, 1
		} else if !named("temperature") {
			o.Temperature, g.Temperature = 0, 0
		}
	}
	return o, notes, nil
}

// configured are the defaults under what generation_config.json says, or config.json of old models.
func (b *base) configured() (o generate.Options, notes []string, err error) {
	o = options(recipes.New().Generate, b)
	ends := o.EOS
	name := "generation_config.json"
	raw, err := fs.ReadFile(b.files, name)
	if errors.Is(err, fs.ErrNotExist) {
		name = "config.json"
		raw, err = fs.ReadFile(b.files, name)
	}
	if err != nil {
		return o, nil, fmt.Errorf("model: %s: %w", b.path, err)
	}
	const prompt = 1 // the start token
	o, ignored, err := o.Configure(raw, prompt)
	if err != nil {
		return o, nil, fmt.Errorf("%s: %w", b.path, err)
	}
	o.MaxNewTokens = min(o.MaxNewTokens, b.model.MaxTokens())
	for _, id := range ends { // with which the targets of training end
		if !slices.Contains(o.EOS, id) {
			o.EOS = append(slices.Clip(o.EOS), id)
		}
	}
	for _, key := range ignored {
		notes = append(notes, fmt.Sprintf("%s: %s has no effect", name, key))
	}
	return o, notes, nil
}

// write continues prompts, or tells a text of each of the sources. emit may be nil.
func (b *base) write(ctx context.Context, ids [][]int32, o generate.Options, emit generate.Emit) ([][]int32, error) {
	if !b.reads() {
		return generate.Tokens(ctx, generate.NewSession(b.model, b.mode), ids, o, emit)
	}
	start := b.model.Config.DecoderStartTokenID
	if start == nil {
		return nil, fmt.Errorf("model: %s: config.json has no decoder_start_token_id, with which texts begin", b.path)
	}
	return generate.Sources(ctx, b.model, b.mode, ids, *start, o, emit)
}

// sources are texts as the encoder of the model reads them: as the rows of the run, if there is one.
func (b *base) sources(texts []string, run *recipes.Recipe) (ids [][]int32, err error) {
	t, _ := task.For(b.model)
	s := data.Settings{Shape: "seq2seq", Task: t.Name, Predict: true}
	b.asTrained(&s, run)
	s.Columns = nil
	var enc *data.Encoder
	for i, text := range texts {
		row := data.Row{Fields: data.Object{{Name: "source", Value: text}}}
		if enc == nil {
			if enc, err = data.NewEncoder(b.tok, nil, s, &row); err != nil {
				return nil, err
			}
		}
		source, err := enc.Prompt(&row)
		if err != nil {
			return nil, err
		}
		if len(source) == 0 {
			return nil, usagef("generate: prompt %d is empty, want a source to tell of", i+1)
		}
		ids = append(ids, source)
	}
	return ids, nil
}

// asTrained has rows read as those of the run, if there is one, as far as the model allows.
func (b *base) asTrained(s *data.Settings, run *recipes.Recipe) {
	s.SequenceLen, s.DecoderStart = b.model.MaxTokens(), b.model.Config.DecoderStartTokenID
	if run == nil {
		return
	}
	d := &run.Data
	s.Columns, s.Template, s.System, s.Separator = d.Columns, d.Template, d.System, d.Separator
	s.SequenceLen, s.Stride, s.SourcePrefix = min(s.SequenceLen, d.SequenceLen), d.Stride, d.SourcePrefix
}

// asked is what the model is given of an example, and what it should write.
func asked(e *data.Example) (prompt, wanted []int32) {
	if e.Source != nil {
		return e.Source, e.IDs[1:]
	}
	prompt = e.Prompt()
	return prompt, e.IDs[len(prompt):]
}

// defaultTexts is how many texts are written and scored where the recipe does not say it.
const defaultTexts = 100

// settleTexts settles how texts are written and how many are scored. The recipe keeps both.
func (p *plan) settleTexts(context.Context, func(string)) (err error) {
	if !writes(p.task.Head) {
		if p.recipe.Eval.Generate > 0 {
			return usagef("eval.generate is %d, but model.task %q writes no texts", p.recipe.Eval.Generate, p.task.Name)
		}
		return nil
	}
	if p.base.reads() && !p.recipe.Given("eval.generate") {
		p.recipe.Eval.Generate = defaultTexts
	}
	p.options, p.notes, err = p.base.generation(&p.recipe.Generate, nil, func(key string) bool { return p.recipe.Given("generate." + key) })
	if err == nil && p.recipe.Eval.Generate > 0 {
		err = p.options.Validate()
	}
	return err
}
