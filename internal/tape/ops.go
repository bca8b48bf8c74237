package tape

import (
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
)

type opts = kernel.MatMulOpts

// MatMul is a·b.
func (t *Tape) MatMul(a, b *Node) *Node {
	want("MatMul", a.Cols == b.Rows, a, b)
	if a.IsIdentity() {
		return b
	}
	return t.Op(a.Rows, b.Cols, func(y kernel.Mat) {
		kernel.MatMul(y, a.Value(), b.Value(), opts{})
	}, func(dy kernel.Mat) {
		if a.needs {
			kernel.MatMul(a.Grad(), dy, b.Value(), opts{TransB: true, Add: true})
		}
		if b.needs {
			kernel.MatMul(b.Grad(), a.Value(), dy, opts{TransA: true, Add: true})
		}
	}, a, b)
}

// MatMulT is a·bᵀ.
func (t *Tape) MatMulT(a, b *Node) *Node {
	want("MatMulT", a.Cols == b.Cols, a, b)
	if a.IsIdentity() {
		return t.Transpose(b)
	}
	return t.Op(a.Rows, b.Rows, func(y kernel.Mat) {
		kernel.MatMul(y, a.Value(), b.Value(), opts{TransB: true})
	}, func(dy kernel.Mat) {
		if a.needs {
			kernel.MatMul(a.Grad(), dy, b.Value(), opts{Add: true})
		}
		if b.needs {
			kernel.MatMul(b.Grad(), dy, a.Value(), opts{TransA: true, Add: true})
		}
	}, a, b)
}

// Transpose is aᵀ.
func (t *Tape) Transpose(a *Node) *Node {
	turn := func(dst, src kernel.Mat) {
		for i := range src.Rows {
			for j, v := range src.Row(i) {
				dst.Row(j)[i] += v
			}
		}
	}
	return t.Op(a.Cols, a.Rows, func(y kernel.Mat) { turn(y, a.Value()) }, func(dy kernel.Mat) { turn(a.Grad(), dy) }, a)
}

// rows runs f on every row.
func rows(m kernel.Mat, f func(i int, row []float32)) {
	kernel.Split(m.Rows, 8, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			f(i, m.Row(i))
		}
	})
}

// Add is a + f·b.
func (t *Tape) Add(a *Node, f float32, b *Node) *Node {
	want("Add", a.Rows == b.Rows && a.Cols == b.Cols, a, b)
	return t.Op(a.Rows, a.Cols, func(y kernel.Mat) {
		u, v := a.Value(), b.Value()
		rows(y, func(i int, row []float32) {
			copy(row, u.Row(i))
			kernel.Axpy(row, f, v.Row(i))
		})
	}, func(dy kernel.Mat) {
		if a.needs {
			AddTo(a.Grad(), dy)
		}
		if b.needs {
			rows(b.Grad(), func(i int, row []float32) { kernel.Axpy(row, f, dy.Row(i)) })
		}
	}, a, b)
}

// AddRow is a + f·v with the row v added to every row of a.
func (t *Tape) AddRow(a *Node, f float32, v *Node) *Node {
	want("AddRow", v.Rows*v.Cols == a.Cols, a, v)
	return t.Op(a.Rows, a.Cols, func(y kernel.Mat) {
		u, w := a.Value(), v.Value().Data
		rows(y, func(i int, row []float32) {
			copy(row, u.Row(i))
			kernel.Axpy(row, f, w)
		})
	}, func(dy kernel.Mat) {
		if a.needs {
			AddTo(a.Grad(), dy)
		}
		if v.needs { // in the order of the rows
			for i := range dy.Rows {
				kernel.Axpy(v.Grad().Data, f, dy.Row(i))
			}
		}
	}, a, v)
}

// Scale is f·a.
func (t *Tape) Scale(f float32, a *Node) *Node {
	return t.Op(a.Rows, a.Cols, func(y kernel.Mat) {
		u := a.Value()
		rows(y, func(i int, row []float32) { kernel.Axpy(row, f, u.Row(i)) })
	}, func(dy kernel.Mat) {
		rows(a.Grad(), func(i int, row []float32) { kernel.Axpy(row, f, dy.Row(i)) })
	}, a)
}

