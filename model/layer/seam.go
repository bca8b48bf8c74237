package layer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Seam is one place of a model at which methods act. The seams of a model and of its views have one order, so that what was attached
// to a view can be found and put elsewhere.
type Seam struct {
	Name  string // for errors
	Place any    // by which overlays call it
	// Get is what is there, nil for nothing but what every view has, and Set puts it there.
	Get   func() any
	Set   func(x any)
	Alone bool // what is there can only be on a model of its own, not for some rows of a pass
	// Join makes one thing of what several adapters have there, in the order in which they lie over each other.
	Join func(list []Piece) (any, error)
}

// Piece is what one adapter has in a place, and how much of it counts: 0 is the model alone, 1 the adapter.
type Piece struct {
	Adapter string
	Has     any
	Scale   float32
}

// SlotSeam is that of a slot.
func SlotSeam(s *Slot) Seam {
	if s.Kind == Embedding {
		base := s.Lookup
		return Seam{Name: s.Name, Place: s, Join: func(list []Piece) (any, error) { return stackLookups(base, list) }, Set: func(x any) { s.Lookup = x.(op.Lookup) },
			Get: func() any {
				if _, plain := s.Lookup.(*Table); plain {
					return nil
				}
				return s.Lookup
			}}
	}
	base := s.Projection
	return Seam{Name: s.Name, Place: s, Join: func(list []Piece) (any, error) { return stackProjections(base, list) }, Set: func(x any) { s.Projection = x.(op.Projection) },
		Get: func() any {
			if s.Projection == op.Projection(s.Base) {
				return nil
			}
			return s.Projection
		}}
}

// VectorSeam is that of a norm's weight or bias.
func VectorSeam(v NamedVector) Seam {
	return Seam{Name: v.Name, Place: v.Vector, Set: func(x any) { *v.Vector = *x.(*op.Vector) },
		Get: func() any {
			if v.Param == nil {
				return nil
			}
			return &op.Vector{Value: v.Value, Param: v.Param}
		},
		Join: func(list []Piece) (any, error) {
			x, err := only(list)
			if err != nil || x.Scale == 1 {
				return x.Has, err
			}
			w := slices.Clone(v.Value)
			for i, to := range x.Has.(*op.Vector).Value {
				w[i] += x.Scale * (to - w[i])
			}
			return &op.Vector{Value: w}, nil
		}}
}

// Alone marks a seam whose things can only be on a model of their own.
func Alone(s Seam) Seam {
	s.Alone = true
	return s
}

// AlonePlace is where an overlay names a seam that keeps it on a model of its own.
type AlonePlace struct{}

// StemSeam is what changes the embedded rows.
func StemSeam(s *Stem) Seam {
	return Seam{Name: "the embedding", Place: s, Join: Unscaled, Set: func(x any) { s.After = x.(func(p *op.Pass, x mat.Tensor) mat.Tensor) },
		Get: func() any {
			if s.After == nil {
				return nil
			}
			return s.After
		}}
}

// BlockSeams are the ends of a layer's branches, what its attention finds beside its sequence, and the gate of its prefixes.
func BlockSeams(b *Block) (list []Seam) {
	for _, end := range []*End{&b.AttentionEnd, &b.MLPEnd} {
		list = append(list, Seam{Name: "the end of a branch", Place: end, Join: Unscaled, Set: func(x any) { *end = x.(End) },
			Get: func() any {
				if *end == nil {
					return nil
				}
				return *end
			}})
	}
	l, ok := b.Attention.(*Attention)
	if !ok {
		return list
	}
	list = append(list, Seam{Name: l.Output.Name, Place: l, Join: Unscaled, Set: func(x any) { l.Beside = x.(Beside) },
		Get: func() any {
			if l.Beside == nil {
				return nil
			}
			return l.Beside
		}})
	list = append(list, Alone(Seam{Name: "an attention without the prefix", Place: &l.Bare, Join: Unscaled, Set: func(x any) { l.Bare = x.(bool) },
		Get: func() any {
			if !l.Bare {
				return nil
			}
			return true
		}}))
	return append(list, Alone(Seam{Name: "a gate of prefixes", Place: &l.Gate, Join: Unscaled, Set: func(x any) { l.Gate = x.(func(p *op.Pass, h mat.Tensor) (mat.Tensor, int, mat.Tensor)) },
		Get: func() any {
			if l.Gate == nil {
				return nil
			}
			return l.Gate
		}}))
}

// Prompts is the place of what comes before a text.
type Prompts struct{}

