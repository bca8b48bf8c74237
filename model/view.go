package model

import (
	"errors"
	"fmt"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// viewed is what a view is of, and the head that it began with.
type viewed struct {
	of  *Model
	top layer.Top
}

// headPlace is the place of the head as a whole.
type headPlace struct{}

// View is a model of its own over the same frozen numbers: what is attached to it does not change m, nor the other way round. m must
// have nothing attached.
func (m *Model) View() (*Model, error) {
	for _, s := range m.Seams() {
		if s.Get() != nil {
			return nil, fmt.Errorf("model: %s is adapted already, want a model with nothing attached", s.Name)
		}
	}
	c := layer.NewCopier()
	v := &Model{Config: m.Config, Stack: m.Stack.view(c), Kind: m.Kind, Fresh: m.Fresh, Prefix: m.Prefix, origin: m.origin, logitsBias: m.logitsBias}
	if m.Encoder != nil {
		e := m.Encoder.view(c)
		v.Encoder = &e
	}
	v.ProjectOut, v.Top = c.Slot(m.ProjectOut), c.Top(m.Top)
	v.viewed = &viewed{m, v.Top}
	switch x := m.output.(type) {
	case *op.Score:
		y := *x
		y.Projection = v.Top.Out
		v.output = &y
	case *layer.Slot:
		v.output = v.Top.Out
	}
	return v, nil
}

// view copies a stack.
func (s *Stack) view(c *layer.Copier) Stack {
	v := Stack{Stem: c.Stem(s.Stem), Conv: c.Conv(s.Conv), Norm: c.Norm(s.Norm), ropes: s.ropes}
	for _, b := range s.Blocks {
		v.Blocks = append(v.Blocks, c.Block(b))
	}
	return v
}

// Seams lists the places of the model at which methods act, in an order that views share.
func (m *Model) Seams() (list []layer.Seam) {
	top := &m.Top
	if m.viewed != nil {
		top = &m.viewed.top // a method may have put another head there
	}
	slots := map[*layer.Slot]bool{}
	add := func(s *layer.Slot, seam layer.Seam) {
		if s != nil && !slots[s] {
			slots[s] = true
			list = append(list, seam)
		}
	}
	for _, st := range m.stacks() {
		for _, b := range st.Blocks {
			if l, ok := b.Attention.(*layer.Attention); ok && l.Table != nil {
				add(l.Table, layer.Alone(layer.SlotSeam(l.Table))) // its rows are no rows of a pass
			}
		}
		for _, s := range st.slots() {
			add(s, layer.SlotSeam(s))
		}
		list = append(list, st.seams()...)
	}
	for _, s := range append(top.Slots(), m.ProjectOut) {
		if s != nil {
			add(s, layer.SlotSeam(s))
		}
	}
	seen := map[*op.Vector]bool{}
	for _, v := range append(m.vectorsOfStacks(), top.Vectors()...) {
		if !seen[v.Vector] {
			seen[v.Vector] = true
			list = append(list, layer.VectorSeam(v))
		}
	}
	return append(list, layer.PromptSeam(m), layer.Alone(m.headSeam()))
}

// seams are those that are neither slots nor vectors.
func (s *Stack) seams() (list []layer.Seam) {
	list = append(list, layer.StemSeam(&s.Stem))
	seen := map[*layer.Block]bool{}
	for _, b := range s.Blocks {
		if !seen[b] {
			seen[b] = true
			list = append(list, layer.BlockSeams(b)...)
		}
	}
	return list
}

func (m *Model) vectorsOfStacks() (list []layer.NamedVector) {
	for _, s := range m.stacks() {
		list = append(list, s.vectors()...)
	}
	return list
}

// headSeam is the head as a whole.
func (m *Model) headSeam() layer.Seam {
	return layer.Seam{Name: "the head", Place: headPlace{}, Join: layer.Unscaled, Set: func(x any) { m.SetHeadTop(x.(layer.Top)) },
		Get: func() any {
			if m.viewed == nil || m.Top.Out == m.viewed.top.Out {
				return nil
			}
			return m.Top
		}}
}

// Overlay is what is attached to a view, by the places of m, of which the model itself is one.
func (m *Model) Overlay(view *Model) layer.Overlay {
	o := layer.Overlay{m: m}
	theirs := view.Seams()
	for i, s := range m.Seams() {
		if x := theirs[i].Get(); x != nil {
			o[s.Place] = x
			if s.Alone {
				o[layer.AlonePlace{}] = s.Name
			}
		}
	}
	return o
}

// Put attaches to a view what an overlay has by the places of m.
func (m *Model) Put(view *Model, o layer.Overlay) {
	theirs := view.Seams()
	for i, s := range m.Seams() {
		if x := o.At(s.Place); x != nil {
			theirs[i].Set(x)
		}
	}
}

// routable reports a pass through adapters of another model, which would change nothing, in silence; through one that can be only on a
// model of its own; and one for gradients.
func (m *Model) routable(p *op.Pass) error {
	if p.Grad && p.Routed() {
		return errors.New("model: a pass of several adapters gives no gradients, want Grad false")
	}
	for g := range p.Groups() {
		if g.Overlay == nil {
			continue
		}
		if g.Overlay.At(m) == nil {
			return errors.New("model: the pass goes through adapters of another model")
		}
		if name := g.Overlay.At(layer.AlonePlace{}); name != nil {
			return fmt.Errorf("model: an adapter changes %v in a way that other rows of a batch would see; pass its rows through its own model", name)
		}
	}
	return nil
}
