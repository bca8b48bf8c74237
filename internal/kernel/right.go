package kernel

import "fmt"

// Right is a matrix made ready once, in one mode, to be the right operand of many small products with all of it or with parts: keys and
// values, which all queries of a text meet. Safe for concurrent use until Free. Unlike a frozen weight it need not last: Right holds a copy.
type Right struct {
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

// MakeRight makes B = b, or bᵀ, ready for products in the mode. Split is that of float32 where there are no tiles.
func MakeRight(b Mat, trans bool, mode Mode) *Right {
	r := &Right{steps: b.Rows, cols: b.Cols, mode: mode, v: current()}
	if trans {
		r.steps, r.cols = b.Cols, b.Rows
	}
	if r.steps > 0 && r.cols > 0 {
		r.make(b, trans)
	}
	return r
}

// Free gives the memory back; the Right must not be used again.
func (r *Right) Free() { r.ready.free() }

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
		if !o.Add {
			for i := range m {
				clear(c.Row(i))
			}
		}
	default:
		r.multiply(c, a, k0, n0, k, o)
	}
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
	if !o.Add {
		for i := range c.Rows {
			clear(c.Row(i)[n:])
		}
	}
	matMulGeneric(c.ColRange(0, n), x, NewMat(*r.b, steps, cols).RowRange(k0, k0+k).ColRange(n0, n0+n), MatMulOpts{TransA: o.TransA, Alpha: o.Alpha, Add: o.Add, Serial: true})
}

// rightRounding is how operands are rounded where products are those of float32.
func rightRounding(m Mode) rounding {
	if m == ModeBF16 {
		return m.rounding()
	}
	return exact
}

// copied leaves in dst what x is when it has been rounded.
func copied(dst, x Mat, r rounding) {
	for i := range x.Rows {
		row := dst.Row(i)
		copy(row, x.Row(i))
		r.apply(row)
	}
}
