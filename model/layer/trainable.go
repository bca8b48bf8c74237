package layer

import (
	"iter"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// Trainable is a projection or an embedding whose own weight is trained, in float32: a full copy of the base.
type Trainable struct {
	W          *nn.Param  // [out, in], or [in, out] if Transposed; an embedding's is [num_embeddings, dim]
	Bias       *op.Vector // [out] or nil
	Transposed bool
	view       *kernel.Frozen // of W's numbers
}

// NewTrainable makes a trainable copy of a frozen projection.
func NewTrainable(f *Frozen) *Trainable {
	w := make([]float32, f.W.Rows*f.W.Cols)
	for i := range f.W.Rows {
		f.W.Row(w[i*f.W.Cols:(i+1)*f.W.Cols], i)
	}
	t := &Trainable{W: op.NewParam(w, f.W.Rows, f.W.Cols), Transposed: f.Transposed, view: kernel.FrozenF32(w, f.W.Rows, f.W.Cols)}
	if f.Bias != nil {
		t.Bias = NewTrainableVector(f.Bias)
	}
	return t
}

// NewTrainableVector makes a trainable copy of a vector.
func NewTrainableVector(v []float32) *op.Vector {
	c := append([]float32(nil), v...)
	return &op.Vector{Value: c, Param: op.NewVectorParam(c)}
}

// Dims implements op.Projection.
func (l *Trainable) Dims() (in, out int) {
	if l.Transposed {
		return l.view.Rows, l.view.Cols
	}
	return l.view.Cols, l.view.Rows
}

// ByRow implements ByRow.
func (l *Trainable) ByRow() bool { return true }

// Reading implements op.Reader.
func (l *Trainable) Reading() op.Reading { return op.Reads }

// Forward implements op.Projection.
func (l *Trainable) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	var bias []float32
	if l.Bias != nil {
		bias = l.Bias.Value
	}
	if l.Transposed {
		x.Acts(p.Mode).Mul(y, l.view, bias, false)
	} else {
		x.Acts(p.Mode).MulT(y, l.view, bias, false)
	}
	return nil
}

// Backward implements op.Projection: dW += dyᵀ·x, db += Σ_t dy[t], dx += dy·W.
func (l *Trainable) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	dw := kernel.NewMat(op.GradOf(l.W), l.view.Rows, l.view.Cols)
	if l.Transposed {
		kernel.MatMul(dw, x.Mat, dy, kernel.MatMulOpts{TransA: true, Add: true})
	} else {
		kernel.MatMul(dw, dy, x.Mat, kernel.MatMulOpts{TransA: true, Add: true})
	}
	if l.Bias != nil {
		db := op.GradOf(l.Bias.Param)
		for t := range dy.Rows {
			kernel.Add(db, dy.Row(t))
		}
	}
	(&Frozen{W: l.view, Transposed: l.Transposed}).Backward(p, dx, dy, x, nil)
}

// Size implements op.Lookup.
func (l *Trainable) Size() (rows, dim int) { return l.view.Rows, l.view.Cols }

// Look implements op.Lookup.
func (l *Trainable) Look(p *op.Pass, y kernel.Mat, ids []int32) { (&Table{l.view}).Look(p, y, ids) }

// LookBackward implements op.Lookup: the row of each id gains the gradient of its row, in the order of the rows.
func (l *Trainable) LookBackward(p *op.Pass, dy kernel.Mat, ids []int32) {
	g := kernel.NewMat(op.GradOf(l.W), l.view.Rows, l.view.Cols)
	for t, id := range ids {
		kernel.Add(g.Row(int(id)), dy.Row(t))
	}
}

// Params implements op.Projection and op.Lookup.
func (l *Trainable) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		if yield("weight", l.W) && l.Bias != nil {
			yield("bias", l.Bias.Param)
		}
	}
}
