package model

import (
	"fmt"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// View is a model of its own over the same frozen numbers: what is attached to it does not change m, nor the other way round. m must
// have nothing attached.
func (m *Model) View() (*Model, error) {
	for _, s := range m.Seams() {
		if s.Get() != nil {
			return nil, fmt.Errorf("model: %s is adapted already, want a model with nothing attached", s.Name)
		}
	}
	c, v := layer.NewCopier(), *m
	v.Stem = c.Stem(m.Stem)
	v.Blocks = make([]*layer.Block, len(m.Blocks))
	for i, b := range m.Blocks {
		v.Blocks[i] = c.Block(b)
	}
	v.Conv, v.Norm, v.ProjectOut, v.Top = c.Conv(m.Conv), c.Norm(m.Norm), c.Slot(m.ProjectOut), c.Top(m.Top)
	switch x := m.output.(type) {
	case *op.Score:
		v.output = &op.Score{Projection: v.Top.Out, Scale: x.Scale, Cap: x.Cap}
	case *layer.Slot:
		v.output = v.Top.Out
	}
	v.Trace = nil
	return &v, nil
}

// Seams lists the places of the model at which methods act, in an order that views share.
func (m *Model) Seams() (list []layer.Seam) {
	for s := range m.Slots() {
		list = append(list, layer.SlotSeam(s))
	}
	for _, v := range m.Vectors() {
		list = append(list, layer.VectorSeam(v))
	}
	for _, l := range m.Attentions() {
		list = append(list, layer.BesideSeam(l))
	}
	return append(list, layer.PromptSeam(m))
}

// Overlay is what is attached to a view, by the places of m, of which the model itself is one.
func (m *Model) Overlay(view *Model) layer.Overlay {
	o := layer.Overlay{m: m}
	theirs := view.Seams()
	for i, s := range m.Seams() {
		if x := theirs[i].Get(); x != nil {
			o[s.Place] = x
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

// owns says that the overlays of a pass are of this model: those of another would change nothing, in silence.
func (m *Model) owns(p *op.Pass) bool {
	for g := range p.Groups() {
		if g.Overlay != nil && g.Overlay.At(m) == nil {
			return false
		}
	}
	return true
}
