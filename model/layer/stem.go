package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Stem is where a model begins: it turns tokens into the first hidden states.
//
//	x = Widen(Norm(Project(scale·tokens[id]) + positions[position + Offset] + types[type]))
//
// Rows of a prompt take the place of scale·tokens[id].
type Stem struct {
	Tokens    *Slot
	Scale     float32
	ScaleRows bool       // Scale is also of a prompt's rows, as in models that scale outside the embedding
	Project   *Slot      // from the embedding's width to the model's; nil = they are the same
	Positions *Slot      // learned absolute positions, or nil
	Offset    int        // of the row of position 0
	Sinusoids *Sinusoids // positions that are not learned, or nil
	Types     *Slot      // token types, or nil
	Norm      *Norm
	Widen     *Slot // from the width of all the above to the model's; nil = they are the same
	// After, if set, changes what the norm gave. A method sets it, and nil when it is done.
	After func(p *op.Pass, x mat.Tensor) mat.Tensor
}

// Width is the number of columns of what the norm gives.
func (s *Stem) Width() int {
	if s.Widen != nil {
		in, _ := s.Widen.Dims()
		return in
	}
	if s.Project != nil {
		_, out := s.Project.Dims()
		return out
	}
	_, dim := s.Tokens.Lookup.Size()
	return dim
}

// Forward returns the hidden states [T, C] of tokens [T]. With rows, by segment, to put before them, g is the pass that has these
// rows, too; else it is p.
func (s *Stem) Forward(p, g *op.Pass, tokens []int32, rows []mat.Tensor) mat.Tensor {
	words := op.Rows{Table: s.Tokens.Table(), IDs: tokens}
	var x mat.Tensor
	switch more := s.more(g); {
	case rows != nil:
		return s.ForwardWords(p, g, op.EmbedSum(p, s.Scale, words), rows)
	case s.Project == nil:
		x = op.EmbedSum(p, s.Scale, words, more...)
	case len(more) == 0:
		x = op.Project(p, op.EmbedSum(p, s.Scale, words), s.Project)
	default:
		x = op.ProjectAdd(p, op.EmbedSum(p, s.Scale, words), s.Project, op.LookUp(p, more[0], more[1:]...))
	}
	return s.finish(g, x)
}

// ForwardWords is Forward of scale·tokens[id] [T, EmbedDim], with the rows to put before it or without.
func (s *Stem) ForwardWords(p, g *op.Pass, x mat.Tensor, rows []mat.Tensor) mat.Tensor {
	if rows != nil {
		x = op.Insert(p, x, rows, s.RowScale())
	}
	if s.Project != nil {
		x = op.Project(g, x, s.Project)
	}
	if more := s.more(g); len(more) > 0 {
		x = op.Add(g, x, op.LookUp(g, more[0], more[1:]...), 1)
	}
	return s.finish(g, x)
}

// finish is what comes after the sum.
func (s *Stem) finish(g *op.Pass, x mat.Tensor) mat.Tensor {
	x = s.Norm.apply(g, x)
	if s.After != nil {
		x = s.After(g, x)
	}
	if routedAt(g, s) {
		x = op.Reroute(g, x, func(own *op.Group, take func(x mat.Tensor) mat.Tensor) mat.Tensor {
			f, ok := own.At(s).(func(p *op.Pass, x mat.Tensor) mat.Tensor)
			if !ok {
				return nil
			}
			return f(own.Alone(), take(x))
		})
	}
	if s.Widen != nil {
		x = op.Project(g, x, s.Widen)
	}
	return x
}

// more are the rows beside the tokens'.
func (s *Stem) more(p *op.Pass) (list []op.Rows) {
	if s.Positions != nil {
		list = append(list, s.places(p))
	}
	if s.Sinusoids != nil {
		list = append(list, op.Rows{Table: s.Sinusoids, IDs: p.Positions})
	}
	if s.Types != nil {
		ids := p.Types
		if ids == nil {
			ids = make([]int32, p.Rows())
		}
		list = append(list, op.Rows{Table: s.Types.Table(), IDs: ids})
	}
	return list
}

// RowScale is what a prompt's rows are multiplied by.
func (s *Stem) RowScale() float32 {
	if s.ScaleRows {
		return s.Scale
	}
	return 1
}

// places are the rows of the learned positions.
func (s *Stem) places(p *op.Pass) op.Rows {
	ids := make([]int32, len(p.Positions))
	for i, at := range p.Positions {
		ids[i] = at + int32(s.Offset)
	}
	return op.Rows{Table: s.Positions.Table(), IDs: ids}
}

// Slots lists the stem's tables and projections.
func (s *Stem) Slots() (list []*Slot) {
	for _, x := range []*Slot{s.Tokens, s.Positions, s.Types, s.Project, s.Widen} {
		if x != nil {
			list = append(list, x)
		}
	}
	return list
}
