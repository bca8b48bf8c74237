package model

import (
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model/layer"
)

// Quantise keeps the weights of all projections but the head's in I8, NF4 or Lossless, in memory of the model's own, and reads embeddings,
// norms, biases and the head as before: what bitsandbytes does to a model. Weights that Lossless does not make smaller stay where they are. Nothing may be attached to it yet. It returns how many
// bytes of the checkpoint are not read any more.
func (m *Model) Quantise(d kernel.DType) (spared int64) {
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
			if done[w] != w {
				spared += w.Bytes()
			}
		}
		s.Base.W = done[w]
	}
	return spared
}

// Round has products in bf16 read weights that were rounded once, in memory of the model's own, where the checkpoint holds float32 or
// float16 (see kernel.Frozen.Round). Embeddings, and what methods make of weights, are read as stored. Nothing may pass meanwhile. It
// returns how many bytes of the checkpoint products do not read any more, and calls after when it has read a weight.
func (m *Model) Round(after func()) (spared int64) {
	for s := range m.Slots() {
		if s.Kind != layer.Embedding {
			spared += s.Base.W.Round()
			after()
		}
	}
	return spared
}

// QuantiseHead keeps the output projection as well in I8, NF4 or Lossless, in memory of the model's own, as llama.cpp does; an embedding that shares its weight
// stays as it is. It returns how many bytes of the checkpoint are not read any more.
func (m *Model) QuantiseHead(d kernel.DType) (spared int64) {
	if head := m.Head(); head != nil {
		w := head.Base.W.Quantise(d)
		if w == head.Base.W {
			return 0
		}
		spared = head.Base.W.Bytes()
		head.Base = &layer.Frozen{W: w, Bias: head.Base.Bias, Transposed: head.Base.Transposed}
		head.Projection = head.Base
	}
	return spared
}
