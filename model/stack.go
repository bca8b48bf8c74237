package model

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/mat"
)

// Stack is a run of blocks with what lies before and behind them.
type Stack struct {
	Stem   layer.Stem
	Blocks []*layer.Block
	Conv   *layer.Conv // after the first block, or nil
	Norm   *layer.Norm // after the last, or nil
	ropes  []*op.Rope
	// Trace, if set, is shown the hidden states [T, C]: 0 after the embedding, i after block i; the last after the final norm.
	Trace func(i int, hidden []float32)
}

// through passes what the stem gave through the blocks; of the last hidden states only the rows read are wanted, nil = all. Without
// gradients wanted all else but keep is given back to the arena.
func (s *Stack) through(g *op.Pass, x mat.Tensor, read []int, keep ...mat.Tensor) mat.Tensor {
	g.Distances = nil
	a := make([]op.Angles, len(s.ropes))
	kept := [][]float32{nil}
	for _, k := range keep {
		if k != nil {
			kept = append(kept, op.Of(k).Values())
		}
	}
	for i, r := range s.ropes {
		a[i] = r.Angles(g)
		kept = append(kept, a[i].Cos.Data, a[i].Sin.Data)
	}
	for i, b := range s.Blocks {
		s.trace(i, x)
		switch {
		case i == 0 && s.Conv != nil:
			x = s.Conv.Forward(g, b.Forward(g, op.Fork(g, x), a), x)
		case i == len(s.Blocks)-1 && read != nil && b.ByRow():
			x = op.Spread(g, b.ForwardRows(g, x, a, read), read, g.Rows())
		case g.Recompute && s.Recomputes():
			x = op.Recompute(g, x, func(g *op.Pass, x mat.Tensor) mat.Tensor { return b.Forward(g, x, a) })
		default:
			x = b.Forward(g, x, a)
		}
		if !g.Grad {
			kept[0] = op.Of(x).Values()
			g.Arena.Reset(kept...)
		}
	}
	return x
}

// Recomputes says that Pass.Recompute has an effect: the blocks have nothing in common but what they read of each other.
func (s *Stack) Recomputes() bool {
	for _, b := range s.Blocks {
		l, ok := b.Attention.(*layer.Attention)
		if !ok || l.Table != nil || b.Cross != nil {
			return false
		}
	}
	return true
}

// end is the final norm.
func (s *Stack) end(p *op.Pass, x mat.Tensor) mat.Tensor {
	if s.Norm == nil {
		return x
	}
	return s.Norm.Apply(p, x)
}

func (s *Stack) trace(i int, x mat.Tensor) {
	if s.Trace != nil {
		s.Trace(i, op.Of(x).Values())
	}
}

func (s *Stack) slots() []*layer.Slot {
	list := s.Stem.Slots()
	for _, b := range s.Blocks {
		list = append(list, b.Slots()...)
	}
	return list
}

func (s *Stack) vectors() []layer.NamedVector {
	list := s.Stem.Norm.Vectors()
	for _, b := range s.Blocks {
		list = append(list, b.Vectors()...)
	}
	if s.Conv != nil {
		list = append(list, s.Conv.Norm.Vectors()...)
	}
	return append(list, s.Norm.Vectors()...)
}

// stacks are the model's, in the order of the forward pass.
func (m *Model) stacks() []*Stack {
	if m.Encoder != nil {
		return []*Stack{m.Encoder, &m.Stack}
	}
	return []*Stack{&m.Stack}
}
