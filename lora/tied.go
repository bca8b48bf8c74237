package lora

import (
	"iter"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// tiedHead gives a head the branch of the embedding whose weight it shares (ensure_weight_tying), so that both stay one:
//
//	y = base(x) + scale·x·B·A     A [r, vocabulary], B [dim, r] of the embedding
//
// As a LoRA of the head, which is what the file holds, A is Bᵀ and B is Aᵀ. The gradients of both uses add up.
type tiedHead struct {
	op.Projection // the base
	of            *embedding
	slot          *layer.Slot
}

// Forward implements op.Projection.
func (l *tiedHead) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	saved := l.Projection.Forward(p, y, x)
	if l.of.scale == 0 {
		return saved
	}
	s := l.inner(p, x.Mat)
	kernel.MatMul(y, s, op.Of(l.of.A).View(), kernel.MatMulOpts{Alpha: l.of.scale, Add: true})
	p.Arena.Put(s.Data)
	return saved
}

// inner is x·B [T, r].
func (l *tiedHead) inner(p *op.Pass, x kernel.Mat) kernel.Mat {
	s := kernel.NewMat(p.Arena.Get(x.Rows*l.of.rank), x.Rows, l.of.rank)
	kernel.MatMul(s, x, op.Of(l.of.B).View(), kernel.MatMulOpts{})
	return s
}

// Backward implements op.Projection, with s = x·B and ds = scale·dy·Aᵀ:
//
//	dA += scale·sᵀ·dy   dB += xᵀ·ds   dx += base + ds·Bᵀ
func (l *tiedHead) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	l.Projection.Backward(p, dx, dy, x, saved)
	if l.of.scale == 0 {
		return
	}
	a, b := op.Of(l.of.A).View(), op.Of(l.of.B).View()
	s := l.inner(p, x.Mat)
	kernel.MatMul(kernel.NewMat(op.GradOf(l.of.A), a.Rows, a.Cols), s, dy, kernel.MatMulOpts{TransA: true, Alpha: l.of.scale, Add: true})
	kernel.MatMul(s, dy, a, kernel.MatMulOpts{TransB: true, Alpha: l.of.scale}) // ds
	kernel.MatMul(kernel.NewMat(op.GradOf(l.of.B), b.Rows, b.Cols), x.Mat, s, kernel.MatMulOpts{TransA: true, Add: true})
	if dx.Rows > 0 {
		kernel.MatMul(dx, s, b, kernel.MatMulOpts{TransB: true, Add: true})
	}
	p.Arena.Put(s.Data)
}

// Params implements op.Projection: the graph must know that the head is trained.
func (l *tiedHead) Params() iter.Seq2[string, *nn.Param] { return l.of.Params() }

func (l *tiedHead) place() *layer.Slot { return l.slot }
func (l *tiedHead) attach()            { l.slot.Projection = l }
func (l *tiedHead) detach()            { l.slot.Projection = l.Projection }

// deltas implements part: the embedding's is for both ends.
func (l *tiedHead) deltas() []merge.Delta { return nil }

func (l *tiedHead) idle() bool { return true }

// extras are the second names of the factors.
func (l *tiedHead) extras(saves bool) []peft.Extra {
	at := peft.Prefix + l.slot.Name + "."
	a, b := op.Of(l.of.A).View(), op.Of(l.of.B).View()
	return []peft.Extra{peft.BaseWeight(l.slot, saves), columnsOf(at+"lora_A.weight", "lora_embedding_B transposed", b), columnsOf(at+"lora_B.weight", "lora_embedding_A transposed", a)}
}

// columnsOf is a matrix transposed.
func columnsOf(name, of string, m kernel.Mat) peft.Extra {
	return peft.Extra{Name: name, Of: of, DType: checkpoint.F32, Shape: []int{m.Cols, m.Rows}, Written: true, Row: func(dst []float32, j int) {
		for i := range m.Rows {
			dst[i] = m.Row(i)[j]
		}
	}}
}