// PromptSeam is what comes before a text.
func PromptSeam(m Prompted) Seam {
	return Seam{Name: "the virtual tokens", Place: Prompts{}, Join: Unscaled, Set: func(x any) { m.SetPrompter(x.(Prompter)) },
		Get: func() any {
			if m.Prompter() == nil {
				return nil
			}
			return m.Prompter()
		}}
}

// only is the one piece that a place may have.
func only(list []Piece) (Piece, error) {
	if len(list) > 1 {
		return Piece{}, fmt.Errorf("%q and %q both replace it, want one of them", list[0].Adapter, list[1].Adapter)
	}
	return list[0], nil
}

// Unscaled joins what can be there once and as it is.
func Unscaled(list []Piece) (any, error) {
	x, err := only(list)
	if err == nil && x.Scale != 1 {
		err = fmt.Errorf("%q has the scale %g, want 1: half of it is no such thing", x.Adapter, x.Scale)
	}
	return x.Has, err
}

// full reports a whole copy that would hide what lies beneath.
func full(list []Piece) error {
	var errs []error
	for i, x := range list {
		if i > 0 && owns(x.Has) {
			errs = append(errs, fmt.Errorf("%q replaces what %q changes, want %q first or alone", x.Adapter, list[i-1].Adapter, x.Adapter))
		}
	}
	return errors.Join(errs...)
}

// stackProjections lays projections over each other, each made over the base.
func stackProjections(base op.Projection, list []Piece) (any, error) {
	if err := full(list); err != nil {
		return nil, err
	}
	below := base
	for _, x := range list {
		q := x.Has.(op.Projection)
		if x.Scale != 1 {
			q = &blend{Projection: q, base: base, scale: x.Scale}
		}
		if below != base {
			q = &stacked{Projection: q, base: base, below: below}
		}
		below = q
	}
	return below, nil
}

// stacked is a projection made over base that lies over another.
type stacked struct {
	op.Projection
	base, below op.Projection
}

// Forward implements op.Projection.
func (l *stacked) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	return l.Projection.Forward(p.Over(l.base, &beneath{l.below}), y, x)
}

// beneath is what a stacked projection lies over, in the pass from beneath it.
type beneath struct{ op.Projection }

// Forward implements op.Projection.
func (l *beneath) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	return l.Projection.Forward(p.Over(nil, nil), y, x)
}

// blend lies between a projection and what it was made over:
//
//	y = base(x) + scale·(projection(x) − base(x))
type blend struct {
	op.Projection
	base  op.Projection
	scale float32
}

// Forward implements op.Projection.
func (l *blend) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	z := kernel.NewMat(p.Arena.Get(y.Rows*y.Cols), y.Rows, y.Cols)
	l.base.Forward(p, z, x) // first: y may be what x knows of the base
	l.Projection.Forward(p, y, x)
	mix(y, z, l.scale)
	p.Arena.Put(z.Data)
	return nil
}

// mix is y = z + scale·(y − z).
func mix(y, z kernel.Mat, scale float32) {
	for t := range y.Rows {
		kernel.Scale(y.Row(t), scale)
		kernel.Axpy(y.Row(t), 1-scale, z.Row(t))
	}
}

// stackLookups lays tables over each other.
func stackLookups(base op.Lookup, list []Piece) (any, error) {
	if err := full(list); err != nil {
		return nil, err
	}
	below := base
	for _, x := range list {
		below = &stackedLookup{Lookup: x.Has.(op.Lookup), base: base, below: below, scale: x.Scale}
	}
	return below, nil
}

// stackedLookup is a table made over base that lies over another, which may be base itself.
type stackedLookup struct {
	op.Lookup
	base, below op.Lookup
	scale       float32
}

// Look implements op.Lookup.
func (l *stackedLookup) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	over := p
	if l.below != l.base {
		over = p.Over(l.base, &beneathLookup{l.below})
	}
	l.Lookup.Look(over, y, ids)
	if l.scale == 1 {
		return
	}
	z := kernel.NewMat(p.Arena.Get(y.Rows*y.Cols), y.Rows, y.Cols)
	l.base.Look(over, z, ids)
	mix(y, z, l.scale)
	p.Arena.Put(z.Data)
}

// beneathLookup is what a stacked table lies over, in the pass from beneath it.
type beneathLookup struct{ op.Lookup }

// Look implements op.Lookup.
func (l *beneathLookup) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	l.Lookup.Look(p.Over(nil, nil), y, ids)
}

// Overlay is what one or several adapters have in the places of a model. It implements op.Overlay.
type Overlay map[any]any

// At implements op.Overlay.
func (o Overlay) At(place any) any { return o[place] }
