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
	acrossPieces(p.y, p.w.Rows, false, p.part)
}

// acrossPieces cuts the columns of y, each of them sums of k numbers, among threads.
func acrossPieces(y Mat, k int, serial bool, part func(k0, k1 int)) {
	threads := runtime.GOMAXPROCS(0)
	if serial || threads == 1 || small(y, k) {
		part(0, y.Cols)
		return
	}
	unit := 16 * acrossCols[min(y.Rows, len(acrossCols))-1]
	units := ceil(y.Cols, unit)
	n := pieces(units, max(1, 1<<18/(k*unit)), threads)
	Parallel(n, func(i int) { part(units*i/n*unit, min(y.Cols, units*(i+1)/n*unit)) })
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

const (
	// outerRows is up to how many rows of c the kernel of few rows, which packs nothing, beats the micro-kernel.
	outerRows = 32
	// outerSteps rows of b, of as many columns as a call sums, are in the first cache for all rows of c.
	outerSteps = 128
)

// outer is c (+)= alpha·aᵀ·b for few rows of c, summed over the rows of both operands, as in the gradient of an adapter's A. Threads own columns.
func outer(c, a, b Mat, o MatMulOpts) {
	buf := floats.get(a.Rows * a.Cols)
	defer floats.put(buf)
	x := NewMat(*buf, a.Cols, a.Rows)
	transposeInto(x, a)
	if o.Alpha != 1 {
		Scale(*buf, o.Alpha)
	}
	start(c, nil, 0, o.Add)
	acrossPieces(c, b.Rows, o.Serial, func(n0, n1 int) {
		for k := 0; k < b.Rows; k += outerSteps {
			ke := min(k+outerSteps, b.Rows)
			for m := 0; m < c.Rows; m += len(acrossCols) {
				me := min(m+len(acrossCols), c.Rows)
				acrossNumbers(c.RowRange(m, me), x.RowRange(m, me).ColRange(k, ke), b.RowRange(k, ke).numbers(), n0, n1)
			}
		}
	})
}
