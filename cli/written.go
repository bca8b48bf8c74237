package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/report"
)

// writtenAtOnce is how many texts are continued in one batch: it bounds the cache.
const writtenAtOnce = 16

// written has the model as it is now write texts for the first held-out rows; nil if the recipe wants none.
func (p *plan) written(ctx context.Context) (*report.Texts, error) {
	if p.recipe.Eval.Generate == 0 {
		return nil, nil
	}
	t := &report.Texts{}
	for e := range p.writable() {
		prompt, _ := asked(e)
		t.Prompts, t.Wanted = append(t.Prompts, p.base.tok.Decode(prompt, true)), append(t.Wanted, p.wanted(e))
	}
	if len(t.Prompts) == 0 {
		return nil, usagef("eval.generate is %d, but no held-out row has both a prompt and what should be written", p.recipe.Eval.Generate)
	}
	var err error
	t.Tuned, err = p.writeAll(ctx, p.base)
	return t, err
}

// writable yields the held-out examples for which texts are written: those with a prompt.
func (p *plan) writable() func(yield func(*data.Example) bool) {
	return func(yield func(*data.Example) bool) {
		n := 0
		for i := range p.eval {
			e := &p.eval[i]
			prompt, _ := asked(e)
			if e.Source == nil && len(prompt) < 2 || strings.TrimSpace(p.wanted(e)[0]) == "" { // all of the text is the target
				continue
			}
			if n++; n > p.recipe.Eval.Generate || !yield(e) {
				return
			}
		}
	}
}

// wanted are the right texts for an example: those of its row, or its first target.
func (p *plan) wanted(e *data.Example) []string {
	if e.Origin != nil && len(e.Origin.Golds) > 0 {
		return e.Origin.Golds
	}
	_, ids := asked(e)
	if e.Source == nil && len(e.Loss) > 0 {
		ids = e.IDs[max(e.Loss[0].Start, 1):e.Loss[0].End]
	}
	return []string{strings.TrimSpace(p.base.tok.Decode(ids, true))}
}

// writeAll has a model write all texts.
func (p *plan) writeAll(ctx context.Context, b *base) (list []string, err error) {
	var prompts [][]int32
	for e := range p.writable() {
		prompt, _ := asked(e)
		prompts = append(prompts, prompt)
	}
	for some := range slices.Chunk(prompts, writtenAtOnce) {
		out, err := b.write(ctx, some, p.options, nil)
		if err != nil {
			return nil, err
		}
		for _, ids := range out {
			list = append(list, strings.TrimSpace(cut(p.base.tok.Decode(ids, true), p.recipe.Generate.Stop)))
		}
	}
	return list, nil
}
