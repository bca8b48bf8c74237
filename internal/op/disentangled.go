package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// DisentangledSpec says how rows attend to each other by content and distance.
type DisentangledSpec struct {
	Heads
	Scale        float64                // of the sum of the terms
	Keys         bool                   // queries look for distances
	Queries      bool                   // distances look for keys
	DistanceRows func(distance int) int // the row of rel for query minus key, both counted in rows of their segment
}

// Disentangled is attention both ways within each segment whose scores have terms of the distance δ = i − j beside that of
// the content [he2021]:
//
//	score[i, j] = scale·(q[i]·k[j] + q[i]·kr[δ] + k[j]·qr[δ])
//
//	qkv [T, 3H·D]   rel [R, ·]: kr [H·D] if Keys, then qr [H·D] if Queries   y [T, H·D]
//
// Where the distances pass through the projections of the content, rel is nil and their R rows lie below qkv's T.
//
// A worker holds the scores of one head of one segment at a time.
func Disentangled(p *Pass, qkv, rel mat.Tensor, s DisentangledSpec) mat.Tensor {
	rows, cols := shape(qkv)
	if cols != s.Columns() || s.Query != s.KeyValue || s.Grouped || rows < p.Rows() {
		panic(fmt.Sprintf("op: Disentangled: qkv [%d, %d] of %d rows, heads %+v", rows, cols, p.Rows(), s.Heads))
	}
	f := &disentangled{p: p, x: qkv, rel: rel, s: s, n: rows - p.Rows()}
	if rel != nil {
		f.n, cols = shape(rel)
		if want := s.terms() * s.Query * s.Dim; cols != want || rows != p.Rows() {
			panic(fmt.Sprintf("op: Disentangled: qkv of %d rows, want %d, rel of %d columns, want %d", rows, p.Rows(), cols, want))
		}
	}
	return node(f)
}

// terms counts those of the distance.
func (s *DisentangledSpec) terms() (n int) {
	for _, on := range []bool{s.Keys, s.Queries} {
		if on {
			n++
		}
	}
	return n
}

type disentangled struct {
	p      *Pass
	x, rel mat.Tensor
	s      DisentangledSpec
	n      int // distances
	y      *Tensor
}

func (f *disentangled) Operands() []mat.Tensor {
	if f.rel == nil {
		return []mat.Tensor{f.x}
	}
	return []mat.Tensor{f.x, f.rel}
}

// side is what one head has in one segment: views of values, or of their gradients.
type side struct{ q, k, v, kr, qr kernel.Mat }

// side gives the views; rel is empty where the distances lie below x.
func (f *disentangled) side(x, rel kernel.Mat, g Segment, head int) side {
	h := f.s.Heads
	at := func(m kernel.Mat, col int) kernel.Mat { return m.ColRange(col, col+h.Dim) }
	rows := x.RowRange(g.Start, g.End)
	s := side{q: at(rows, h.queryAt(head)), k: at(rows, h.keyAt(head)), v: at(rows, h.valueAt(head))}
	key, query := h.keyAt(head), h.queryAt(head)
	if f.rel == nil {
		rel = x.RowRange(x.Rows-f.n, x.Rows)
	} else {
		key, query = head*h.Dim, head*h.Dim
		if f.s.Keys {
			query += h.Query * h.Dim
		}
	}
	if f.s.Keys {
		s.kr = at(rel, key)
	}
	if f.s.Queries {
		s.qr = at(rel, query)
	}
	return s
}

// probabilities fills w.p with the softmax of the scores.
func (f *disentangled) probabilities(s side, w *distances) {
	kernel.MatMul(w.p, s.q, s.k, kernel.MatMulOpts{TransB: true, Serial: true})
	if f.s.Keys {
		kernel.MatMul(w.c, s.q, s.kr, kernel.MatMulOpts{TransB: true, Serial: true})
	}
	if f.s.Queries {
		kernel.MatMul(w.r, s.k, s.qr, kernel.MatMulOpts{TransB: true, Serial: true})
	}
	for i := range w.p.Rows {
		row := w.p.Row(i)
		for j := range row {
			d := w.row(i, j)
			if f.s.Keys {
				row[j] += w.c.Row(i)[d]
			}
			if f.s.Queries {
				row[j] += w.r.Row(j)[d]
			}
		}
		kernel.Scale(row, float32(f.s.Scale))
		kernel.SoftmaxRow(row)
	}
}

// distances is the scratch of a worker: the n·n scores of a segment, and products of its rows with those of distances.
type distances struct {
	p, c, r kernel.Mat // [n, n], [n, R], [n, R]
	rows    []int      // of rel by i − j + n − 1
	buf     []float32
}

func (w *distances) row(i, j int) int { return w.rows[i-j+w.p.Rows-1] }

