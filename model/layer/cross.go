package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// CrossAttention is the branch in which a decoder's rows look at those of an encoder. The pass's memory holds the keys and values
// of all layers: Remember makes it.
type CrossAttention struct {
	op.AttentionSpec
	Query, Key, Value, Output *Slot
}

// Mix implements Branch.
func (l *CrossAttention) Mix(p *op.Pass, h mat.Tensor, _ []op.Angles) (mat.Tensor, op.Projection) {
	return op.Attention(p, op.Project(p, h, l.Query), l.AttentionSpec), l.Output // [T, C] -> [T, H·D]
}

// Slots implements Branch.
func (l *CrossAttention) Slots() []*Slot { return []*Slot{l.Query, l.Key, l.Value, l.Output} }

// Norms implements Branch: there are none.
func (l *CrossAttention) Norms() []*Norm { return nil }

// Remember passes the rows of an encoder [S, C] through the key and value projections of all layers that look at them: the memory
// [S, L·2·K·D] of op.Pass. It is one operator, so that no value is read by many.
func Remember(p *op.Pass, x mat.Tensor, blocks []*Block) mat.Tensor {
	var list []op.Projection
	for _, b := range blocks {
		list = append(list, b.Cross.Key, b.Cross.Value)
	}
	return op.Project(p, x, list...)
}
