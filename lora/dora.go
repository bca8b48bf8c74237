package lora

import (
	"iter"
	"math"
	"slices"
	"sync/atomic"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// dora is a projection with the low-rank branch, of whose weight every output's length is learned [liu2024]:
//
//	y = g∘(W·x + s·B·A·x) + b     g = m/n     n = ‖W + s·B·A‖ by outputs, a constant to the gradient
//
// In training with dropout x' = dropout(x), and the base keeps what was not dropped:
//
//	y = W·x + b + (g−1)∘(W·x') + g∘(s·B·A·x')
//
// References: [liu2024] DoRA: Weight-Decomposed Low-Rank Adaptation, arXiv 2402.09353, eq. 5 and section 4.3.
type dora struct {
	*Projection
	M *nn.Param // [out], lora_magnitude_vector

	plain op.Projection // the base without its bias
	bias  []float32     // [out] or nil
	train *nn.Param     // the bias as a parameter, or nil
	norm  lengths
}

// newDora gives a branch its magnitudes: the lengths of the weight as it is, so that nothing changes yet.
func newDora(l *Projection) *dora {
	base := l.slot.Base
	d := &dora{Projection: l, bias: base.Bias, plain: l.start.under(&layer.Frozen{W: base.W, Transposed: base.Transposed})}
	if b, ok := l.slot.Projection.(*layer.Biased); ok {
		d.bias, d.train = b.Bias, b.Param
	}
	d.norm.w, d.norm.transposed = base.W, base.Transposed
	d.M = op.NewVectorParam(slices.Clone(d.lengths()))
	return d
}

// doraSaved is what Backward needs beyond x.
type doraSaved struct {
	s    []float32 // [T, r] = x'·Aᵀ
	h    []float32 // [T, out] = W·x' + s·B·A·x'
	gain []float32 // [out]
	n    []float32 // [out]
}

// Forward implements op.Projection. The base's own result is the first term, so that g = 1 and B = 0 change no bit of it.
func (l *dora) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	n := l.lengths()
	k := &doraSaved{gain: gainOf(op.Data(l.M), n), n: n, s: p.Arena.Get(x.Rows * l.rank), h: p.Arena.Zeroed(y.Rows * y.Cols)}
	h := kernel.NewMat(k.h, y.Rows, y.Cols)
	z := kernel.NewMat(p.Arena.Get(y.Rows*y.Cols), y.Rows, y.Cols) // W·x'
	l.base.Forward(p, y, x)
	d, done := l.drop(p, x.Mat)
	if l.drops(p) {
		in := op.NewInput(d)
		l.plain.Forward(p, z, in)
		in.Free()
	} else {
		l.unbiased(z, y)
	}
	l.branch(h, kernel.NewMat(k.s, x.Rows, l.rank), d)
	done()
	l.combine(y, z, h, k.gain)
	p.Arena.Put(z.Data)
	if !p.Grad {
		p.Arena.Put(k.s)
		p.Arena.Put(k.h)
		return nil
	}
	return k
}

// unbiased is z = y − b.
func (l *dora) unbiased(z, y kernel.Mat) {
	for t := range y.Rows {
		copy(z.Row(t), y.Row(t))
		if l.bias != nil {
			kernel.Axpy(z.Row(t), -1, l.bias)
		}
	}
}

// combine is y += (g−1)∘z + g∘h, and then h += z.
func (l *dora) combine(y, z, h kernel.Mat, gain []float32) {
	more := make([]float32, len(gain))
	for i, g := range gain {
		more[i] = g - 1
	}
	kernel.Split(y.Rows, 8, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			kernel.AxpyMul(y.Row(t), 1, more, z.Row(t))
			kernel.AxpyMul(y.Row(t), 1, gain, h.Row(t))
			kernel.Add(h.Row(t), z.Row(t))
		}
	})
}

// branch computes s = x·Aᵀ and adds scale·s·Bᵀ to y.
func (l *Projection) branch(y, s, x kernel.Mat) {
	kernel.MatMul(s, x, op.Of(l.A).View(), kernel.MatMulOpts{TransB: true})
	if l.scale != 0 { // to MatMul a factor of 0 means none
		kernel.MatMul(y, s, op.Of(l.B).View(), kernel.MatMulOpts{TransB: true, Alpha: l.scale, Add: true})
	}
}

