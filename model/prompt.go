package model

import (
	"fmt"
	"slices"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/mat"
)

// PromptShape implements layer.Prompted.
func (m *Model) PromptShape() layer.PromptShape {
	c := m.Config
	_, dim := m.Stem.Tokens.Lookup.Size()
	return layer.PromptShape{Stacks: len(m.stacks()), Layers: len(m.Blocks), Heads: c.NumAttentionHeads, KeyValueHeads: c.NumKeyValueHeads, HeadDim: c.HeadDim,
		HiddenSize: c.HiddenSize, EmbedDim: dim, VocabSize: c.VocabSize, MaxPositions: c.MaxPositionEmbeddings}
}

// Prompter implements layer.Prompted.
func (m *Model) Prompter() layer.Prompter { return m.prompter }

// SetPrompter implements layer.Prompted.
func (m *Model) SetPrompter(x layer.Prompter) { m.prompter = x }

// InputEmbedding implements layer.Prompted.
func (m *Model) InputEmbedding(dst []float32, id int) {
	m.Stem.Tokens.Base.W.Row(dst, id)
	for i := range dst {
		dst[i] *= m.Stem.Scale / m.Stem.RowScale()
	}
}

// Attentions implements layer.Prompted.
func (m *Model) Attentions() (list []*layer.Attention) {
	for _, b := range m.Blocks {
		if l, ok := b.Attention.(*layer.Attention); ok {
			list = append(list, l)
		}
	}
	return list
}

// Layers implements layer.Layered.
func (m *Model) Layers() []*layer.Block { return m.Blocks }

// Beginning implements layer.Layered.
func (m *Model) Beginning() *layer.Stem { return &m.Stem }

// numVirtual is how many virtual tokens may come before a text, or before a source. Of two stacks the encoder has those that are rows.
func (m *Model) numVirtual(source bool) int {
	if m.prompter == nil || m.Encoder != nil && m.prompter.Leads() != source {
		return 0
	}
	return m.prompter.NumVirtualTokens()
}

// MaxTokens is the longest text that the model was made for, or source if it reads one: virtual tokens take positions, too.
func (m *Model) MaxTokens() int {
	return m.Config.MaxPositionEmbeddings - m.numVirtual(m.Encoder != nil)
}

// grown is a pass with what comes before its segments: positions moved up by the virtual tokens, segments grown by rows.
type grown struct {
	*op.Pass              // with all virtual rows; the pass itself without prompts
	inner    *op.Pass     // with those that go into the embedding
	into     []mat.Tensor // by segment the rows that go into the embedding, nil for none
	behind   []mat.Tensor // and those that come behind it
}

// grow adds prompts to a pass.
func grow(p *op.Pass, list []layer.Prompt) grown {
	if list == nil {
		return grown{Pass: p, inner: p}
	}
	outer, inner := bare(p), bare(p)
	g := grown{Pass: outer, inner: inner, into: make([]mat.Tensor, len(list)), behind: make([]mat.Tensor, len(list))}
	for i, x := range list {
		rows := numTokens(x.Rows)
		moved := x.Moves(rows, numTokens(x.KeyValues))
		if p.Cache != nil {
			moved = p.Cache.Moved(p.Segments[i].Sequence)
		}
		growSegment(outer, p, i, rows, moved)
		if x.Still {
			g.behind[i], rows = x.Rows, 0
		} else {
			g.into[i] = x.Rows
		}
		growSegment(inner, p, i, rows, moved)
		outer.Prefixes = append(outer.Prefixes, x.KeyValues)
	}
	outer.RoutedAs(p)
	inner.RoutedAs(p)
	g.into, g.behind = orNone(g.into), orNone(g.behind)
	return g
}

// bare is the pass without rows.
func bare(p *op.Pass) *op.Pass {
	q := *p.Unrouted()
	q.Segments, q.Positions, q.Types, q.Prefixes = nil, nil, nil, nil
	return &q
}

// orNone is nil for a list of nothing.
func orNone(list []mat.Tensor) []mat.Tensor {
	if slices.ContainsFunc(list, func(x mat.Tensor) bool { return x != nil }) {
		return list
	}
	return nil
}

// virtual says that virtual tokens are among the rows.
func (g *grown) virtual() bool { return g.into != nil || g.behind != nil }

// embed puts the rows where they go; stem makes the hidden states of a pass with the rows that go into the embedding.
func (g *grown) embed(stem func(g *op.Pass, rows []mat.Tensor) mat.Tensor) mat.Tensor {
	x := stem(g.inner, g.into)
	if g.behind != nil {
		x = op.Insert(g.inner, x, g.behind, 1)
	}
	return x
}

// prompted says that something comes before a text of the pass.
func (m *Model) prompted(p *op.Pass) bool {
	for range p.At(layer.Prompts{}) {
		return true
	}
	return m.prompter != nil
}

