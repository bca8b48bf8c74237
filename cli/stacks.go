package cli

import (
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
)

// sourceSlots are the projections that rows of sources pass: those of the encoder, and of the decoder's keys and values of what it
// looks at. The rows of targets pass the others.
func sourceSlots(m *model.Model) map[*layer.Slot]bool {
	list := map[*layer.Slot]bool{}
	if m.Encoder == nil {
		return list
	}
	for _, b := range m.Encoder.Blocks {
		for _, s := range b.Slots() {
			list[s] = true
		}
	}
	for _, b := range m.Blocks {
		if b.Cross != nil {
			list[b.Cross.Key], list[b.Cross.Value] = true, true
		}
	}
	return list
}

// passedWeights is Σ over an epoch's tokens of the weights that each passes, without those of the embedding and the head.
func (p *plan) passedWeights() (n float64) {
	c, st := p.base.model.Config, p.train.Stats()
	body := float64(p.numBase()) - float64(c.HiddenSize)*float64(c.VocabSize)
	sources := int64(0)
	for i := range p.train {
		sources += int64(len(p.train[i].Source))
	}
	reads := 0.0
	for s := range sourceSlots(p.base.model) {
		if s.Kind != layer.Embedding {
			reads += float64(s.Base.W.Rows) * float64(s.Base.W.Cols)
		}
	}
	return float64(sources)*reads + float64(st.Tokens-sources)*(body-reads)
}
