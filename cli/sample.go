package cli

import (
	"context"
	"strings"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/tokenizer"
)

// sample is a continued prompt.
type sample struct {
	Prompt string `json:"prompt"`
	Wanted string `json:"wanted,omitempty"`
	Text   string `json:"text"`
}

// samples continues the recipe's prompts with the model as it is now.
func (p *plan) samples(ctx context.Context, v *progress) ([]sample, error) {
	var list []sample
	var prompts [][]int32
	tok := p.base.tok
	for i := range min(p.recipe.Eval.Samples, len(p.eval)) {
		e := &p.eval[i]
		prompt := e.Prompt()
		list = append(list, sample{Prompt: oneLine(tok.Decode(prompt, true)), Wanted: oneLine(tok.Decode(e.IDs[len(prompt):], true))})
		prompts = append(prompts, prompt)
	}
	for _, text := range p.recipe.Eval.Prompts {
		list = append(list, sample{Prompt: oneLine(text)})
		prompts = append(prompts, tok.Encode(text, true).IDs)
	}
	if len(list) == 0 {
		return nil, nil
	}
	v.stage("continuing prompts")
	o := options(p.recipe.Generate, p.base)
	out, err := generate.Tokens(ctx, generate.NewSession(p.base.model, p.base.mode), prompts, o, nil)
	v.end()
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Text = oneLine(cut(tok.Decode(out[i], true), p.recipe.Generate.Stop))
	}
	return list, nil
}

func oneLine(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\n", "⏎")) }

// cut ends a text at the first of the stop strings.
func cut(s string, stop []string) string {
	for _, w := range stop {
		if i := strings.Index(s, w); i >= 0 && w != "" {
			s = s[:i]
		}
	}
	return s
}

// options turns the recipe's section into generate's own, with the end tokens of the model, if there is one.
func options(g recipes.Generate, b *base) generate.Options {
	o := generate.Options{MaxNewTokens: g.MaxNewTokens, Temperature: g.Temperature, TopK: g.TopK, TopP: g.TopP, MinP: g.MinP,
		RepetitionPenalty: g.RepetitionPenalty, NoRepeatNgram: g.NoRepeatNgram, NumBeams: g.NumBeams, LengthPenalty: g.LengthPenalty, Seed: g.Seed}
	if b != nil {
		o.EOS = endTokens(b)
	}
	return o
}

// endTokens are the tokens that end a text: config.json's and the tokenizer's.
func endTokens(b *base) (ids []int32) {
	ids = append(ids, b.model.Config.EOSTokenID...)
	if b.tok != nil {
		if id, ok := b.tok.EOS(); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// streamer prints a text as its tokens come, and stops at a stop string.
type streamer struct {
	d     *tokenizer.Decoder
	stop  []string
	print func(string)
	text  string
	sent  int
}

// next takes a token; false means a stop string was reached.
func (s *streamer) next(id int32) bool {
	s.text += s.d.Next(id)
	return s.flush(false)
}

// flush prints what cannot become part of a stop string any more; at the end, everything.
func (s *streamer) flush(end bool) bool {
	if end {
		s.text += s.d.Flush()
	}
	if c := cut(s.text, s.stop); len(c) < len(s.text) {
		s.print(c[min(s.sent, len(c)):])
		s.sent = len(c)
		return false
	}
	hold := 0
	for _, w := range s.stop {
		for n := min(len(w)-1, len(s.text)); n > 0 && !end; n-- {
			if strings.HasSuffix(s.text, w[:n]) {
				hold = max(hold, n)
				break
			}
		}
	}
	if upto := len(s.text) - hold; upto > s.sent {
		s.print(s.text[s.sent:upto])
		s.sent = upto
	}
	return true
}