// ask asks what comes before each segment.
func (m *Model) ask(p *op.Pass) []layer.Prompt {
	if m.prompter != nil {
		return m.prompter.Prompts(p)
	}
	list := make([]layer.Prompt, len(p.Segments))
	for g, x := range p.At(layer.Prompts{}) {
		theirs := x.(layer.Prompter).Prompts(p.Unrouted())
		for i, s := range p.Segments {
			if g.Of(s) {
				list[i] = theirs[i]
			}
		}
	}
	return list
}

// growSegment appends segment i of p to the grown pass, behind so many rows and with its positions moved.
func growSegment(grown, p *op.Pass, i, rows, moved int) {
	seg := p.Segments[i]
	start := len(grown.Positions)
	for j := range rows {
		grown.Positions = append(grown.Positions, int32(max(0, moved-rows)+j))
	}
	for _, at := range p.Positions[seg.Start:seg.End] {
		grown.Positions = append(grown.Positions, at+int32(moved))
	}
	if p.Types != nil { // of virtual tokens 0
		grown.Types = append(append(grown.Types, make([]int32, rows)...), p.Types[seg.Start:seg.End]...)
	}
	seg.Start, seg.End = start, len(grown.Positions)
	grown.Segments = append(grown.Segments, seg)
}

// prompts asks for the prompts, nil without a method that has some. A sequence of the cache gets its own when it begins; later rows
// find it there.
func (m *Model) prompts(p *op.Pass) []layer.Prompt {
	if !m.prompted(p) {
		return nil
	}
	starts := p.Cache == nil
	for _, seg := range p.Segments {
		starts = starts || p.Cache.Len(seg.Sequence) == 0
	}
	if !starts {
		return make([]layer.Prompt, len(p.Segments))
	}
	list := m.ask(p)
	if p.Cache == nil {
		return list
	}
	if m.Encoder != nil { // which had the rows
		list = withoutRows(list)
	}
	for i, seg := range p.Segments {
		if p.Cache.Len(seg.Sequence) == 0 {
			rows := numTokens(list[i].Rows)
			p.Cache.Begin(seg.Sequence, rows, list[i].Moves(rows, numTokens(list[i].KeyValues)))
		} else {
			list[i] = layer.Prompt{}
		}
	}
	return list
}

// numTokens is the number of rows of a value, 0 for none.
func numTokens(x mat.Tensor) int {
	if x == nil {
		return 0
	}
	return op.Of(x).View().Rows
}

// own lists the rows of a grown pass that are of the pass itself, and the segments that begin with virtual rows, with the last of
// these.
//
// first says that of each segment's rows the first is read as that of the text with its prompt, as a pooler has it.
func own(p, g *op.Pass, first bool) (rows, led, last []int) {
	for i, seg := range g.Segments {
		n := p.Segments[i].End - p.Segments[i].Start
		at := len(rows)
		for t := seg.End - n; t < seg.End; t++ {
			rows = append(rows, t)
		}
		if first && n > 0 {
			rows[at] = seg.Start
		}
		if seg.End-n > seg.Start {
			led, last = append(led, i), append(last, seg.End-n-1)
		}
	}
	return rows, led, last
}

// Leads says that a method puts virtual tokens before every text that pass through the layers: HiddenLed then leads.
func (m *Model) Leads() bool { return m.Encoder == nil && m.prompter != nil && m.prompter.Leads() }

// CheckRoutes reports adapters of another model, and a segment of a routed pass that its adapter's virtual tokens move beyond the
// positions that the model has learned.
func (m *Model) CheckRoutes(p *op.Pass) error {
	if err := m.routable(p); err != nil {
		return err
	}
	if m.Stem.Positions == nil {
		return nil
	}
	for g, x := range p.At(layer.Prompts{}) {
		virtual := x.(layer.Prompter).NumVirtualTokens()
		for i, s := range p.Segments {
			if s.End == s.Start {
				continue
			}
			if last := p.Positions[s.End-1]; g.Of(s) && int(last)+virtual >= m.Config.MaxPositionEmbeddings {
				return fmt.Errorf("model: segment %d ends at position %d behind %d virtual tokens, want less than %s %d together", i, last, virtual,
					m.Config.key("max_position_embeddings"), m.Config.MaxPositionEmbeddings)
			}
		}
	}
	return nil
}

// CheckPositions reports a position that the model has learned nothing for. Rotary and ALiBi positions have no end.
func (m *Model) CheckPositions(positions []int32) error {
	return m.checkPositions(positions, m.numVirtual(false))
}

func (m *Model) checkPositions(positions []int32, virtual int) error {
	for i, at := range positions {
		if m.Stem.Positions != nil && (at < 0 || int(at) >= m.Config.MaxPositionEmbeddings-virtual) {
			after := ""
			if virtual > 0 {
				after = fmt.Sprintf(" - %d virtual tokens", virtual)
			}
			return fmt.Errorf("model: position %d at %d, want 0 to %s %d%s - 1", at, i, m.Config.key("max_position_embeddings"), m.Config.MaxPositionEmbeddings, after)
		}
	}
	return nil
}
