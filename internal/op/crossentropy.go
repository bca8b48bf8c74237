package op

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Ignore marks a row without a target.
const Ignore = -100

// LossSums are what a loss adds up over the rows with a target, before scaling.
type LossSums struct {
	Loss    float64 // Σ weight·loss
	Weight  float64 // Σ weight
	Targets int
	Correct int // rows whose best token is the target
}

// CrossEntropySpec says what loss is wanted.
type CrossEntropySpec struct {
	Targets   []int32   // [T], Ignore = no loss
	Weights   []float32 // [T] or nil
	Scale     float64   // of the result and its gradients
	Smoothing float64   // the share of the target's probability that is spread over all tokens
	PerRow    []float64 // if not nil, [T] receives each row's unweighted loss
}

// chunkBytes bounds the logits that exist at one time, unless they would be of fewer than chunkRows: too few for the head's weight to be
// packed for them.
const (
	chunkBytes = 48 << 20
	chunkRows  = 128
)

// ChunkBytes is the most memory that logits over a vocabulary take at one time.
func ChunkBytes(vocab int) int64 { return 4 * int64(vocab) * int64(chunkOf(vocab)) }

// chunkOf is how many rows of logits exist at one time.
func chunkOf(vocab int) int { return max(chunkRows, chunkBytes/4/vocab) }

// CrossEntropy is scale·Σ weight·(−log softmax(head(x))[target]) over the rows with a target, as a node [1, 1]. Only these rows are
// projected, a chunk at a time; while a chunk's logits are there, their gradient is, too, so that Backward only hands on
// what Forward computed. The node must be the root of the graph.
//
//	x [T, C]
func CrossEntropy(p *Pass, x mat.Tensor, head Projection, s CrossEntropySpec) (mat.Tensor, LossSums) {
	in, out := head.Dims()
	if rows, cols := shape(x); cols != in || len(s.Targets) != rows {
		panic(fmt.Sprintf("op: CrossEntropy: x [%d, %d], %d targets, head %d to %d", rows, cols, len(s.Targets), in, out))
	}
	f := &crossEntropy{p: p, x: x, head: head, s: s, vocab: out}
	return node(f), f.sums
}

type crossEntropy struct {
	p     *Pass
	x     mat.Tensor
	head  Projection
	s     CrossEntropySpec
	vocab int
	dx    *Tensor
	sums  LossSums
}

func (f *crossEntropy) Operands() []mat.Tensor { return operands([]mat.Tensor{f.x}, f.head) }

func (f *crossEntropy) Forward() (mat.Tensor, error) {
	var rows []int
	for t, target := range f.s.Targets {
		if target != Ignore {
			rows = append(rows, t)
		}
	}
	x := Of(f.x)
	if f.p.Grad && f.x.RequiresGrad() {
		f.dx = f.p.Arena.NewTensor(x.rows, x.cols)
		clear(f.dx.data)
	}
	size := chunkOf(f.vocab)
	for from := 0; from < len(rows); from += size {
		f.chunk(rows[from:min(from+size, len(rows))])
	}
	y := f.p.Arena.NewTensor(1, 1)
	y.data[0] = float32(f.s.Scale * f.sums.Loss)
	return y, nil
}

// chunk does some rows: logits, losses, and their gradients.
func (f *crossEntropy) chunk(rows []int) {
	p, xv, n := f.p, Of(f.x).View(), len(rows)
	hidden := p.Arena.NewTensor(n, xv.Cols)
	logits := p.Arena.NewTensor(n, f.vocab)
	defer hidden.release()
	defer logits.release()
	for i, t := range rows {
		copy(hidden.View().Row(i), xv.Row(t))
	}
	in := NewInput(hidden.View())
	defer in.Free()
	saved := f.head.Forward(p.Pick(rows), logits.View(), in)
	type outcome struct {
		loss    float64
		correct bool
	}
	out := make([]outcome, n)
	lv := logits.View()
	kernel.Split(n, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			out[i].loss, out[i].correct = f.row(lv.Row(i), rows[i])
		}
	})
	for i, t := range rows {
		w := f.weight(t)
		f.sums.Loss += w * out[i].loss
		f.sums.Weight += w
		f.sums.Targets++
		if out[i].correct {
			f.sums.Correct++
		}
		if f.s.PerRow != nil {
			f.s.PerRow[t] = out[i].loss
		}
	}
	if !p.Grad {
		return
	}
	var dh kernel.Mat
	if f.dx != nil {
		t := p.Arena.NewTensor(n, xv.Cols)
		defer t.release()
		clear(t.data)
		dh = t.View()
	}
	f.head.Backward(p, dh, lv, in, saved)
	if f.dx != nil {
		dxv := f.dx.View()
		for i, t := range rows {
			copy(dxv.Row(t), dh.Row(i))
		}
	}
}

func (f *crossEntropy) weight(t int) float64 {
	if f.s.Weights == nil {
		return 1
	}
	return float64(f.s.Weights[t])
}

// row computes the loss of one row and, if gradients are wanted, replaces its logits by them:
//
//	loss = (1−ε)·(lse − z[target]) + ε·(lse − mean(z))
//	dz   = scale·weight·(softmax(z) − (1−ε)·onehot(target) − ε/V)
func (f *crossEntropy) row(z []float32, t int) (loss float64, correct bool) {
	target := f.s.Targets[t]
	zt := float64(z[target])
	eps := f.s.Smoothing
	mean := 0.0
	if eps > 0 {
		mean = kernel.Sum(z) / float64(len(z))
	}
	best := kernel.Max(z)
	correct = z[target] == best
	top, sum := kernel.SoftmaxRow(z)
	lse := float64(top) + math.Log(float64(sum))
	loss = (1-eps)*(lse-zt) + eps*(lse-mean)
	if f.p.Grad {
		k := f.s.Scale * f.weight(t)
		kernel.Scale(z, float32(k))
		if eps > 0 {
			flat := float32(k * eps / float64(len(z)))
			for i := range z {
				z[i] -= flat
			}
		}
		z[target] -= float32(k * (1 - eps))
	}
	return loss, correct
}

// Backward hands dx on; the gradient of the root is 1.
func (f *crossEntropy) Backward(gy mat.Tensor) error {
	if f.dx != nil {
		f.x.AccGrad(f.dx)
	}
	return nil
}
