package layer

import (
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
)

// Forward implements op.Projection. In a routed pass the frozen product is computed once for all rows, and each group's rows then
// pass through what its overlay has here, which finds the product there.
func (s *Slot) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	if !p.Routed() {
		return s.Projection.Forward(p, y, x)
	}
	if !s.owned(p) {
		s.Projection.Forward(p, y, x)
	}
	for g, q := range p.At(s) {
		part, out := g.Rows(p.Arena, x.Mat), g.Rows(p.Arena, y)
		in := op.NewInput(part)
		in.Know(s.Projection, out)
		q.(op.Projection).Forward(g.Pass, out, in)
		in.Free()
		g.Put(y, out)
		g.Return(p.Arena, part)
		g.Return(p.Arena, out)
	}
	return nil
}

// owned says that no row needs the slot's own product.
func (s *Slot) owned(p *op.Pass) bool {
	for g := range p.Groups() {
		if g.Overlay == nil || !owns(g.At(s)) {
			return false
		}
	}
	return true
}

// owns says that something has a weight of its own rather than lying over the slot's.
func owns(q any) bool {
	if x, ok := q.(interface{ Owns() bool }); ok {
		return x.Owns()
	}
	_, full := q.(*Trainable)
	return full
}

// Table is the slot's embedding as operators read it.
func (s *Slot) Table() op.Lookup { return table{s.Lookup, s} }

// table looks rows up in the slot.
type table struct {
	op.Lookup
	slot *Slot
}

// Look implements op.Lookup; ids are those of the pass's rows.
func (t table) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	t.Lookup.Look(p, y, ids)
	for g, q := range p.At(t.slot) {
		part := g.Rows(p.Arena, y)
		q.(op.Lookup).Look(g.Pass, part, g.IDs(ids))
		g.Put(y, part)
		g.Return(p.Arena, part)
	}
}
