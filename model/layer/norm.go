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
	return op.Normalize(p, x, n.Norm)
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
