package layer

import "github.com/graft-ml/graft/internal/op"

// Copier copies the parts of a model so that methods may change the copy: slots, norms and what holds them are new, the frozen
// numbers are the same memory. A part that is in several places stays one.
type Copier struct{ made map[any]any }

// NewCopier returns a copier that has copied nothing yet.
func NewCopier() *Copier { return &Copier{map[any]any{}} }

// once is the copy of a part, made by f from a shallow one when first asked for; nil stays nil.
func once[T any](c *Copier, x *T, f func(*T)) *T {
	if x == nil {
		return nil
	}
	if y, ok := c.made[x]; ok {
		return y.(*T)
	}
	y := new(T)
	*y = *x
	c.made[x] = y
	if f != nil {
		f(y)
	}
	return y
}

// Slot copies a slot.
func (c *Copier) Slot(s *Slot) *Slot { return once(c, s, nil) }

// Slots copies slots.
func (c *Copier) Slots(list []*Slot) []*Slot {
	out := make([]*Slot, len(list))
	for i, s := range list {
		out[i] = c.Slot(s)
	}
	return out
}

// Norm copies a norm.
func (c *Copier) Norm(n *Norm) *Norm {
	return once(c, n, func(n *Norm) { n.Weight, n.Bias = c.vector(n.Weight), c.vector(n.Bias) })
}

func (c *Copier) vector(v *op.Vector) *op.Vector { return once(c, v, nil) }

func (c *Copier) norms(n Norms) Norms {
	return Norms{Before: c.Norm(n.Before), Branch: c.Norm(n.Branch), After: c.Norm(n.After)}
}

// Block copies a layer.
func (c *Copier) Block(b *Block) *Block {
	return once(c, b, func(b *Block) {
		b.Attention, b.MLP = b.Attention.Copy(c), b.MLP.Copy(c)
		if b.Cross != nil {
			b.Cross = b.Cross.Copy(c).(*CrossAttention)
		}
		b.AttentionNorms, b.CrossNorms, b.MLPNorms = c.norms(b.AttentionNorms), c.norms(b.CrossNorms), c.norms(b.MLPNorms)
	})
}

// Copy implements Branch.
func (l *Attention) Copy(c *Copier) Branch {
	return once(c, l, func(l *Attention) {
		l.In, l.Output, l.Table = c.Slots(l.In), c.Slot(l.Output), c.Slot(l.Table)
		normed := make([]HeadNorm, len(l.Normed))
		for i, n := range l.Normed {
			n.Norm = c.Norm(n.Norm)
			normed[i] = n
		}
		l.Normed = normed
	})
}

// Copy implements Branch.
func (l *CrossAttention) Copy(c *Copier) Branch {
	return once(c, l, func(l *CrossAttention) {
		l.Query, l.Key, l.Value, l.Output = c.Slot(l.Query), c.Slot(l.Key), c.Slot(l.Value), c.Slot(l.Output)
	})
}

// Copy implements Branch.
func (l *Disentangled) Copy(c *Copier) Branch {
	return once(c, l, func(l *Disentangled) {
		l.In, l.Output = c.Slots(l.In), c.Slot(l.Output)
		l.Table, l.Keys, l.Queries, l.Norm = c.Slot(l.Table), c.Slot(l.Keys), c.Slot(l.Queries), c.Norm(l.Norm)
	})
}

// Copy implements Branch.
func (l *MLP) Copy(c *Copier) Branch {
	return once(c, l, func(l *MLP) { l.In, l.Down = c.Slots(l.In), c.Slot(l.Down) })
}

// Copy implements Branch.
func (l *Mixture) Copy(c *Copier) Branch {
	return once(c, l, func(l *Mixture) {
		l.Router = c.Slot(l.Router)
		experts := make([]Expert, len(l.Experts))
		for i, e := range l.Experts {
			experts[i] = Expert{Gate: c.Slot(e.Gate), Up: c.Slot(e.Up), Down: c.Slot(e.Down)}
		}
		l.Experts = experts
	})
}

// Stem copies where a model begins.
func (c *Copier) Stem(s Stem) Stem {
	for _, x := range []**Slot{&s.Tokens, &s.Project, &s.Positions, &s.Types, &s.Widen} {
		*x = c.Slot(*x)
	}
	s.Norm = c.Norm(s.Norm)
	return s
}

// Conv copies a convolution.
func (c *Copier) Conv(l *Conv) *Conv {
	return once(c, l, func(l *Conv) { l.Norm = c.Norm(l.Norm) })
}

// Top copies where a model ends.
func (c *Copier) Top(l Top) Top {
	steps := make([]Step, len(l.Steps))
	for i, s := range l.Steps {
		s.Dense, s.Norm = c.Slot(s.Dense), c.Norm(s.Norm)
		steps[i] = s
	}
	l.Steps, l.Out = steps, c.Slot(l.Out)
	return l
}
