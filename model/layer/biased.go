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
	of     *Frozen
}

// NewBiased makes the bias of a projection trainable. The projection must have one.
func NewBiased(f *Frozen) *Biased {
	v := NewTrainableVector(f.Bias)
	return &Biased{Frozen: Frozen{W: f.W, Bias: v.Value, Transposed: f.Transposed}, Param: v.Param, of: f}
}

// Forward implements op.Projection. Over an adapter beneath it changes the bias of what that makes.
func (b *Biased) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	q, ok := p.Under(b.of).(op.Projection)
	if !ok {
		return b.Frozen.Forward(p, y, x)
	}
	q.Forward(p, y, x)
	for t := range y.Rows {
		kernel.Axpy(y.Row(t), -1, b.of.Bias)
		kernel.Add(y.Row(t), b.Bias)
	}
	return nil
}

// Linear implements op.Plain.
func (b *Biased) Linear(p *op.Pass, x *op.Input) (kernel.Linear, bool) {
	l, ok := b.Frozen.Linear(p, x)
	return l, ok && p.Under(b.of) == nil
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
