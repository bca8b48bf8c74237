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
	k0             int
	keysT          *kernel.Right // Kᵀ
	keys, valuesT  *kernel.Right // K, Vᵀ
	dKeys, dValues gathered
}

// gathered are the gradients of a strip's keys or values: sums of scoresᵀ·rows over blocks of queries. Those of many are gathered
// transposed: then the scores, which are many, are the right operand, and what is made ready of the rows is small.
type gathered struct {
	sums       kernel.Mat // [keys, D]; no rows if nobody wants them
	transposed kernel.Mat // [D, keys]
}

// head computes the gradients of one key head of a segment and of the query heads that share it.
func (f *back) head(blocks []block, kvHead int) {
	r, h := &blocks[0].reach, f.s
	for k0 := 0; k0 < r.n; k0 += keyBlock {
		k1 := min(k0+keyBlock, r.n)
		cut := func(m kernel.Mat) kernel.Mat { return m.RowRange(k0, k1).ColRange(kvHead*r.step, kvHead*r.step+h.Dim) }
		keys := cut(r.keys)
		s := strip{k0: k0, keysT: kernel.MakeRight(keys, true, f.p.Mode), keys: kernel.MakeRight(keys, false, f.p.Mode), valuesT: kernel.MakeRight(cut(r.values), true, f.p.Mode)}
		if r.dKeys.Rows > 0 {
			many := r.seg.End-r.seg.Start >= manyQueries
			s.dKeys, s.dValues = f.gather(cut(r.dKeys), many), f.gather(cut(r.dValues), many)
		}
		for head := kvHead * h.group(); head < (kvHead+1)*h.group(); head++ {
			for i := range blocks {
				if b := blocks[i].among(k0, k1); b.k0 < b.k1 {
					f.block(&b, &s, head)
				}
			}
		}
		f.gathered(s.dKeys)
		f.gathered(s.dValues)
		for _, x := range []*kernel.Right{s.keysT, s.keys, s.valuesT} {
			x.Free()
		}
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
	strip.dKeys.add(at, nk, ds, q, scale, f.p.Mode)
	strip.dValues.add(at, nk, s, dout, 1, f.p.Mode)
}

// gather begins sums for the gradients of keys or values of many queries, or of few.
func (f *back) gather(sums kernel.Mat, many bool) gathered {
	g := gathered{sums: sums}
	if many {
		wide := kernel.RightWidth(sums.Rows)
		g.transposed = kernel.NewMat(f.p.Arena.Zeroed(sums.Cols*wide), sums.Cols, wide)
	}
	return g
}

// add adds alpha·scoresᵀ·rows to the sums of n keys from at on. Scores may have more columns.
func (g *gathered) add(at, n int, scores, rows kernel.Mat, alpha float32, mode kernel.Mode) {
	o := kernel.MatMulOpts{TransA: true, Alpha: alpha, Add: true, Serial: true}
	switch {
	case g.sums.Rows == 0:
	case g.transposed.Rows == 0:
		kernel.MatMul(g.sums.RowRange(at, at+n), scores.ColRange(0, n), rows, o)
	default:
		right := kernel.MakeRight(scores, false, mode)
		right.MulRight(g.transposed.ColRange(at, at+scores.Cols), rows, 0, 0, o)
		right.Free()
	}
}

// gathered ends what gather began.
func (f *back) gathered(g gathered) {
	if g.transposed.Rows > 0 {
		kernel.Transpose(g.sums, g.transposed.ColRange(0, g.sums.Rows))
		f.p.Arena.Put(g.transposed.Data)
	}
}
