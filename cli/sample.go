package cli

import (
	"context"
	"strings"

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
		prompt, wanted := asked(&p.eval[i])
		list = append(list, sample{Prompt: oneLine(tok.Decode(prompt, true)), Wanted: oneLine(tok.Decode(wanted, true))})
		prompts = append(prompts, prompt)
	}
	further, err := p.prompts()
	if err != nil {
		return nil, err
	}
	for i, text := range p.recipe.Eval.Prompts {
		list = append(list, sample{Prompt: oneLine(text)})
		prompts = append(prompts, further[i])
	}
	if len(list) == 0 {
		return nil, nil
	}
	v.stage("continuing prompts")
	out, err := p.base.write(ctx, prompts, p.options, nil)
	v.end()
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Text = oneLine(cut(tok.Decode(out[i], true), p.recipe.Generate.Stop))
	}
	return list, nil
}

// prompts are the recipe's own, as the model reads them.
func (p *plan) prompts() (ids [][]int32, err error) {
	if p.base.reads() {
		return p.base.sources(p.recipe.Eval.Prompts, p.recipe)
	}
	for _, text := range p.recipe.Eval.Prompts {
		ids = append(ids, p.base.tok.Encode(text, true).IDs)
	}
	return ids, nil
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
