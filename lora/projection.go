package lora

import (
	"iter"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// Projection is a base projection with its low-rank branch.
type Projection struct {
	A *nn.Param // [r, in]
	B *nn.Param // [out, r]

	slot  *layer.Slot
	was   op.Projection // what the slot held
	base  op.Projection // that, or what the start leaves of it
	start *start        // nil for most initialisers
	// replaced is what took the place of the weight [out, in]; of no rows for most initialisers.
	replaced kernel.Mat
	stream   uint64 // of dropout's random numbers
	rank     int
	scale    float32
	dropout  float64
}

// saved is what Backward needs beyond x.
type saved struct {
	base any
	s    []float32 // [T, r] = dropout(x)·Aᵀ
}

// Dims implements op.Projection.
func (l *Projection) Dims() (in, out int) { return l.base.Dims() }

// ByRow implements layer.ByRow.
func (l *Projection) ByRow() bool { return layer.ByRow(l.base) }

// Reading implements op.Reader.
func (l *Projection) Reading() op.Reading { return min(op.Reads, op.ReadingOf(l.base)) }

// Forward implements op.Projection: y = base(x) + scale·s·Bᵀ, s = dropout(x)·Aᵀ.
func (l *Projection) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	if l.scale == 0 { // to MatMul a factor of 0 means none
		return l.base.Forward(p, y, x)
	}
	if all, ok := l.Linear(p, x); ok && !p.Trains() {
		x.Acts(p.Mode).Linears([]kernel.Mat{y}, []kernel.Linear{all})
		return nil
	}
	k := &saved{s: p.Arena.Get(x.Rows * l.rank)}
	s := kernel.NewMat(k.s, x.Rows, l.rank)
	if a := op.Of(l.A).View(); l.drops(p) {
		d, done := l.drop(p, x.Mat)
		kernel.MatMul(s, d, a, kernel.MatMulOpts{TransB: true})
		done()
	} else {
		x.Acts(p.Mode).Down(s, a)
	}
	if all, ok := l.plain(p, x); ok { // which keeps nothing for its backward pass
		all.S, all.B, all.Scale = s, op.Of(l.B).View(), l.scale
		x.Acts(p.Mode).Linears([]kernel.Mat{y}, []kernel.Linear{all})
	} else {
		k.base = l.base.Forward(p, y, x)
		kernel.MatMul(y, s, op.Of(l.B).View(), kernel.MatMulOpts{TransB: true, Alpha: l.scale, Add: true})
	}
	if !p.Grad {
		p.Arena.Put(k.s)
		return nil
	}
	return k
}

// Linear implements op.Plain. A linear has one addition, so a branch over another has more.
func (l *Projection) Linear(p *op.Pass, x *op.Input) (kernel.Linear, bool) {
	if l.drops(p) {
		return kernel.Linear{}, false
	}
	all, ok := l.plain(p, x)
	if ok && l.scale != 0 {
		all.A, all.B, all.Scale = op.Of(l.A).View(), op.Of(l.B).View(), l.scale
	}
	return all, ok
}

// plain is the base as a linear that has room for the branch's addition.
func (l *Projection) plain(p *op.Pass, x *op.Input) (kernel.Linear, bool) {
	base, ok := l.base.(op.Plain)
	if !ok {
		return kernel.Linear{}, false
	}
	all, ok := base.Linear(p, x)
	return all, ok && (all.A.Rows == 0 || l.scale == 0)
}

// Factors implements layer.Thin. A branch over another weight than the slot's, or that is a part of something else, as of DoRA, is more
// than its factors.
func (l *Projection) Factors() (a, b kernel.Mat, scale float32, ok bool) {
	return op.Of(l.A).View(), op.Of(l.B).View(), l.scale, l.scale != 0 && l.base == op.Projection(l.slot.Base) && l.slot.Projection == op.Projection(l)
}