// Mul is the product a∘b of the elements.
func (t *Tape) Mul(a, b *Node) *Node {
	want("Mul", a.Rows == b.Rows && a.Cols == b.Cols, a, b)
	times := func(dst kernel.Mat, u, v kernel.Mat) {
		rows(dst, func(i int, row []float32) { kernel.AxpyMul(row, 1, u.Row(i), v.Row(i)) })
	}
	return t.Op(a.Rows, a.Cols, func(y kernel.Mat) { times(y, a.Value(), b.Value()) }, func(dy kernel.Mat) {
		if a.needs {
			times(a.Grad(), dy, b.Value())
		}
		if b.needs {
			times(b.Grad(), dy, a.Value())
		}
	}, a, b)
}

// MulCols multiplies the columns of a by the elements of v, whatever its shape: a·diag(v).
func (t *Tape) MulCols(a, v *Node) *Node {
	want("MulCols", v.Rows*v.Cols == a.Cols, a, v)
	return t.Op(a.Rows, a.Cols, func(y kernel.Mat) {
		u, w := a.Value(), v.Value().Data
		rows(y, func(i int, row []float32) { kernel.AxpyMul(row, 1, u.Row(i), w) })
	}, func(dy kernel.Mat) {
		if a.needs {
			w := v.Value().Data
			rows(a.Grad(), func(i int, row []float32) { kernel.AxpyMul(row, 1, dy.Row(i), w) })
		}
		if v.needs { // in the order of the rows
			u, g := a.Value(), v.Grad().Data
			for i := range dy.Rows {
				kernel.AxpyMul(g, 1, dy.Row(i), u.Row(i))
			}
		}
	}, a, v)
}

// MulRows multiplies the rows of a by the elements of v, whatever its shape: diag(v)·a.
func (t *Tape) MulRows(a, v *Node) *Node {
	want("MulRows", v.Rows*v.Cols == a.Rows, a, v)
	return t.Op(a.Rows, a.Cols, func(y kernel.Mat) {
		u, w := a.Value(), v.Value().Data
		rows(y, func(i int, row []float32) { kernel.Axpy(row, w[i], u.Row(i)) })
	}, func(dy kernel.Mat) {
		if a.needs {
			w := v.Value().Data
			rows(a.Grad(), func(i int, row []float32) { kernel.Axpy(row, w[i], dy.Row(i)) })
		}
		if v.needs {
			u, g := a.Value(), v.Grad().Data
			rows(dy, func(i int, row []float32) { g[i] += kernel.Dot(row, u.Row(i)) })
		}
	}, a, v)
}

// Map is f of every element; slope is its derivative there.
func (t *Tape) Map(a *Node, f, slope func(x float64) float64) *Node {
	return t.Op(a.Rows, a.Cols, func(y kernel.Mat) {
		u := a.Value()
		rows(y, func(i int, row []float32) {
			for j, x := range u.Row(i) {
				row[j] = float32(f(float64(x)))
			}
		})
	}, func(dy kernel.Mat) {
		u := a.Value()
		rows(a.Grad(), func(i int, row []float32) {
			for j, x := range u.Row(i) {
				row[j] += float32(float64(dy.Row(i)[j]) * slope(float64(x)))
			}
		})
	}, a)
}

// Reshape reads the numbers of a, row by row, as another shape.
func (t *Tape) Reshape(a *Node, nrows, ncols int) *Node {
	want("Reshape", a.Rows*a.Cols == nrows*ncols, a)
	each := func(rows kernel.Mat, f func(at int, row []float32)) {
		for i := range rows.Rows {
			f(i*rows.Cols, rows.Row(i))
		}
	}
	return t.Op(nrows, ncols, func(y kernel.Mat) {
		each(a.Value(), func(at int, row []float32) { copy(y.Data[at:], row) })
	}, func(dy kernel.Mat) { // dy is a buffer of the tape, so it has no gaps
		each(a.Grad(), func(at int, row []float32) { kernel.Add(row, dy.Data[at:at+len(row)]) })
	}, a)
}

