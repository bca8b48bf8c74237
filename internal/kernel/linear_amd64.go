//go:build !purego

package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// fewLinear are the products of one Linear. That of its addition of low rank with the activations comes first; the other is part of the dots
// with the weight, or follows the products of bytes.
type fewLinear struct {
	dots
	bytes bytesProduct // of rows, if the weight is multiplied as bytes
	inner dots         // s = scale·x·Aᵀ
	buf   *[]float32   // of s; nil if there is no addition
	left  atomic.Int32 // pieces of s
}

// fewPiece is columns n0 … n1 of a linear's results or of its s.
type fewPiece struct {
	of     *fewLinear
	inner  bool
	n0, n1 int
}

// fewLinears are Linears of few rows, cut into pieces.
type fewLinears struct {
	list   []fewLinear
	pieces []fewPiece
}

var fewPool = sync.Pool{New: func() any { return new(fewLinears) }}

// few computes linears of few rows in one go, if they are such, and says whether it did.
func (a *Acts) few(ys []Mat, list []Linear) bool {
	for i := range list {
		if list[i].Transposed || !a.dotted(ys[i].Rows, list[i].W) {
			return false
		}
	}
	f := fewPool.Get().(*fewLinears)
	if cap(f.list) < len(list) {
		f.list = make([]fewLinear, len(list))
	}
	f.list = f.list[:len(list)]
	threads := runtime.GOMAXPROCS(0)
	work := 0
	for i := range list {
		f.list[i].set(a, ys[i], &list[i])
		work += ys[i].Rows * ys[i].Cols * a.x.Cols
	}
	if work <= smallWork {
		threads = 1
	}
	f.cut(a.x.Cols, threads)
	if threads == 1 {
		for i := range f.pieces {
			f.piece(i)
		}
	} else {
		Parallel(len(f.pieces), f.piece)
	}
	f.free()
	return true
}

// set describes the products of one linear.
func (f *fewLinear) set(a *Acts, y Mat, l *Linear) {
	short := shorts(a.mode, l.W, y.Rows) && a.v.vnni
	if short {
		f.bytes = bytesProduct{c: y, x: a.shortRows(), w: l.W, bias: l.Bias}
		f.c = y
	} else {
		f.dots = a.dotsOf(y, l.W, l.Bias, false)
	}
	if l.A.Rows == 0 {
		return
	}
	f.buf = floats.get(y.Rows * lowWidth(l.A.Rows))
	clear(*f.buf)
	s := Mat{Data: *f.buf, Rows: y.Rows, Cols: l.A.Rows, Stride: lowWidth(l.A.Rows)}
	f.inner = dots{c: s, x: a.x, a: l.A.numbers(), alpha: l.Scale, vec: a.v.vec}
	if short {
		f.dots = lowDots(y, s, l.B, 1, true, a.v.vec)
		return
	}
	f.s, f.b = s, l.B
}

// columns computes columns n0 … n1 of the results.
func (f *fewLinear) columns(n0, n1 int) {
	if f.bytes.w != nil {
		f.bytes.part(n0, n1)
		if f.buf == nil {
			return
		}
	}
	f.part(0, f.c.Rows, n0, n1)
}

// cut lists the pieces of sums of k numbers. Those of s come first, cut by four rows of A at least.
func (f *fewLinears) cut(k, threads int) {
	f.pieces = f.pieces[:0]
	for i := range f.list {
		if l := &f.list[i]; l.buf != nil {
			n := f.add(l, true, l.inner.c.Cols, min(threads, ceil(l.inner.c.Cols, 4)))
			l.left.Store(int32(n))
		}
	}
	for i := range f.list {
		l := &f.list[i]
		f.add(l, false, l.c.Cols, columnPieces(ceil(l.c.Cols, 4), k, threads))
	}
}

// add cuts n columns into count pieces.
func (f *fewLinears) add(l *fewLinear, inner bool, n, count int) int {
	units := ceil(n, 4)
	for i := range count {
		f.pieces = append(f.pieces, fewPiece{l, inner, units * i / count * 4, min(n, units*(i+1)/count*4)})
	}
	return count
}

// piece computes one piece. Results wait for the s that they need: pieces are taken in order, so threads that run have all of its pieces.
func (f *fewLinears) piece(i int) {
	p := &f.pieces[i]
	if p.inner {
		defer p.of.left.Add(-1) // also of a piece that panics: nobody waits for ever
		p.of.inner.part(0, p.of.c.Rows, p.n0, p.n1)
		return
	}
	for p.of.buf != nil && p.of.left.Load() > 0 {
		runtime.Gosched()
	}
	p.of.columns(p.n0, p.n1)
}

// free gives the memory back.
func (f *fewLinears) free() {
	for i := range f.list {
		floats.put(f.list[i].buf)
		f.list[i] = fewLinear{}
	}
	fewPool.Put(f)
}
