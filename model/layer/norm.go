package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Norm is a norm under the checkpoint's path. A nil *Norm passes everything through.
type Norm struct {
	Name   string // without ".weight" and ".bias"
	Stored string // Name as the checkpoint has it
	op.Norm
}

// NamedVector is a vector under its name in the model.
type NamedVector struct {
	Name   string
	Stored string // Name as the checkpoint has it, where that differs
	*op.Vector
}

// Tensor is the vector's name in the checkpoint.
func (v NamedVector) Tensor() string {
	if v.Stored != "" {
		return v.Stored
	}
	return v.Name
}

func (n *Norm) apply(p *op.Pass, x mat.Tensor) mat.Tensor {
	if n == nil {
		return x
	}
	return n.Apply(p, x)
}

// Apply norms x [T, C].
func (n *Norm) Apply(p *op.Pass, x mat.Tensor) mat.Tensor {
	return normalize(p, x, op.Part{Norm: n.Norm, Width: op.Of(x).View().Cols, Count: 1})
}

// normalize norms parts of rows; those of a group with the vectors that its adapter has.
func normalize(p *op.Pass, x mat.Tensor, parts ...op.Part) mat.Tensor {
	y := op.NormalizeParts(p, x, parts...)
	if !p.Routed() {
		return y
	}
	return op.Reroute(p, y, func(g *op.Group, take func(x mat.Tensor) mat.Tensor) mat.Tensor {
		own, differ := make([]op.Part, len(parts)), false
		for i, q := range parts {
			for _, v := range []**op.Vector{&q.Weight, &q.Bias} {
				if w, ok := g.At(*v).(*op.Vector); ok {
					*v, differ = w, true
				}
			}
			own[i] = q
		}
		if !differ {
			return nil
		}
		return op.NormalizeParts(g.Pass, take(x), own...)
	})
}

// Vectors lists the norm's weight and bias, where it has them.
func (n *Norm) Vectors() (list []NamedVector) {
	if n != nil && n.Weight != nil {
		list = append(list, NamedVector{n.Name + ".weight", n.Stored + ".weight", n.Weight})
	}
	if n != nil && n.Bias != nil {
		list = append(list, NamedVector{n.Name + ".bias", n.Stored + ".bias", n.Bias})
	}
	return list
}