// Part is rows r0 to r1 and columns c0 to c1 of a.
func (t *Tape) Part(a *Node, r0, r1, c0, c1 int) *Node {
	want("Part", 0 <= r0 && r0 <= r1 && r1 <= a.Rows && 0 <= c0 && c0 <= c1 && c1 <= a.Cols, a)
	return t.Op(r1-r0, c1-c0, func(y kernel.Mat) {
		AddTo(y, a.Value().RowRange(r0, r1).ColRange(c0, c1))
	}, func(dy kernel.Mat) {
		AddTo(a.Grad().RowRange(r0, r1).ColRange(c0, c1), dy)
	}, a)
}

// Beside puts matrices of as many rows side by side.
func (t *Tape) Beside(list ...*Node) *Node {
	cols := 0
	for _, a := range list {
		want("Beside", a.Rows == list[0].Rows, list...)
		cols += a.Cols
	}
	each := func(m kernel.Mat, f func(a *Node, part kernel.Mat)) {
		at := 0
		for _, a := range list {
			f(a, m.ColRange(at, at+a.Cols))
			at += a.Cols
		}
	}
	return t.Op(list[0].Rows, cols, func(y kernel.Mat) {
		each(y, func(a *Node, part kernel.Mat) { AddTo(part, a.Value()) })
	}, func(dy kernel.Mat) {
		each(dy, func(a *Node, part kernel.Mat) {
			if a.needs {
				AddTo(a.Grad(), part)
			}
		})
	}, list...)
}

// Gather is a matrix whose element k, row by row, is element from[k] of a; 0 where from[k] is negative.
func (t *Tape) Gather(a *Node, nrows, ncols int, from []int) *Node {
	return t.Signed(a, nrows, ncols, from, nil)
}

// Signed is Gather with every element multiplied by its sign, if these are given.
func (t *Tape) Signed(a *Node, nrows, ncols int, from []int, sign []float32) *Node {
	want("Gather", len(from) == nrows*ncols, a)
	factor := func(k int) float32 {
		if sign == nil {
			return 1
		}
		return sign[k]
	}
	return t.Op(nrows, ncols, func(y kernel.Mat) {
		src := dense(a.Value())
		for k, i := range from {
			if i >= 0 {
				y.Data[k] = factor(k) * src[i]
			}
		}
	}, func(dy kernel.Mat) {
		g := a.Grad()
		for k, i := range from {
			if i >= 0 {
				g.Row(i / a.Cols)[i%a.Cols] += factor(k) * dy.Data[k]
			}
		}
	}, a)
}

// dense are the numbers of m without gaps.
func dense(m kernel.Mat) []float32 {
	if m.Stride == m.Cols || m.Rows == 1 {
		return m.Data
	}
	out := make([]float32, 0, m.Rows*m.Cols)
	for i := range m.Rows {
		out = append(out, m.Row(i)...)
	}
	return out
}

// BlockMul multiplies block k of n columns of x by the k-th n×n matrix of a stack [blocks·n, n]; a stack of one block
// serves all.
func (t *Tape) BlockMul(x, stack *Node) *Node {
	n := stack.Cols
	want("BlockMul", n > 0 && x.Cols%n == 0 && (stack.Rows == n || stack.Rows == x.Cols), x, stack)
	each := func(f func(cols func(kernel.Mat) kernel.Mat, block func(kernel.Mat) kernel.Mat)) {
		for k := range x.Cols / n {
			b := k * n % stack.Rows
			f(func(m kernel.Mat) kernel.Mat { return m.ColRange(k*n, (k+1)*n) }, func(m kernel.Mat) kernel.Mat { return m.RowRange(b, b+n) })
		}
	}
	return t.Op(x.Rows, x.Cols, func(y kernel.Mat) {
		each(func(cols, block func(kernel.Mat) kernel.Mat) {
			kernel.MatMul(cols(y), cols(x.Value()), block(stack.Value()), opts{})
		})
	}, func(dy kernel.Mat) {
		each(func(cols, block func(kernel.Mat) kernel.Mat) {
			if x.needs {
				kernel.MatMul(cols(x.Grad()), cols(dy), block(stack.Value()), opts{TransB: true, Add: true})
			}
			if stack.needs {
				kernel.MatMul(block(stack.Grad()), cols(x.Value()), cols(dy), opts{TransA: true, Add: true})
			}
		})
	}, x, stack)
}