// Linear implements op.Plain: there is more to it.
func (l *dora) Linear(*op.Pass, *op.Input) (kernel.Linear, bool) { return kernel.Linear{}, false }

// Backward implements op.Projection, with e = g∘dy:
//
//	dm += Σ_t dy∘h/n   db += Σ_t dy   dB += scale·eᵀ·s   ds = scale·e·B   dA += dsᵀ·x'
//	dx += e·W + ds·A,  with dropout   dx += dy·W + mask∘((e−dy)·W + ds·A)
func (l *dora) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, kept any) {
	k := kept.(*doraSaved)
	addMagnitudes(op.GradOf(l.M), dy, kernel.NewMat(k.h, dy.Rows, dy.Cols), k.n)
	if l.train != nil {
		layer.AddRows(op.GradOf(l.train), dy)
	}
	e := kernel.NewMat(p.Arena.Get(dy.Rows*dy.Cols), dy.Rows, dy.Cols)
	for t := range dy.Rows {
		copy(e.Row(t), dy.Row(t))
		kernel.Mul(e.Row(t), k.gain)
	}
	ds := kernel.NewMat(p.Arena.Zeroed(x.Rows*l.rank), x.Rows, l.rank)
	d, done := l.drop(p, x.Mat)
	l.backBranch(ds, e, kernel.NewMat(k.s, x.Rows, l.rank), d)
	l.backBase(p, dx, dy, e, ds, x, d)
	done()
	for _, b := range [][]float32{e.Data, ds.Data, k.s, k.h} {
		p.Arena.Put(b)
	}
}

// backBranch adds the gradients of A and B and computes ds; ds must be zero.
func (l *Projection) backBranch(ds, dy, s, x kernel.Mat) {
	if l.scale == 0 {
		return
	}
	a, b := op.Of(l.A).View(), op.Of(l.B).View()
	kernel.MatMul(kernel.NewMat(op.GradOf(l.B), b.Rows, b.Cols), dy, s, kernel.MatMulOpts{TransA: true, Alpha: l.scale, Add: true})
	kernel.MatMul(ds, dy, b, kernel.MatMulOpts{Alpha: l.scale})
	kernel.MatMul(kernel.NewMat(op.GradOf(l.A), a.Rows, a.Cols), ds, x, kernel.MatMulOpts{TransA: true, Add: true})
}

// backBase adds to dx.
func (l *dora) backBase(p *op.Pass, dx, dy, e, ds kernel.Mat, x *op.Input, d kernel.Mat) {
	if !l.drops(p) {
		l.plain.Backward(p, dx, e, x, nil)
		if dx.Rows > 0 {
			l.backInput(p, dx, ds, op.Of(l.A).View())
		}
		return
	}
	l.plain.Backward(p, dx, dy, x, nil)
	if dx.Rows == 0 {
		return
	}
	subtract(e, dy)
	t := kernel.NewMat(p.Arena.Zeroed(dx.Rows*dx.Cols), dx.Rows, dx.Cols)
	in := op.NewInput(d)
	l.plain.Backward(p, t, e, in, nil)
	in.Free()
	kernel.MatMul(t, ds, op.Of(l.A).View(), kernel.MatMulOpts{Add: true})
	m, done := l.drop(p, t)
	for i := range dx.Rows {
		kernel.Add(dx.Row(i), m.Row(i))
	}
	done()
	p.Arena.Put(t.Data)
}

// addMagnitudes adds the gradient of m: Σ_t dy[t]∘h[t] / n, summed in float64.
func addMagnitudes(dm []float32, dy, h kernel.Mat, n []float32) {
	kernel.Split(len(dm), 64, func(lo, hi int) {
		sum := make([]float64, hi-lo)
		for t := range dy.Rows {
			d, v := dy.Row(t)[lo:hi], h.Row(t)[lo:hi]
			for i := range d {
				sum[i] += float64(d[i]) * float64(v[i])
			}
		}
		for i, s := range sum {
			dm[lo+i] += float32(s / float64(n[lo+i]))
		}
	})
}

// lengths are n of the weight with the branch.
func (l *dora) lengths() []float32 {
	a, b := l.factors()
	return l.norm.of(a, b, l.scale)
}

