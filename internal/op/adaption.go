package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// Memory is what queries look at beside the rows of their own sequence.
type Memory struct {
	KV           mat.Tensor // [n, …] a value of the graph
	Keys, Values int        // column of the first key head and of the first value head
	Step         int        // between heads
	Gate         *nn.Param  // [1, 1] factor of what is found
}

// Recall is attention to memories of a softmax of its own [zhang2023]: every query of segment i looks at memory i, if it has one.
//
//	qkv [T, (H+2K)·D]   y [T, H·D] = gate·softmax(scale·Q·Kᵀ)·V, zero without a memory
//
// References: [zhang2023] LLaMA-Adapter, arXiv 2303.16199, eq. 5.
func Recall(p *Pass, qkv mat.Tensor, h Heads, scale float64, memories []*Memory) mat.Tensor {
	rows, cols := shape(qkv)
	if cols != h.Columns() || len(memories) != len(p.Segments) {
		panic(fmt.Sprintf("op: Recall: qkv [%d, %d], heads %+v, %d memories for %d segments", rows, cols, h, len(memories), len(p.Segments)))
	}
	return node(&recall{p: p, x: qkv, h: h, scale: float32(scale), list: memories})
}

type recall struct {
	p     *Pass
	x     mat.Tensor
	h     Heads
	scale float32
	list  []*Memory // by segment, or nil
	y     *Tensor
	probs []kernel.Mat // by segment and query head
}

func (f *recall) Operands() []mat.Tensor {
	list := []mat.Tensor{f.x}
	for _, m := range f.list {
		if m != nil {
			list = append(list, m.KV, m.Gate)
		}
	}
	return distinct(list)
}

// heads are the keys and the values [n, D] of one key head of a memory or of its gradient.
func (f *recall) heads(m *Memory, x kernel.Mat, head int) (k, v kernel.Mat) {
	at := head * m.Step
	return x.ColRange(m.Keys+at, m.Keys+at+f.h.Dim), x.ColRange(m.Values+at, m.Values+at+f.h.Dim)
}

// query is one query head of a segment.
func (f *recall) query(x kernel.Mat, seg Segment, head int) kernel.Mat {
	at := f.h.queryAt(head)
	return x.RowRange(seg.Start, seg.End).ColRange(at, at+f.h.Dim)
}

// out is where one query head of a segment writes.
func (f *recall) out(y kernel.Mat, seg Segment, head int) kernel.Mat {
	return y.RowRange(seg.Start, seg.End).ColRange(head*f.h.Dim, (head+1)*f.h.Dim)
}

func (f *recall) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	f.y = f.p.Arena.NewTensor(x.rows, f.h.Query*f.h.Dim)
	clear(f.y.data)
	f.probs = make([]kernel.Mat, len(f.list)*f.h.Query)
	kernel.Parallel(len(f.probs), func(i int) {
		m, seg, head := f.list[i/f.h.Query], f.p.Segments[i/f.h.Query], i%f.h.Query
		if m == nil {
			return
		}
		kv := Of(m.KV).View()
		k, v := f.heads(m, kv, head/f.h.group())
		q := f.query(x.View(), seg, head)
		s := kernel.NewMat(f.p.Arena.Get(q.Rows*k.Rows), q.Rows, k.Rows)
		kernel.MatMul(s, q, k, kernel.MatMulOpts{TransB: true, Alpha: f.scale, Serial: true})
		for t := range s.Rows {
			kernel.SoftmaxRow(s.Row(t))
		}
		if gate := Data(m.Gate)[0]; gate != 0 { // Alpha 0 means 1
			kernel.MatMul(f.out(f.y.View(), seg, head), s, v, kernel.MatMulOpts{Alpha: gate, Serial: true})
		}
		f.probs[i] = s
	})
	return f.y, nil
}

// Backward, with P the probabilities:
//
//	dP = dy·Vᵀ   dgate += Σ P∘dP   dV += gate·Pᵀ·dy   dS = gate·P∘(dP − rowsum(P∘dP))   dQ = scale·dS·K   dK += scale·dSᵀ·Q
//
// A worker owns one key head of all segments and walks them in order, so sums have one order.
func (f *recall) Backward(gy mat.Tensor) error {
	dy, dx := Of(gy), f.p.Arena.NewTensor(Of(f.x).rows, Of(f.x).cols)
	clear(dx.data)
	for _, m := range f.list {
		if m != nil {
			f.p.partsGrad(m.KV) // made here, so that workers find it
		}
	}
	gates := make([]float32, len(f.probs))
	group := f.h.group()
	kernel.Parallel(f.h.KeyValue, func(kvHead int) {
		for i, m := range f.list {
			for head := kvHead * group; head < (kvHead+1)*group && m != nil; head++ {
				gates[i*f.h.Query+head] = f.backHead(i, head, dy.View(), dx.View())
			}
		}
	})
	for i, m := range f.list {
		for head := range f.h.Query {
			if m != nil {
				GradOf(m.Gate)[0] += gates[i*f.h.Query+head]
				f.p.Arena.Put(f.probs[i*f.h.Query+head].Data)
			}
		}
	}
	f.finish(dy, dx)
	return nil
}

// finish hands the gradients on.
func (f *recall) finish(dy, dx *Tensor) {
	var values []mat.Tensor
	for _, m := range f.list {
		if m != nil {
			values = append(values, m.KV)
		}
	}
	for _, kv := range distinct(values) {
		kv.AccGrad(f.p.partsGrad(kv))
	}
	dy.release()
	f.y.release()
	if f.x.RequiresGrad() {
		f.x.AccGrad(dx)
	} else {
		dx.release()
	}
}

// backHead is Backward of one query head of segment i; it returns the gate's gradient.
func (f *recall) backHead(i, head int, dy, dx kernel.Mat) (dGate float32) {
	m, seg, s := f.list[i], f.p.Segments[i], f.probs[i*f.h.Query+head]
	kvHead, gate := head/f.h.group(), Data(m.Gate)[0]
	k, v := f.heads(m, Of(m.KV).View(), kvHead)
	dk, dv := f.heads(m, f.p.partsGrad(m.KV).View(), kvHead)
	dout := f.out(dy, seg, head)
	ds := kernel.NewMat(f.p.Arena.Get(s.Rows*s.Cols), s.Rows, s.Cols)
	defer f.p.Arena.Put(ds.Data)
	kernel.MatMul(ds, dout, v, kernel.MatMulOpts{TransB: true, Serial: true})
	for t := range s.Rows {
		p, d := s.Row(t), ds.Row(t)
		mean := kernel.Dot(p, d)
		dGate += mean
		for c := range d {
			d[c] = gate * p[c] * (d[c] - mean)
		}
	}
	if gate == 0 { // nothing else moves; Alpha 0 means 1
		return dGate
	}
	kernel.MatMul(dv, s, dout, kernel.MatMulOpts{TransA: true, Alpha: gate, Add: true, Serial: true})
	kernel.MatMul(dk, ds, f.query(Of(f.x).View(), seg, head), kernel.MatMulOpts{TransA: true, Alpha: f.scale, Add: true, Serial: true})
	kernel.MatMul(f.query(dx, seg, head), ds, k, kernel.MatMulOpts{Alpha: f.scale, Serial: true})
	return dGate
}