// StackMul multiplies stacks of n×n matrices [blocks·n, n] block by block.
func (t *Tape) StackMul(a, b *Node) *Node {
	n := a.Cols
	want("StackMul", n > 0 && a.Rows == b.Rows && b.Cols == n && a.Rows%n == 0, a, b)
	each := func(f func(block func(kernel.Mat) kernel.Mat)) {
		for k := 0; k < a.Rows; k += n {
			f(func(m kernel.Mat) kernel.Mat { return m.RowRange(k, k+n) })
		}
	}
	return t.Op(a.Rows, n, func(y kernel.Mat) {
		each(func(block func(kernel.Mat) kernel.Mat) {
			kernel.MatMul(block(y), block(a.Value()), block(b.Value()), opts{})
		})
	}, func(dy kernel.Mat) {
		each(func(block func(kernel.Mat) kernel.Mat) {
			if a.needs {
				kernel.MatMul(block(a.Grad()), block(dy), block(b.Value()), opts{TransB: true, Add: true})
			}
			if b.needs {
				kernel.MatMul(block(b.Grad()), block(a.Value()), block(dy), opts{TransA: true, Add: true})
			}
		})
	}, a, b)
}

// Kron is the Kronecker product: a[i,j]·b at block (i, j).
func (t *Tape) Kron(a, b *Node) *Node {
	block := func(m kernel.Mat, i, j int) kernel.Mat {
		return m.RowRange(i*b.Rows, (i+1)*b.Rows).ColRange(j*b.Cols, (j+1)*b.Cols)
	}
	return t.Op(a.Rows*b.Rows, a.Cols*b.Cols, func(y kernel.Mat) {
		u, v := a.Value(), b.Value()
		for i := range a.Rows {
			for j, f := range u.Row(i) {
				p := block(y, i, j)
				for k := range p.Rows {
					kernel.Axpy(p.Row(k), f, v.Row(k))
				}
			}
		}
	}, func(dy kernel.Mat) {
		u, v := a.Value(), b.Value()
		for i := range a.Rows {
			for j, f := range u.Row(i) {
				p := block(dy, i, j)
				for k := range p.Rows {
					if a.needs {
						a.Grad().Row(i)[j] += kernel.Dot(p.Row(k), v.Row(k))
					}
					if b.needs {
						kernel.Axpy(b.Grad().Row(k), f, p.Row(k))
					}
				}
			}
		}
	}, a, b)
}

// Stack puts matrices of as many columns below each other.
func (t *Tape) Stack(list ...*Node) *Node {
	turned := make([]*Node, len(list))
	for i, a := range list {
		turned[i] = t.Transpose(a)
	}
	return t.Transpose(t.Beside(turned...))
}

// Repeat puts n copies of a side by side.
func (t *Tape) Repeat(a *Node, n int) *Node { return t.Beside(slices.Repeat([]*Node{a}, n)...) }

// Columns takes column from[j] of a, times sign[j], as column j.
func (t *Tape) Columns(a *Node, from []int, sign []float32) *Node {
	return t.Op(a.Rows, len(from), func(y kernel.Mat) {
		u := a.Value()
		rows(y, func(i int, row []float32) {
			for j, k := range from {
				row[j] = sign[j] * u.Row(i)[k]
			}
		})
	}, func(dy kernel.Mat) {
		rows(a.Grad(), func(i int, row []float32) {
			for j, k := range from {
				row[k] += sign[j] * dy.Row(i)[j]
			}
		})
	}, a)
}
