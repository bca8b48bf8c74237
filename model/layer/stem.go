package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Stem is where a model begins: it turns tokens into the first hidden states.
//
//	x = Norm(Project(scale·tokens[id]) + positions[position + Offset])
type Stem struct {
	Tokens    *Slot
	Scale     float32
	Project   *Slot // from the embedding's width to the model's; nil = they are the same
	Positions *Slot // learned absolute positions, or nil
	Offset    int   // of the row of position 0
	Norm      *Norm
}

// Forward returns the hidden states [T, C] of tokens [T].
func (s *Stem) Forward(p *op.Pass, tokens []int32) mat.Tensor {
	words := op.Rows{Table: s.Tokens.Lookup, IDs: tokens}
	var x mat.Tensor
	switch {
	case s.Positions == nil && s.Project == nil:
		x = op.EmbedSum(p, s.Scale, words)
	case s.Positions == nil:
		x = op.Project(p, op.EmbedSum(p, s.Scale, words), s.Project)
	case s.Project == nil:
		x = op.EmbedSum(p, s.Scale, words, s.places(p))
	default:
		at := s.places(p)
		x = op.ProjectAdd(p, op.EmbedSum(p, s.Scale, words), s.Project, op.Embed(p, at.Table, at.IDs))
	}
	return s.Norm.apply(p, x)
}

// places are the rows of the learned positions.
func (s *Stem) places(p *op.Pass) op.Rows {
	ids := make([]int32, len(p.Positions))
	for i, at := range p.Positions {
		ids[i] = at + int32(s.Offset)
	}
	return op.Rows{Table: s.Positions.Lookup, IDs: ids}
}

// Slots lists the stem's tables and projection.
func (s *Stem) Slots() (list []*Slot) {
	for _, x := range []*Slot{s.Tokens, s.Positions, s.Project} {
		if x != nil {
			list = append(list, x)
		}
	}
	return list
}
