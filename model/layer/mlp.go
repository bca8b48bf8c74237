package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// MLP is the branch that mixes columns: down(act(in(h))), or gated, down(act(gate(h)) ∘ up(h)).
type MLP struct {
	In    []*Slot // one; if Gated gate and up, or the one that the checkpoint fused
	Gated bool
	op.Activation
	Down *Slot
}

// Mix implements Branch.
func (l *MLP) Mix(p *op.Pass, h mat.Tensor, _ []op.Angles) (mat.Tensor, op.Projection) {
	x := op.Project(p, h, projections(l.In)...)
	if l.Gated {
		return op.Fleeting(op.Gate(p, x, l.Activation)), l.Down // [T, 2I] -> [T, I]
	}
	return op.Fleeting(op.Activate(p, x, l.Activation)), l.Down
}

// Slots implements Branch.
func (l *MLP) Slots() []*Slot { return append(append([]*Slot(nil), l.In...), l.Down) }

// Norms implements Branch: there are none.
func (l *MLP) Norms() []*Norm { return nil }

// Mixture is the branch in which each row asks a few of many experts [jiang2024].
type Mixture struct {
	Router  *Slot
	Experts []Expert
	TopK    int
	op.Activation
	// Module is transformers' name of the module that holds the experts' weights as one; "" = it holds none.
	Module string
}

// Fused is a weight that transformers keeps as one of three dimensions [experts, out, in] where the checkpoint, and so the slots, have
// it in parts.
type Fused struct {
	Module, Name string
	Parts        [][]*Slot // by expert, one below the other
}

// Fused lists the weights that transformers keeps as one, in its order.
func (l *Mixture) Fused() []Fused {
	if l.Module == "" {
		return nil
	}
	in, down := Fused{Module: l.Module, Name: "gate_up_proj"}, Fused{Module: l.Module, Name: "down_proj"}
	for _, e := range l.Experts {
		in.Parts, down.Parts = append(in.Parts, []*Slot{e.Gate, e.Up}), append(down.Parts, []*Slot{e.Down})
	}
	return []Fused{in, down}
}

// Expert is one gated MLP of a mixture.
type Expert struct{ Gate, Up, Down *Slot }

// Mix implements Branch.
func (l *Mixture) Mix(p *op.Pass, h mat.Tensor, _ []op.Angles) (mat.Tensor, op.Projection) {
	s := op.MixtureSpec{Router: l.Router, TopK: l.TopK, Activation: l.Activation}
	for _, e := range l.Experts {
		s.Experts = append(s.Experts, op.Expert{Gate: e.Gate, Up: e.Up, Down: e.Down})
	}
	return op.Mixture(p, h, s), nil
}

// Slots implements Branch.
func (l *Mixture) Slots() []*Slot {
	list := []*Slot{l.Router}
	for _, e := range l.Experts {
		list = append(list, e.Gate, e.Up, e.Down)
	}
	return list
}

// Norms implements Branch: there are none.
func (l *Mixture) Norms() []*Norm { return nil }
