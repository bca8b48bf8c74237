package model

import (
	"fmt"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/mat"
)

// read passes a pass's source through the encoder. It returns the pass with its memory of the source and the embedded tokens; or
// the pass itself and nil where a cache has the memory.
//
// Both stacks look their tokens up in one table, and do so in one operator: two would add to the table's gradient in no fixed order.
func (m *Model) read(p *op.Pass, tokens []int32, list []layer.Prompt) (*op.Pass, mat.Tensor) {
	if p.Cache != nil {
		return p, nil
	}
	if p.Source == nil {
		panic(fmt.Sprintf("model: %s passes %d tokens without a source for its encoder", m.Config.ModelType, len(tokens)))
	}
	src := p.Source
	n := len(src.Tokens)
	both := *p.Unrouted()
	both.Segments, both.Positions, both.Types = sourceSegments(p), slices.Concat(src.Positions, p.Positions), nil
	for _, s := range p.Segments {
		both.Segments = append(both.Segments, op.Segment{Start: s.Start + n, End: s.End + n, Adapter: s.Adapter})
	}
	all := op.EmbedSum(both.RoutedAs(p), m.Stem.Scale, op.Rows{Table: m.Stem.Tokens.Table(), IDs: slices.Concat(src.Tokens, tokens)})
	words := op.Take(p, all, rowRange(n, n+len(tokens)))
	next := *p
	next.Memory, next.Sources = m.remember(p, op.Take(p, all, rowRange(0, n)), list, words)
	return &next, words
}

// remember passes embedded source tokens [S, C] through the encoder, behind the rows of their prompts, and on to what the decoder
// sees of them; and says which rows of that are whose.
func (m *Model) remember(p *op.Pass, words mat.Tensor, list []layer.Prompt, keep mat.Tensor) (mat.Tensor, []op.Segment) {
	q := *p.Unrouted()
	q.Segments, q.Positions, q.Source, q.Types = sourceSegments(p), p.Source.Positions, nil, nil
	q.RoutedAs(p)
	g := grow(&q, withoutKeyValues(list))
	kept := []mat.Tensor{keep}
	for _, x := range list {
		kept = append(kept, x.KeyValues)
	}
	x := g.embed(func(g *op.Pass, rows []mat.Tensor) mat.Tensor { return m.Encoder.Stem.ForwardWords(&q, g, words, rows) })
	x = m.Encoder.through(g.Pass, x, nil, kept...)
	x = m.Encoder.end(g.Pass, x)
	m.Encoder.trace(len(m.Encoder.Blocks), x)
	return layer.Remember(g.Pass, x, m.Blocks), g.Segments
}

// Encode passes a pass's source through the encoder and gives, by text, what a cache remembers of it, in memory of its own.
func (m *Model) Encode(p *op.Pass) []kernel.Mat {
	q := *p.Unrouted()
	q.Segments, q.Positions = sourceSegments(p), p.Source.Positions
	q.RoutedAs(p)
	words := op.EmbedSum(&q, m.Stem.Scale, op.Rows{Table: m.Stem.Tokens.Table(), IDs: p.Source.Tokens})
	memory, segments := m.remember(&q, words, m.prompts(&q), nil)
	list := make([]kernel.Mat, len(segments))
	for i, s := range segments {
		x := op.Of(memory).View().RowRange(s.Start, s.End)
		list[i] = kernel.NewMat(slices.Clone(x.Data[:x.Rows*x.Cols]), x.Rows, x.Cols)
	}
	return list
}

// sourceSegments are those of a pass's source, each with the adapter of the segment that it is for.
func sourceSegments(p *op.Pass) []op.Segment {
	list := slices.Clone(p.Source.Segments)
	for i := range list {
		if i < len(p.Segments) {
			list[i].Adapter = p.Segments[i].Adapter
		}
	}
	return list
}

// rowRange lists the numbers of rows.
func rowRange(from, to int) []int {
	rows := make([]int, to-from)
	for i := range rows {
		rows[i] = from + i
	}
	return rows
}

// withoutRows and withoutKeyValues are prompts of one kind only.
func withoutRows(list []layer.Prompt) []layer.Prompt {
	list = slices.Clone(list)
	for i := range list {
		list[i].Rows = nil
	}
	return list
}

func withoutKeyValues(list []layer.Prompt) []layer.Prompt {
	list = slices.Clone(list)
	for i := range list {
		list[i].KeyValues = nil
	}
	return list
}

// CheckSource reports a source that the encoder cannot read, one that is missing for the segments, or one that nobody reads.
func (m *Model) CheckSource(src *op.Source, segments int) error {
	switch {
	case m.Encoder == nil && src == nil:
		return nil
	case m.Encoder == nil:
		return fmt.Errorf("model: %s has no encoder that could read a source", m.Config.ModelType)
	case src == nil:
		return fmt.Errorf("model: %s reads a source, the batch has none", m.Config.ModelType)
	case len(src.Segments) != segments:
		return fmt.Errorf("model: %d sources for %d sequences", len(src.Segments), segments)
	}
	if err := m.CheckTokens(src.Tokens); err != nil {
		return fmt.Errorf("%w, in the source", err)
	}
	if err := m.checkPositions(src.Positions, m.numVirtual(true)); err != nil {
		return fmt.Errorf("%w, in the source", err)
	}
	return nil
}
