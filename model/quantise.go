package model

import (
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model/layer"
)

// Quantise keeps the weights of all projections but the head's in I8 or NF4, in memory of the model's own, and reads embeddings,
// norms, biases and the head as before: what bitsandbytes does to a model. Nothing may be attached to it yet.
func (m *Model) Quantise(d kernel.DType) {
	head := map[*layer.Slot]bool{}
	for _, s := range m.Top.Slots() {
		head[s] = true
	}
	done := map[*kernel.Frozen]*kernel.Frozen{} // layers may share weights
	for s := range m.Slots() {
		if head[s] || s.Kind != layer.Linear && s.Kind != layer.Conv1D {
			continue
		}
		w := s.Base.W
		if done[w] == nil {
			done[w] = w.Quantise(d)
			done[done[w]] = done[w]
		}
		s.Base.W = done[w]
	}
}

// QuantiseHead keeps the output projection in I8 or NF4 as well, in memory of the model's own, as llama.cpp does; an embedding that shares its weight
// stays as it is.
func (m *Model) QuantiseHead(d kernel.DType) {
	if head := m.Head(); head != nil {
		head.Base = &layer.Frozen{W: head.Base.W.Quantise(d), Bias: head.Base.Bias, Transposed: head.Base.Transposed}
		head.Projection = head.Base
	}
}
