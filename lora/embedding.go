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

// embedding is a table of embeddings with a low-rank branch. There is no dropout in it.
//
//	y[t] = E[id] + scale·B·A[:, id]
//
//	A [r, num_embeddings]   B [dim, r]
//
// With DoRA, whose lengths n are those of the columns of E + scale·(B·A)ᵀ:
//
//	y[t] = g∘(E[id] + scale·B·A[:, id])     g = m/n
type embedding struct {
	A *nn.Param // [r, num_embeddings], lora_embedding_A
	B *nn.Param // [dim, r], lora_embedding_B
	M *nn.Param // [dim], lora_magnitude_vector, or nil

	slot  *layer.Slot
	base  op.Lookup
	rank  int
	scale float32
	norm  lengths
	both  bool // a tied head has the same branch
}

// weigh gives the branch its magnitudes.
func (e *embedding) weigh() {
	e.norm.w, e.norm.transposed = e.slot.Base.W, true
	e.M = op.NewVectorParam(slices.Clone(e.lengths()))
}

func (e *embedding) lengths() []float32 {
	return e.norm.of(op.Of(e.A).View(), op.Of(e.B).View(), e.scale)
}

// Size implements op.Lookup.
func (e *embedding) Size() (rows, dim int) { return e.base.Size() }

// Look implements op.Lookup.
func (e *embedding) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	e.sum(p, y, ids)
	if e.M == nil {
		return
	}
	gain := gainOf(op.Data(e.M), e.lengths())
	for t := range y.Rows {
		kernel.Mul(y.Row(t), gain)
	}
}

// sum is E[id] + scale·B·A[:, id].
func (e *embedding) sum(p *op.Pass, y kernel.Mat, ids []int32) {
	e.base.Look(p, y, ids)
	if e.scale == 0 { // to MatMul a factor of 0 means none
		return
	}
	u := e.columns(p, ids)
	kernel.MatMul(y, u, op.Of(e.B).View(), kernel.MatMulOpts{TransB: true, Alpha: e.scale, Add: true})
	p.Arena.Put(u.Data)
}

// columns gathers A[:, id] as rows: [T, r].
func (e *embedding) columns(p *op.Pass, ids []int32) kernel.Mat {
	a := op.Of(e.A).View()
	u := kernel.NewMat(p.Arena.Get(len(ids)*e.rank), len(ids), e.rank)
	for t, id := range ids {
		row := u.Row(t)
		for k := range row {
			row[k] = a.Row(k)[id]
		}
	}
	return u
}

// LookBackward implements op.Lookup, with d = g∘dy, or dy:
//
//	dm += Σ_t dy∘(sum)/n   dB += scale·dᵀ·u   dA[:, id] += scale·(d·B)[t]
func (e *embedding) LookBackward(p *op.Pass, dy kernel.Mat, ids []int32) {
	d := dy
	if e.M != nil {
		d = e.backMagnitude(p, dy, ids)
		defer p.Arena.Put(d.Data)
	}
	e.base.LookBackward(p, d, ids)
	if e.scale == 0 {
		return
	}
	b, u := op.Of(e.B).View(), e.columns(p, ids)
	kernel.MatMul(kernel.NewMat(op.GradOf(e.B), b.Rows, b.Cols), d, u, kernel.MatMulOpts{TransA: true, Alpha: e.scale, Add: true})
	kernel.MatMul(u, d, b, kernel.MatMulOpts{Alpha: e.scale})
	da := kernel.NewMat(op.GradOf(e.A), e.rank, len(op.Data(e.A))/e.rank)
	for t, id := range ids {
		for k, v := range u.Row(t) {
			da.Row(k)[id] += v
		}
	}
	p.Arena.Put(u.Data)
}

// backMagnitude adds the gradient of m and returns g∘dy.
func (e *embedding) backMagnitude(p *op.Pass, dy kernel.Mat, ids []int32) kernel.Mat {
	n := e.lengths()
	d := kernel.NewMat(p.Arena.Get(dy.Rows*dy.Cols), dy.Rows, dy.Cols)
	e.sum(p, d, ids)
	addMagnitudes(op.GradOf(e.M), dy, d, n)
	gain := gainOf(op.Data(e.M), n)
	for t := range dy.Rows {
		copy(d.Row(t), dy.Row(t))
		kernel.Mul(d.Row(t), gain)
	}
	return d
}

// Params implements op.Lookup. The names have no ".weight".
func (e *embedding) Params() iter.Seq2[string, *nn.Param] {
	factors := func(yield func(string, *nn.Param) bool) {
		if yield("lora_embedding_A", e.A) {
			yield("lora_embedding_B", e.B)
		}
	}
	if e.M == nil {
		return factors
	}
	return with(factors, magnitude, e.M)
}

func (e *embedding) place() *layer.Slot { return e.slot }
func (e *embedding) attach()            { e.slot.Lookup = e }
func (e *embedding) detach()            { e.slot.Lookup = e.base }

// deltas implements part: rows of the table are inputs, so the product is stored transposed.
func (e *embedding) deltas() []merge.Delta {
	sum := merge.LowRank{Tensor: e.slot.Tensor("weight"), A: op.Of(e.A).View(), B: op.Of(e.B).View(), Scale: e.scale, Transposed: true, BothEnds: e.both}
	if e.M == nil {
		return []merge.Delta{&sum}
	}
	return []merge.Delta{&merge.Gained{Sum: sum, Gain: gainOf(op.Data(e.M), e.lengths())}}
}

func (e *embedding) idle() bool {
	none := e.scale == 0 || zero(op.Data(e.A)) || zero(op.Data(e.B))
	return none && (e.M == nil || slices.Equal(op.Data(e.M), e.lengths()))
}

func (e *embedding) extras(saves bool) []peft.Extra {
	return []peft.Extra{peft.BaseWeight(e.slot, saves)}
}
