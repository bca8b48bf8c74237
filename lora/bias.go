package lora

import (
	"iter"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// biased is a low-rank branch whose B has a bias (lora_bias):
//
//	y = base(x) + scale·(B·A·dropout(x) + c)     c [out]
type biased struct {
	*Projection
	Bias *nn.Param // [out], lora_B.bias
}

func newBiased(l *Projection) *biased {
	_, out := l.Dims()
	return &biased{Projection: l, Bias: op.NewVectorParam(make([]float32, out))}
}

// Forward implements op.Projection.
func (l *biased) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	saved := l.Projection.Forward(p, y, x)
	for t := range y.Rows {
		kernel.Axpy(y.Row(t), l.scale, op.Data(l.Bias))
	}
	return saved
}

// Linear implements op.Plain: there is more to it.
func (l *biased) Linear(*op.Pass, *op.Input) (kernel.Linear, bool) { return kernel.Linear{}, false }

// Backward implements op.Projection: dc += scale·Σ_t dy[t], and the branch's.
func (l *biased) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	sum := p.Arena.Zeroed(dy.Cols)
	layer.AddRows(sum, dy)
	kernel.Axpy(op.GradOf(l.Bias), l.scale, sum)
	p.Arena.Put(sum)
	l.Projection.Backward(p, dx, dy, x, saved)
}

// Params implements op.Projection.
func (l *biased) Params() iter.Seq2[string, *nn.Param] {
	return with(l.Projection.Params(), "lora_B.bias", l.Bias)
}

func (l *biased) attach() { l.slot.Projection = l }

func (l *biased) idle() bool { return (l.scale == 0 || zero(op.Data(l.Bias))) && l.Projection.idle() }

// deltas folds the bias into the base's.
func (l *biased) deltas() []merge.Delta {
	return append(l.Projection.deltas(), &biasDelta{tensor: l.slot.Tensor("bias"), bias: op.Data(l.Bias), scale: l.scale})
}

// biasDelta adds scale·c to a bias.
type biasDelta struct {
	tensor string
	bias   []float32
	scale  float32
}

// Target implements merge.Delta.
func (d *biasDelta) Target() string { return d.tensor }

// Dims implements merge.Delta.
func (d *biasDelta) Dims() (rows, cols int) { return len(d.bias), 1 }

// AddTo implements merge.Adder.
func (d *biasDelta) AddTo(lo, hi int, dst []float32) { kernel.Axpy(dst, d.scale, d.bias[lo:hi]) }

// Check implements merge.Checker.
func (d *biasDelta) Check() error {
	return (&merge.Whole{Rows: len(d.bias), Cols: 1, Data: d.bias}).Check()
}

// Absent says why a checkpoint without the tensor cannot take the delta.
func (d *biasDelta) Absent() string {
	return "lora_bias cannot be folded into a layer that has no bias; keep the adapter beside the base"
}

// joinBiases adds what lora_bias does to a bias of the base that is trained itself to that one's delta: a tensor is changed once.
func joinBiases(list []merge.Delta) (joined []merge.Delta) {
	whole := map[string]*merge.Whole{}
	for _, d := range list {
		if w, ok := d.(*merge.Whole); ok {
			whole[w.Tensor] = w
		}
	}
	for _, d := range list {
		b, ok := d.(*biasDelta)
		if !ok || whole[b.tensor] == nil {
			joined = append(joined, d)
			continue
		}
		w := whole[b.tensor]
		w.Data = slices.Clone(w.Data)
		kernel.Axpy(w.Data, b.scale, b.bias)
	}
	return joined
}