// Backward implements op.Projection [hu2021]:
//
//	dB += scale·dyᵀ·s   ds = scale·dy·B   dA += dsᵀ·dropout(x)   dx += base + mask∘(ds·A)
func (l *Projection) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, kept any) {
	if l.scale == 0 {
		l.base.Backward(p, dx, dy, x, kept)
		return
	}
	k := kept.(*saved)
	a, b := op.Of(l.A).View(), op.Of(l.B).View()
	s := kernel.NewMat(k.s, x.Rows, l.rank)
	kernel.MatMul(kernel.NewMat(op.GradOf(l.B), b.Rows, b.Cols), dy, s, kernel.MatMulOpts{TransA: true, Alpha: l.scale, Add: true})
	acts := kernel.Pack(dy, p.Mode)
	defer acts.Free()
	ds := kernel.NewMat(p.Arena.Get(x.Rows*l.rank), x.Rows, l.rank)
	acts.DownBack(ds, b, l.scale)
	d, done := l.drop(p, x.Mat)
	kernel.MatMul(kernel.NewMat(op.GradOf(l.A), a.Rows, a.Cols), ds, d, kernel.MatMulOpts{TransA: true, Add: true})
	done()
	base, plain := l.plain(p, x)
	switch {
	case dx.Rows == 0:
	case plain && !l.drops(p):
		base.A, base.S = a, ds
	default:
		l.backInput(p, dx, ds, a)
	}
	if plain && dx.Rows > 0 {
		acts.Back(dx, &base)
		dx = kernel.Mat{} // what is left is what the base trains
	}
	p.Arena.Put(ds.Data)
	p.Arena.Put(k.s)
	l.base.Backward(p, dx, dy, x, k.base)
}

// backInput adds mask∘(ds·A) to dx.
func (l *Projection) backInput(p *op.Pass, dx, ds, a kernel.Mat) {
	if !l.drops(p) {
		kernel.MatMul(dx, ds, a, kernel.MatMulOpts{Add: true})
		return
	}
	t := kernel.NewMat(p.Arena.Get(dx.Rows*dx.Cols), dx.Rows, dx.Cols)
	kernel.MatMul(t, ds, a, kernel.MatMulOpts{})
	m, done := l.drop(p, t)
	for i := range dx.Rows {
		kernel.Add(dx.Row(i), m.Row(i))
	}
	done()
	p.Arena.Put(t.Data)
}

func (l *Projection) drops(p *op.Pass) bool { return p.Train && l.dropout > 0 }

// drop returns x with elements set to zero with probability dropout and the others scaled by 1/(1−dropout); done gives
// the copy back. The mask is a function of the pass's seed, the slot and the element, so it is never stored.
func (l *Projection) drop(p *op.Pass, x kernel.Mat) (d kernel.Mat, done func()) {
	if !l.drops(p) {
		return x, func() {}
	}
	d = kernel.NewMat(p.Arena.Get(x.Rows*x.Cols), x.Rows, x.Cols)
	keep := float32(1 / (1 - l.dropout))
	bound := uint64(l.dropout * (1 << 53))
	kernel.Split(x.Rows, 8, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			src, dst := x.Row(t), d.Row(t)
			for i, v := range src {
				if op.Random(p.Seed, l.stream+1, uint64(t*x.Cols+i))>>11 < bound {
					dst[i] = 0
				} else {
					dst[i] = v * keep
				}
			}
		}
	})
	return d, func() { p.Arena.Put(d.Data) }
}

// Params implements op.Projection.
func (l *Projection) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		if yield("lora_A.weight", l.A) {
			yield("lora_B.weight", l.B)
		}
	}
}

func (l *Projection) place() *layer.Slot { return l.slot }
func (l *Projection) attach()            { l.slot.Projection = l }
func (l *Projection) detach()            { l.slot.Projection = l.was }

// factors are A and B over the base as the checkpoint has it.
func (l *Projection) factors() (a, b kernel.Mat) {
	return l.start.factors(op.Of(l.A).View(), op.Of(l.B).View())
}

// Owns says that the branch lies over a weight of its own rather than the slot's.
func (l *Projection) Owns() bool { return l.replaced.Rows > 0 }

func (l *Projection) lowRank() *merge.LowRank {
	a, b := l.factors()
	return &merge.LowRank{Tensor: l.slot.Tensor("weight"), A: a, B: b, Scale: l.scale, Transposed: l.slot.Kind == layer.Conv1D}
}

func (l *Projection) deltas() []merge.Delta {
	if l.replaced.Rows > 0 {
		return []merge.Delta{&rebased{l.lowRank(), l.replaced}}
	}
	return []merge.Delta{l.lowRank()}
}

// idle says that the branch adds nothing to the base.
func (l *Projection) idle() bool {
	a, b := op.Data(l.A), op.Data(l.B)
	if l.replaced.Rows > 0 {
		return false
	}
	if l.start != nil {
		return l.scale == 0 || slices.Equal(a, l.start.a.Data) && slices.Equal(b, l.start.b.Data)
	}
	return l.scale == 0 || zero(a) || zero(b)
}

func (l *Projection) extras(saves bool) []peft.Extra {
	return []peft.Extra{peft.BaseWeight(l.slot, saves && l.slot.Kind == layer.Head)}
}
