package layer

import (
	"iter"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// Biased is a frozen projection whose bias is trained.
type Biased struct {
	Frozen           // Bias aliases the parameter
	Param  *nn.Param // [out]
}

// NewBiased makes the bias of a projection trainable. The projection must have one.
func NewBiased(f *Frozen) *Biased {
	v := NewTrainableVector(f.Bias)
	return &Biased{Frozen: Frozen{W: f.W, Bias: v.Value, Transposed: f.Transposed}, Param: v.Param}
}

// Backward implements op.Projection: db += Σ_t dy[t], and what the frozen weight gives.
func (b *Biased) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	AddRows(op.GradOf(b.Param), dy)
	b.Frozen.Backward(p, dx, dy, x, saved)
}

// Params implements op.Projection.
func (b *Biased) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) { yield("bias", b.Param) }
}

// AddRows adds the rows of m to sum, in their order: the gradient of a bias.
func AddRows(sum []float32, m kernel.Mat) {
	for t := range m.Rows {
		kernel.Add(sum, m.Row(t))
	}
}
