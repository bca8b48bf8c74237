package model

import "github.com/graft-ml/graft/model/layer"

// Shares says that texts of a batch may share what they begin with (op.Segment.After): each row is made of those before it in its
// text, by attention alone, and no method puts anything before a text or looks at one as a whole.
func (m *Model) Shares() bool {
	if m.Encoder != nil || m.prompter != nil || m.Conv != nil {
		return false
	}
	for _, b := range m.Blocks {
		l, ok := b.Attention.(*layer.Attention)
		if !ok || !l.Causal || l.Table != nil || l.Beside != nil || l.Gate != nil || b.AttentionEnd != nil || b.MLPEnd != nil {
			return false
		}
	}
	for s := range m.Slots() {
		if s.Kind != layer.Embedding && !layer.ByRow(s.Projection) {
			return false
		}
	}
	return true
}
