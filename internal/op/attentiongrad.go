package op

import (
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Backward, with P recomputed from the scores and their log-sum-exp [dao2022]:
//
//	dV += Pᵀ·dy   dS = P ∘ (dy·Vᵀ − rowsum(dy ∘ y)) ∘ cap'·scale   dQ += dS·K   dK += dSᵀ·Q
//
// A worker owns one key head of one segment and walks its keys in order, and for each block of them its queries, so sums have one order.
func (f *attention) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x)
	h := f.s
	dx := f.p.Arena.NewTensor(x.rows, x.cols)
	clear(dx.data)
	xv, dxv := x.View(), dx.View()
	reaches := f.reaches(xv)
	for i := range reaches {
		f.withGradients(&reaches[i], dxv)
		reaches[i].aligned = true
	}
	segments := splitBySegment(f.blocks(reaches))
	f.look(reaches, true)
	defer f.unlook()
	back := back{attention: f, x: xv, dx: dxv, dy: dy.View(), means: f.means(dy.View())}
	kernel.Parallel(len(segments)*h.KeyValue, func(i int) { back.head(segments[i/h.KeyValue], i%h.KeyValue) })
	f.p.Arena.Put(back.means)
	for i := range reaches {
		f.spread(&reaches[i], dxv)
		f.part(&reaches[i])
	}
	for _, x := range f.Operands()[1:] {
		if x.RequiresGrad() && x != f.s.Distances {
			x.AccGrad(f.p.partsGrad(x))
		}
	}
	f.spreadDistances(len(reaches))
	dy.release()
	f.y.release()
	f.p.Arena.Put(f.lse)
	if f.x.RequiresGrad() {
		f.x.AccGrad(dx)
	} else {
		dx.release()
	}
	return nil
}

// splitBySegment cuts the list of blocks where the segment changes.
func splitBySegment(list []block) (out [][]block) {
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && list[to].seg == list[from].seg {
			to++
		}
		out = append(out, list[from:to])
		from = to
	}
	return out
}

// means are rowsum(dy ∘ y) by row and head, [T, H]: what softmax' gradient subtracts.
func (f *attention) means(dy kernel.Mat) []float32 {
	h, y := f.s, f.y.View()
	means := f.p.Arena.Get(y.Rows * h.Query)
	kernel.Split(y.Rows, 64, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			for i := range h.Query {
				means[t*h.Query+i] = kernel.Dot(dy.Row(t)[i*h.Dim:(i+1)*h.Dim], y.Row(t)[i*h.Dim:(i+1)*h.Dim])
			}
		}
	})
	return means
}

// back is a backward pass.
type back struct {
	*attention
	x, dx, dy kernel.Mat
	means     []float32
}

// strip is a block of keys of one key head, with what is gathered for them.
type strip struct {
	kvHead          int
	k0, k1          int
	keysT           *kernel.Right // Kᵀ
	keys, valuesT   *kernel.Right // K, Vᵀ
	dKeysT, dValueT kernel.Mat    // [D, keys]; no rows if nobody wants them
}

// head computes the gradients of one key head of a segment and of the query heads that share it.
func (f *back) head(blocks []block, kvHead int) {
	r, h := &blocks[0].reach, f.s
	cut := func(m kernel.Mat, k0, k1 int) kernel.Mat {
		return m.RowRange(k0, k1).ColRange(kvHead*r.step, kvHead*r.step+h.Dim)
	}
	for k := 0; k < r.n; k += keyBlock {
		s := strip{kvHead: kvHead, k0: k, k1: min(k+keyBlock, r.n)}
		s.keysT = kernel.MakeRight(cut(r.keys, s.k0, s.k1), true, f.p.Mode)
		s.keys = kernel.MakeRight(cut(r.keys, s.k0, s.k1), false, f.p.Mode)
		s.valuesT = kernel.MakeRight(cut(r.values, s.k0, s.k1), true, f.p.Mode)
		if r.dKeys.Rows > 0 {
			wide := kernel.RightWidth(s.k1 - s.k0)
			s.dKeysT = kernel.NewMat(f.p.Arena.Zeroed(h.Dim*wide), h.Dim, wide)
			s.dValueT = kernel.NewMat(f.p.Arena.Zeroed(h.Dim*wide), h.Dim, wide)
		}
		for head := kvHead * h.group(); head < (kvHead+1)*h.group(); head++ {
			for i := range blocks {
				if b := blocks[i].among(s.k0, s.k1); b.k0 < b.k1 {
					f.block(&b, &s, head)
				}
			}
		}
		if r.dKeys.Rows > 0 {
			kernel.AddTransposed(cut(r.dKeys, s.k0, s.k1), s.dKeysT.ColRange(0, s.k1-s.k0))
			kernel.AddTransposed(cut(r.dValues, s.k0, s.k1), s.dValueT.ColRange(0, s.k1-s.k0))
		}
		for _, x := range []*kernel.Right{s.keysT, s.keys, s.valuesT} {
			x.Free()
		}
		f.p.Arena.Put(s.dKeysT.Data)
		f.p.Arena.Put(s.dValueT.Data)
	}
}

// block adds the gradients of one head's queries with those of the strip's keys that are the block's.
func (f *back) block(b *block, strip *strip, head int) {
	h := f.s
	nq, nk, wide := b.room()
	buf := f.p.Arena.Get((2*nq + 1) * wide)
	defer f.p.Arena.Put(buf)
	s, ds, slope := kernel.NewMat(buf, nq, wide), kernel.NewMat(buf[nq*wide:], nq, wide), buf[2*nq*wide:]
	t0, at := b.seg.Start+b.q0, b.k0-strip.k0
	part := func(m kernel.Mat, col int) kernel.Mat { return m.RowRange(t0, t0+nq).ColRange(col, col+h.Dim) }
	q, dout := part(f.x, h.queryAt(head)), part(f.dy, head*h.Dim)
	scale := float32(h.Scale)
	strip.keysT.MulRight(s, q, 0, at, kernel.MatMulOpts{Alpha: scale})
	strip.valuesT.MulRight(ds, dout, 0, at, kernel.MatMulOpts{})
	for r := range nq {
		lo, hi := b.seen(r, &f.s)
		p, d := s.Row(r), ds.Row(r)
		f.finish(p[lo:hi], slope[lo:hi], b, r, lo, head)
		kernel.ExpShift(p[lo:hi], f.lse[(t0+r)*h.Query+head])
		kernel.SoftmaxBackward(d[lo:hi], p[lo:hi], f.means[(t0+r)*h.Query+head])
		if f.far != nil {
			f.far.gain(b.index, head, b.past+b.q0+r, b.k0+lo, d[lo:hi])
		}
		if h.SoftCap > 0 {
			kernel.Mul(d[lo:hi], slope[lo:hi])
		}
		for _, row := range [][]float32{p, d} {
			clear(row[:lo])
			clear(row[hi:])
		}
	}
	strip.keys.MulRight(part(f.dx, h.queryAt(head)), ds.ColRange(0, nk), at, 0, kernel.MatMulOpts{Alpha: scale, Add: true})
	if strip.dKeysT.Rows == 0 {
		return
	}
	gather := func(sums, scores, rows kernel.Mat, alpha float32) { // sums += alpha·rowsᵀ·scores
		right := kernel.MakeRight(scores, false, f.p.Mode)
		right.MulRight(sums.ColRange(at, at+wide), rows, 0, 0, kernel.MatMulOpts{TransA: true, Alpha: alpha, Add: true})
		right.Free()
	}
	gather(strip.dKeysT, ds, q, scale)
	gather(strip.dValueT, s, dout, 1)
}
