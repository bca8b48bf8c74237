package kernel

import (
	"fmt"
	"sync"
)

// Right is a matrix made ready once, in one mode, to be the right operand of many small products with all of it or with parts: keys and
// values, which all queries of a text meet. Safe for concurrent use until Free. Where it is too small for that to pay, products read it in
// place, in float32 in every mode.
type Right struct {
	b           Mat
	trans       bool
	steps, cols int // of B
	mode        Mode
	v           *variant
	ready
}

// rightUnit is what parts of a Right begin at multiples of.
const rightUnit = 32

// RightWidth is the number of columns that c has in MulRight to hold n without a copy of what lies at its edge.
func RightWidth(n int) int { return ceil(n, rightUnit) * rightUnit }

// RightStart is the last column at or before n at which a part begins.
func RightStart(n int) int { return n / rightUnit * rightUnit }

// leastRight is the number of rows of b from which on it is packed.
const leastRight = 8

// MakeRight makes B = b, or bᵀ, ready for products in the mode; b must not change until Free. Split is float32 where there are no tiles.
func MakeRight(b Mat, trans bool, mode Mode) *Right {
	r := rights.Get().(*Right)
	*r = Right{b: b, trans: trans, steps: b.Rows, cols: b.Cols, mode: mode, v: current()}
	if trans {
		r.steps, r.cols = b.Cols, b.Rows
	}
	if r.packs() {
		r.make(b, trans)
	}
	return r
}

func (r *Right) packs() bool { return r.b.Rows >= leastRight && r.b.Cols > 0 }

// Free gives the memory back; the Right must not be used again.
func (r *Right) Free() {
	r.ready.free()
	*r = Right{}
	rights.Put(r)
}

// rights are those that nobody uses: a long text makes thousands.
var rights = sync.Pool{New: func() any { return new(Right) }}

// MulRight is c (+)= alpha·op(a)·B[k0:, n0:], computed by the caller's goroutine.
//
//	op(a) [M, K]   B[k0 : k0+K, n0 : n0+N]   c [M, N]
//
// k0 and n0 are multiples of 32. c may reach beyond B's last column, up to RightWidth: nothing is added there. In modes other than f32,
// steps behind the last up to a multiple of 32 may be multiplied by zeros: what is not finite there is felt. o.TransB has no meaning.
func (r *Right) MulRight(c, a Mat, k0, n0 int, o MatMulOpts) {
	m, k := a.Rows, a.Cols
	if o.TransA {
		m, k = k, m
	}
	if c.Rows != m || k0 < 0 || n0 < 0 || k0%rightUnit != 0 || n0%rightUnit != 0 || k0+k > r.steps || n0+c.Cols > RightWidth(r.cols) {
		panic(fmt.Sprintf("kernel: MulRight: c [%d, %d], a [%d, %d] (TransA %v) with B [%d, %d] from (%d, %d)", c.Rows, c.Cols, a.Rows, a.Cols, o.TransA, r.steps, r.cols, k0, n0))
	}
	if o.Alpha == 0 {
		o.Alpha = 1
	}
	switch {
	case m == 0 || c.Cols == 0:
	case k == 0 || r.cols == 0:
		clearFrom(c, 0, o)
	case !r.packs():
		r.inPlace(c, a, k0, n0, k, o)
	default:
		r.multiply(c, a, k0, n0, k, o)
	}
}

// clearFrom clears the columns of c from n on, which are sums of nothing, unless they are added to.
func clearFrom(c Mat, n int, o MatMulOpts) {
	if !o.Add && n < c.Cols {
		for i := range c.Rows {
			clear(c.Row(i)[n:])
		}
	}
}

// inPlace is MulRight with B as it lies in memory.
func (r *Right) inPlace(c, a Mat, k0, n0, k int, o MatMulOpts) {
	n := min(c.Cols, r.cols-n0)
	clearFrom(c, n, o)
	b := r.b
	if r.trans {
		b = b.RowRange(n0, n0+n).ColRange(k0, k0+k)
	} else {
		b = b.RowRange(k0, k0+k).ColRange(n0, n0+n)
	}
	MatMul(c.ColRange(0, n), a, b, MatMulOpts{TransA: o.TransA, TransB: r.trans, Alpha: o.Alpha, Add: o.Add, Serial: true})
}

// rightGo is a Right in plain Go: B as the mode rounds it.
type rightGo struct{ b *[]float32 }

func (r *rightGo) free() {
	floats.put(r.b)
	*r = rightGo{}
}

func (r *rightGo) make(b Mat, trans bool, mode Mode) {
	r.b = floats.get(b.Rows * b.Cols)
	copied(NewMat(*r.b, b.Rows, b.Cols), b, rightRounding(mode))
	if trans {
		t := floats.get(b.Rows * b.Cols)
		transposeGo(NewMat(*t, b.Cols, b.Rows), NewMat(*r.b, b.Rows, b.Cols))
		floats.put(r.b)
		r.b = t
	}
}

func (r *rightGo) multiply(c, a Mat, steps, cols, k0, n0, k int, mode Mode, o MatMulOpts) {
	buf := floats.get(a.Rows * a.Cols)
	defer floats.put(buf)
	x := NewMat(*buf, a.Rows, a.Cols)
	copied(x, a, rightRounding(mode))
	n := min(c.Cols, cols-n0)
	clearFrom(c, n, o)
	matMulGeneric(c.ColRange(0, n), x, NewMat(*r.b, steps, cols).RowRange(k0, k0+k).ColRange(n0, n0+n), MatMulOpts{TransA: o.TransA, Alpha: o.Alpha, Add: o.Add, Serial: true})
}

// rightRounding is how operands are rounded where products are those of float32.
func rightRounding(m Mode) rounding {
	if m == ModeBF16 {
		return m.rounding()
	}
	return exact
}
