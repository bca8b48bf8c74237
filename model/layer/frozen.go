package layer

import (
	"iter"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// Frozen is the projection that the checkpoint gave: a weight nothing trains and perhaps a bias.
type Frozen struct {
	W          *kernel.Frozen
	Bias       []float32 // [out] or nil
	Transposed bool      // W is stored [in, out]
}

// Dims implements op.Projection.
func (f *Frozen) Dims() (in, out int) {
	if f.Transposed {
		return f.W.Rows, f.W.Cols
	}
	return f.W.Cols, f.W.Rows
}

// ByRow implements ByRow.
func (f *Frozen) ByRow() bool { return true }

// Reading implements op.Reader.
func (f *Frozen) Reading() op.Reading { return op.Blind }

// Forward implements op.Projection. In a pass of several adapters its product may be there already, or stand for that of an
// adapter beneath.
func (f *Frozen) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	if q, ok := p.Under(f).(op.Projection); ok {
		return q.Forward(p, y, x)
	}
	if x.Known(f, y) {
		return nil
	}
	if f.Transposed {
		x.Acts(p.Mode).Mul(y, f.W, f.Bias, false)
	} else {
		x.Acts(p.Mode).MulT(y, f.W, f.Bias, false)
	}
	return nil
}

// Linear implements op.Plain.
func (f *Frozen) Linear(p *op.Pass, x *op.Input) (kernel.Linear, bool) {
	return kernel.Linear{W: f.W, Transposed: f.Transposed, Bias: f.Bias}, p.Under(f) == nil && !x.Knows(f)
}

// Backward implements op.Projection: dx += dy·W.
func (f *Frozen) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	if dx.Rows == 0 {
		return
	}
	a := kernel.Pack(dy, p.Mode)
	defer a.Free()
	a.Back(dx, &kernel.Linear{W: f.W, Transposed: f.Transposed})
}

// Params implements op.Projection: there are none.
func (f *Frozen) Params() iter.Seq2[string, *nn.Param] { return func(func(string, *nn.Param) bool) {} }