// gainOf is m/n.
func gainOf(m, n []float32) []float32 {
	g := make([]float32, len(n))
	for i := range g {
		g[i] = m[i] / n[i]
	}
	return g
}

// Params implements op.Projection.
func (l *dora) Params() iter.Seq2[string, *nn.Param] {
	return with(l.Projection.Params(), magnitude, l.M)
}

// magnitude is the name of m in files, which has no ".weight".
const magnitude = "lora_magnitude_vector"

// with appends a parameter.
func with(params iter.Seq2[string, *nn.Param], name string, p *nn.Param) iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for n, q := range params {
			if !yield(n, q) {
				return
			}
		}
		yield(name, p)
	}
}

// deltas folds lengths and branch into the weight.
func (l *dora) deltas() []merge.Delta {
	return []merge.Delta{&merge.Gained{Sum: *l.lowRank(), Gain: gainOf(op.Data(l.M), l.lengths())}}
}

func (l *dora) attach() { l.slot.Projection = l }

// idle implements part: the branch is zero and the lengths are those of the base.
func (l *dora) idle() bool { return l.Projection.idle() && slices.Equal(op.Data(l.M), l.lengths()) }

// lengths computes ‖W + scale·B·A‖ by outputs. It keeps the last result with the factors that it belongs to: while text is
// generated, and from one pass of a step to the next, they stay the same. Safe for concurrent use.
type lengths struct {
	w          *kernel.Frozen
	transposed bool // W is stored [in, out]
	last       atomic.Pointer[measured]
}

type measured struct{ a, b, n []float32 }

// of returns the lengths [out]; callers must not change them.
func (l *lengths) of(a, b kernel.Mat, scale float32) []float32 {
	if m := l.last.Load(); m != nil && slices.Equal(m.a, a.Data) && slices.Equal(m.b, b.Data) {
		return m.n
	}
	m := &measured{a: slices.Clone(a.Data), b: slices.Clone(b.Data), n: make([]float32, b.Rows)}
	if l.transposed {
		l.columns(m.n, a, b, scale)
	} else {
		l.rows(m.n, a, b, scale)
	}
	l.last.Store(m)
	return m.n
}

// block is the number of stored rows that are summed up at once.
const block = 32

// rows measures where a stored row is an output.
func (l *lengths) rows(n []float32, a, b kernel.Mat, scale float32) {
	kernel.Split(l.w.Rows, block, func(lo, hi int) {
		sum := l.sum(lo, hi)
		if scale != 0 {
			kernel.MatMul(sum, b.RowRange(lo, hi), a, kernel.MatMulOpts{Alpha: scale, Add: true, Serial: true})
		}
		for i := range sum.Rows {
			n[lo+i] = float32(math.Sqrt(kernel.SumSquares(sum.Row(i))))
		}
	})
}

// columns measures where a stored column is an output: blocks of rows add up in their order.
func (l *lengths) columns(n []float32, a, b kernel.Mat, scale float32) {
	grain := max(block, (l.w.Rows+63)/64)
	parts := make([][]float64, (l.w.Rows+grain-1)/grain)
	kernel.Split(l.w.Rows, grain, func(from, to int) {
		part := make([]float64, len(n))
		for lo := from; lo < to; lo += block {
			sum := l.sum(lo, min(lo+block, to))
			if scale != 0 {
				kernel.MatMul(sum, a.ColRange(lo, lo+sum.Rows), b, kernel.MatMulOpts{TransA: true, TransB: true, Alpha: scale, Add: true, Serial: true})
			}
			for i := range sum.Rows {
				for j, v := range sum.Row(i) {
					part[j] += float64(v) * float64(v)
				}
			}
		}
		parts[from/grain] = part
	})
	for j := range n {
		s := 0.0
		for _, part := range parts {
			s += part[j]
		}
		n[j] = float32(math.Sqrt(s))
	}
}

// sum begins as rows of W.
func (l *lengths) sum(lo, hi int) kernel.Mat {
	m := kernel.NewMat(make([]float32, (hi-lo)*l.w.Cols), hi-lo, l.w.Cols)
	for i := range m.Rows {
		l.w.Row(m.Row(i), lo+i)
	}
	return m
}

// subtract is y -= x.
func subtract(y, x kernel.Mat) {
	for t := range y.Rows {
		kernel.Axpy(y.Row(t), -1, x.Row(t))
	}
}
