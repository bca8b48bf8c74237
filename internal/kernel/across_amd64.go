//go:build !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// acrossJob is one call of the kernel of few rows for weights stored [in, out]: y[i] += Σ_n x[i][n]·a[n] for m rows of x, of groups blocks of columns as
// many as m rows have, then of singles registers, then of some lanes of one. Strides are bytes. With each step the same columns of a row further on, ahead
// bytes behind a, are brought into the first cache.
type acrossJob struct {
	x, a, y         unsafe.Pointer
	xRow, aRow      int
	yRow, ahead     int
	steps, m        int // at least one step
	dtype, size     int
	groups, singles int
	lanes           int
}

//go:noescape
func acrossRows(j *acrossJob)

// acrossCols are the registers of columns that 1, 2 … 8 rows keep sums of.
var acrossCols = [...]int{16, 8, 6, 6, 4, 4, 3, 3}

// aheadRows is how far ahead of its use a row of the weight is asked for.
const aheadRows = 8

// across is y (+)= x·W + bias for few rows of x and a weight stored [in, out] that is read in place.
type across struct {
	y    Mat
	x    Mat // as the mode multiplies it
	w    *Frozen
	add  bool
	bias []float32
}

// acrossed says whether so many rows are multiplied by a weight stored [in, out] in place.
func (a *Acts) acrossed(rows int, w *Frozen) bool {
	return a.v.vec == vec512 && w.q == nil && w.rounding(a.mode) == exact && rows <= len(acrossCols) && !(a.mode != ModeF32 && a.v.tiles)
}

// run computes the product; threads own columns.
func (p *across) run() {
	start(p.y, p.bias, 0, p.add)
	threads := runtime.GOMAXPROCS(0)
	if threads == 1 || small(p.y, p.w.Rows) {
		p.part(0, p.y.Cols)
		return
	}
	unit := 16 * acrossCols[p.y.Rows-1]
	units := ceil(p.y.Cols, unit)
	n := pieces(units, max(1, 1<<18/(p.w.Rows*unit)), threads)
	Parallel(n, func(i int) { p.part(units*i/n*unit, min(p.y.Cols, units*(i+1)/n*unit)) })
}

// part computes columns k0 … k1.
func (p *across) part(k0, k1 int) { acrossNumbers(p.y, p.x, p.w.numbers(), k0, k1) }

// acrossNumbers adds columns k0 … k1 of x·a to y, for few rows of x.
func acrossNumbers(y, x Mat, a numbers, k0, k1 int) {
	size, cols := a.dtype.size(), acrossCols[y.Rows-1]
	registers := (k1 - k0) / 16
	acrossRows(&acrossJob{x: at(x.Data, 0), a: a.at(0, k0), y: at(y.Data, k0), xRow: 4 * x.Stride, aRow: size * a.step, yRow: 4 * y.Stride,
		ahead: aheadRows * size * a.step, steps: a.rows, m: y.Rows, dtype: int(a.dtype), size: size,
		groups: registers / cols, singles: registers % cols, lanes: 1<<((k1-k0)%16) - 1})
}
