package prefix

import (
	"iter"
	"math"
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// normal draws n numbers N(0, 1), as torch.nn.Embedding starts.
func normal(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// uniform draws n numbers U(±1/√in), as torch.nn.Linear and torch.nn.LSTM start.
func uniform(rng *rand.Rand, n, in int) []float32 {
	bound := 1 / math.Sqrt(float64(in))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32((2*rng.Float64() - 1) * bound)
	}
	return v
}

// table is a trained embedding.
type table struct{ w *nn.Param } // [n, dim]

func (e table) view() kernel.Mat { return op.Of(e.w).View() }

// all looks every row up, in order.
func (e table) all(p *op.Pass) mat.Tensor {
	ids := make([]int32, e.view().Rows)
	for i := range ids {
		ids[i] = int32(i)
	}
	return op.LookUp(p, op.Rows{Table: e, IDs: ids})
}

// Size implements op.Lookup.
func (e table) Size() (rows, dim int) { m := e.view(); return m.Rows, m.Cols }

// Look implements op.Lookup.
func (e table) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	for t, id := range ids {
		copy(y.Row(t), e.view().Row(int(id)))
	}
}

// LookBackward implements op.Lookup.
func (e table) LookBackward(p *op.Pass, dy kernel.Mat, ids []int32) {
	g := kernel.NewMat(op.GradOf(e.w), e.view().Rows, e.view().Cols)
	for t, id := range ids {
		kernel.Add(g.Row(int(id)), dy.Row(t))
	}
}

// Params implements op.Lookup.
func (e table) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) { yield("weight", e.w) }
}

// linear is a trained layer y = x·Wᵀ + b. It works in float32 in every mode: it is small, and what it makes is stored.
type linear struct{ w, b *nn.Param } // [out, in], [out]

func newLinear(rng *rand.Rand, in, out int) linear {
	return linear{op.NewParam(uniform(rng, out*in, in), out, in), op.NewVectorParam(uniform(rng, out, in))}
}

func (l linear) view() kernel.Mat { return op.Of(l.w).View() }

// Dims implements op.Projection.
func (l linear) Dims() (in, out int) { m := l.view(); return m.Cols, m.Rows }

// Forward implements op.Projection.
func (l linear) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	kernel.MatMul(y, x.Mat, l.view(), kernel.MatMulOpts{TransB: true})
	for t := range y.Rows {
		kernel.Add(y.Row(t), op.Data(l.b))
	}
	return nil
}

// Backward implements op.Projection: dW += dyᵀ·x, db += Σ_t dy[t], dx += dy·W.
func (l linear) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	w := l.view()
	kernel.MatMul(kernel.NewMat(op.GradOf(l.w), w.Rows, w.Cols), dy, x.Mat, kernel.MatMulOpts{TransA: true, Add: true})
	for t := range dy.Rows {
		kernel.Add(op.GradOf(l.b), dy.Row(t))
	}
	if dx.Rows > 0 {
		kernel.MatMul(dx, dy, w, kernel.MatMulOpts{Add: true})
	}
}

// Params implements op.Projection.
func (l linear) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		if yield("weight", l.w) {
			yield("bias", l.b)
		}
	}
}

// named is a parameter with its name.
type named struct {
	name string
	p    *nn.Param
}

// each yields a list of parameters.
func each(list []named) iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, x := range list {
			if !yield(x.name, x.p) {
				return
			}
		}
	}
}

// of lists a part's parameters below a name.
func of(name string, params iter.Seq2[string, *nn.Param]) (list []named) {
	for n, p := range params {
		list = append(list, named{name + "." + n, p})
	}
	return list
}

// mlp is linear layers with one activation between them.
type mlp struct {
	layers []linear
	act    op.Activation
}

// newMLP makes layers of the widths.
func newMLP(rng *rand.Rand, act op.Activation, widths ...int) mlp {
	f := mlp{act: act}
	for i := 1; i < len(widths); i++ {
		f.layers = append(f.layers, newLinear(rng, widths[i-1], widths[i]))
	}
	return f
}

func (f mlp) forward(p *op.Pass, x mat.Tensor) mat.Tensor {
	for i, l := range f.layers {
		if i > 0 {
			x = op.Activate(p, x, f.act)
		}
		x = op.Project(p, x, l)
	}
	return x
}
