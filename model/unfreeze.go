package model

import (
	"iter"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// Unfreeze makes every weight trainable, as a float32 copy: the method "full". Tied weights stay one.
func (m *Model) Unfreeze() { m.UnfreezeSome(func(string) bool { return true }) }

// UnfreezeSome makes the weights trainable whose names in the checkpoint are wanted. The bias of a projection becomes trainable
// with its weight.
func (m *Model) UnfreezeSome(wanted func(name string) bool) {
	for s := range m.Slots() {
		tied := s == m.Top.Out && s.Tied
		switch {
		case tied && m.unfreezeTied(s, wanted):
		case !tied && wanted(s.Param("weight")):
			t := layer.NewTrainable(s.Base)
			if s.Kind == layer.Embedding {
				s.Lookup = t
			} else {
				s.Projection = t
			}
		case s.Base.Bias != nil && wanted(s.Param("bias")):
			s.Projection = layer.NewBiased(s.Base)
		}
	}
	for _, v := range m.Vectors() {
		if wanted(v.Name) {
			*v.Vector = *layer.NewTrainableVector(v.Value)
		}
	}
}

// unfreezeTied has the head share the embedding, if that is trained.
func (m *Model) unfreezeTied(head *layer.Slot, wanted func(name string) bool) bool {
	_, trained := m.Stem.Tokens.Lookup.(*layer.Trainable)
	if trained {
		head.Projection = m.tiedHead()
	}
	return trained
}

// tiedHead is the trainable embedding as a projection; a bias is the head's own.
func (m *Model) tiedHead() *layer.Trainable {
	t := *m.Stem.Tokens.Lookup.(*layer.Trainable)
	if b := m.Top.Out.Base.Bias; b != nil {
		t.Bias = layer.NewTrainableVector(b)
	}
	return &t
}

// Params yields the trainable weights of the model itself by their names in the checkpoint: all after Unfreeze.
func (m *Model) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for s := range m.Slots() {
			tied := s == m.Top.Out && s.Tied // the weight is the embedding's
			var list iter.Seq2[string, *nn.Param]
			if s.Kind == layer.Embedding {
				list = s.Lookup.Params()
			} else {
				list = s.Projection.Params()
			}
			for name, p := range list {
				if !(tied && name == "weight") && !yield(s.Param(name), p) {
					return
				}
			}
		}
		for _, v := range m.Vectors() {
			if v.Param != nil && !yield(v.Name, v.Param) {
				return
			}
		}
	}
}

// Weight is a matrix or a vector as it is now.
type Weight struct {
	Shape []int
	Row   func(dst []float32, i int) // row i; a vector is one row
}

// Weights yields all weights by their names in the checkpoint, trained, frozen or constant. Tied ones come once.
func (m *Model) Weights() iter.Seq2[string, Weight] {
	trained := map[string]*nn.Param{}
	for name, p := range m.Params() {
		trained[name] = p
	}
	return func(yield func(string, Weight) bool) {
		for s := range m.Slots() {
			if tied := s == m.Top.Out && s.Tied; !tied {
				frozen := Weight{[]int{s.Base.W.Rows, s.Base.W.Cols}, s.Base.W.Row}
				if !yield(s.Param("weight"), frozen.or(trained[s.Param("weight")])) {
					return
				}
			}
			if b := s.Base.Bias; b != nil && !yield(s.Param("bias"), vectorWeight(b).or(trained[s.Param("bias")])) {
				return
			}
		}
		for _, v := range m.Vectors() {
			if !yield(v.Name, vectorWeight(v.Value).or(v.Param)) {
				return
			}
		}
		for _, c := range m.Constants() {
			if !yield(c.Name, Weight{c.Shape, func(dst []float32, _ int) { copy(dst, c.Value) }}) {
				return
			}
		}
	}
}

func vectorWeight(v []float32) Weight {
	return Weight{[]int{len(v)}, func(dst []float32, _ int) { copy(dst, v) }}
}

// or is the parameter, if there is one.
func (w Weight) or(p *nn.Param) Weight {
	if p == nil {
		return w
	}
	values, cols := kernel.NewMat(op.Data(p), 1, len(op.Data(p))), len(op.Data(p))
	if w.Shape = op.FileShape(p); len(w.Shape) == 2 {
		values, cols = kernel.NewMat(op.Data(p), w.Shape[0], w.Shape[1]), w.Shape[1]
	}
	w.Row = func(dst []float32, i int) { copy(dst[:cols], values.Row(i)) }
	return w
}
