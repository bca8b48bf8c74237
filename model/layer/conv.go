package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Conv adds to a layer's output what its input's neighbours give, as DeBERTa 2 does after its first layer:
//
//	y = Norm(output + Activation(W·[x[t−r] … x[t+r]] + b))     r = Kernel/2
//
// It stays frozen whatever the method: no slot holds it.
type Conv struct {
	Kernel int     // odd
	Weight *Frozen // [out, Kernel·in]
	op.Activation
	Norm *Norm
}

// Forward passes a layer's output [T, C] on, given its input [T, C].
func (l *Conv) Forward(p *op.Pass, output, input mat.Tensor) mat.Tensor {
	y := op.Activate(p, op.Project(p, op.Neighbours(p, input, l.Kernel), l.Weight), l.Activation)
	return l.Norm.apply(p, op.Add(p, output, y, 1))
}