// distances are those of a tensor of their own.
func (f *disentangled) distances() kernel.Mat {
	if f.rel == nil {
		return kernel.Mat{}
	}
	return Of(f.rel).View()
}

func (f *disentangled) scratch(n int) *distances {
	rel := f.n
	buf := f.p.Arena.Get(n * (n + 2*rel))
	w := &distances{buf: buf, p: kernel.NewMat(buf[:n*n], n, n), c: kernel.NewMat(buf[n*n:n*(n+rel)], n, rel), r: kernel.NewMat(buf[n*(n+rel):], n, rel)}
	for d := 1 - n; d < n; d++ {
		w.rows = append(w.rows, f.s.DistanceRows(d))
	}
	return w
}

func (f *disentangled) Forward() (mat.Tensor, error) {
	h := f.s.Query
	f.y = f.p.Arena.NewTensor(f.p.Rows(), h*f.s.Dim)
	xv, rv, yv := Of(f.x).View(), f.distances(), f.y.View()
	kernel.Parallel(len(f.p.Segments)*h, func(i int) {
		g, head := f.p.Segments[i/h], i%h
		w := f.scratch(g.End - g.Start)
		defer f.p.Arena.Put(w.buf)
		s := f.side(xv, rv, g, head)
		f.probabilities(s, w)
		kernel.MatMul(yv.RowRange(g.Start, g.End).ColRange(head*f.s.Dim, (head+1)*f.s.Dim), w.p, s.v, kernel.MatMulOpts{Serial: true})
	})
	return f.y, nil
}

// Backward, with P recomputed and dS = P ∘ (dy·Vᵀ − rowsum(dy ∘ y))·scale:
//
//	dV = Pᵀ·dy   dQ = dS·K + dC·KR   dK = dSᵀ·Q + dR·QR   dKR += dCᵀ·Q   dQR += dRᵀ·K
//
// where dC[i, d] sums dS[i, j] over the keys at distance d, and dR[j, d] over the queries. A worker owns one head and walks the
// segments in order, so sums have one order.
func (f *disentangled) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x)
	dx := f.p.Arena.NewTensor(x.rows, x.cols)
	clear(dx.data)
	var drel *Tensor
	if f.rel != nil {
		_, cols := shape(f.rel)
		drel = f.p.Arena.NewTensor(f.n, cols)
		clear(drel.data)
	}
	xv, rv, dxv, drv := x.View(), f.distances(), dx.View(), viewOf(drel)
	kernel.Parallel(f.s.Query, func(head int) {
		for _, g := range f.p.Segments {
			at := func(m kernel.Mat) kernel.Mat {
				return m.RowRange(g.Start, g.End).ColRange(head*f.s.Dim, (head+1)*f.s.Dim)
			}
			f.back(f.side(xv, rv, g, head), f.side(dxv, drv, g, head), at(f.y.View()), at(dy.View()))
		}
	})
	dy.release()
	f.y.release()
	handOver(f.x, dx)
	if f.rel != nil {
		handOver(f.rel, drel)
	}
	return nil
}

// handOver gives a gradient to the value, if it wants one.
func handOver(x mat.Tensor, grad *Tensor) {
	if x.RequiresGrad() {
		x.AccGrad(grad)
	} else {
		grad.release()
	}
}

// back does one head of one segment.
func (f *disentangled) back(s, d side, y, dy kernel.Mat) {
	n := y.Rows
	w := f.scratch(n)
	defer f.p.Arena.Put(w.buf)
	f.probabilities(s, w)
	buf := f.p.Arena.Get(n * n)
	defer f.p.Arena.Put(buf)
	ds := kernel.NewMat(buf, n, n)
	serial := kernel.MatMulOpts{Serial: true}
	left, right := kernel.MatMulOpts{TransA: true, Serial: true}, kernel.MatMulOpts{TransB: true, Serial: true}
	kernel.MatMul(d.v, w.p, dy, left)
	kernel.MatMul(ds, dy, s.v, right)
	clear(w.c.Data)
	clear(w.r.Data)
	for i := range n {
		mean, row := kernel.Dot(dy.Row(i), y.Row(i)), ds.Row(i)
		for j, p := range w.p.Row(i) {
			row[j] = p * (row[j] - mean) * float32(f.s.Scale)
			at := w.row(i, j)
			w.c.Row(i)[at] += row[j]
			w.r.Row(j)[at] += row[j]
		}
	}
	kernel.MatMul(d.q, ds, s.k, serial)
	kernel.MatMul(d.k, ds, s.q, left)
	serial.Add, left.Add = true, true
	if f.s.Keys {
		kernel.MatMul(d.q, w.c, s.kr, serial)
		kernel.MatMul(d.kr, w.c, s.q, left)
	}
	if f.s.Queries {
		kernel.MatMul(d.k, w.r, s.qr, serial)
		kernel.MatMul(d.qr, w.r, s.k, left)
	}
}
