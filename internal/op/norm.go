package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// NormKind is how a row is brought to unit scale.
type NormKind uint8

// Kinds of norms.
const (
	RMS    NormKind = iota // x / √(mean(x²) + eps) [zhang2019]
	Center                 // LayerNorm: the same of x − mean(x) [ba2016]
)

// Norm brings rows to unit scale and gives each column a scale and a shift of its own:
//
//	y[t] = x[t] / √(mean(x[t]²) + eps) ∘ (w + plus) + b      RMS
//	y[t] = d / √(mean(d²) + eps) ∘ (w + plus) + b            Center, with d = x[t] − mean(x[t])
//
// eps is inside the root.
type Norm struct {
	Kind   NormKind
	Weight *Vector // [C] w, nil = 1
	Bias   *Vector // [C] b, nil = 0
	Plus   float32 // Gemma stores w and scales by 1 + w
	Eps    float64
}

// Part is a norm and the columns that it norms: Count runs of Width columns each, from column At on.
type Part struct {
	Norm
	At, Width, Count int
}

// RMSNorm is Normalize with a norm that has a weight and nothing else.
func RMSNorm(p *Pass, x mat.Tensor, w *Vector, eps float64) mat.Tensor {
	return Normalize(p, x, Norm{Kind: RMS, Weight: w, Eps: eps})
}

// Normalize norms whole rows.
//
//	x [T, C]   y [T, C]
func Normalize(p *Pass, x mat.Tensor, n Norm) mat.Tensor {
	_, cols := shape(x)
	return NormalizeParts(p, x, Part{Norm: n, Width: cols, Count: 1})
}

// NormalizeParts norms parts of rows, such as the queries and keys of each head [yang2025]; other columns pass through.
// Parts must not overlap.
//
//	x [T, C]   y [T, C]
func NormalizeParts(p *Pass, x mat.Tensor, parts ...Part) mat.Tensor {
	_, cols := shape(x)
	f := &norm{p: p, x: x, parts: parts, partial: true}
	for _, q := range parts {
		for _, v := range []*Vector{q.Weight, q.Bias} {
			if v != nil && len(v.Value) != q.Width {
				panic(fmt.Sprintf("op: NormalizeParts: a vector of %d numbers for %d columns", len(v.Value), q.Width))
			}
		}
		if q.At < 0 || q.At+q.Width*q.Count > cols {
			panic(fmt.Sprintf("op: NormalizeParts: %d times %d columns from %d on, x has %d", q.Count, q.Width, q.At, cols))
		}
		f.runs += q.Count
		f.partial = f.partial && q.Width*q.Count < cols
	}
	return node(f)
}

// Rows norms the rows of a matrix outside of the graph and returns their scales 1/√(…), in memory of the arena.
//
//	x, y [T, C]   scales [T]
func (n Norm) Rows(p *Pass, y, x kernel.Mat) (scales []float32) {
	q := &Part{Norm: n, Width: x.Cols, Count: 1}
	w, done := q.weight(p)
	defer done()
	scales = p.Arena.Get(x.Rows)
	kernel.Split(x.Rows, 16, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			scales[t] = q.forward(y.Row(t), x.Row(t), w)
		}
	})
	return scales
}

// RowsBackward adds to dx what dy makes of it, and to the gradients of the vectors that are trained. A dx of no rows is not
// wanted.
func (n Norm) RowsBackward(p *Pass, dx, dy, x kernel.Mat, scales []float32) {
	f := &norm{p: p, runs: 1, scale: scales}
	q := &Part{Norm: n, Width: x.Cols, Count: 1}
	f.vectorGradients(q, 0, x, dy)
	if dx.Rows == 0 {
		return
	}
	w, done := q.weight(p)
	defer done()
	kernel.Split(x.Rows, 16, func(lo, hi int) {
		d, buf := p.Arena.Get(x.Cols), p.Arena.Get(x.Cols)
		defer p.Arena.Put(d)
		defer p.Arena.Put(buf)
		for t := lo; t < hi; t++ {
			copy(d, dy.Row(t))
			q.backward(d, x.Row(t), w, buf, scales[t])
			kernel.Add(dx.Row(t), d)
		}
	})
}

type norm struct {
	p       *Pass
	x       mat.Tensor
	parts   []Part
	runs    int  // Σ Count
	partial bool // some columns pass through
	y       *Tensor
	scale   []float32 // [T, runs] 1/√(…)
}

func (f *norm) Operands() []mat.Tensor {
	list := []mat.Tensor{f.x}
	for _, q := range f.parts {
		list = withVectors(list, q.Weight, q.Bias)
	}
	return list
}

// weight is w + plus as numbers; done gives them back.
func (q *Part) weight(p *Pass) (w []float32, done func()) {
	if q.Weight != nil && q.Plus == 0 {
		return q.Weight.Value, func() {}
	}
	w = p.Arena.Get(q.Width)
	for i := range w {
		w[i] = 1
		if q.Weight != nil {
			w[i] = q.Weight.Value[i] + q.Plus
		}
	}
	return w, func() { p.Arena.Put(w) }
}

// each calls do for every run of a row: its number and its columns.
func (q *Part) each(first int, do func(run, lo, hi int)) {
	for c := range q.Count {
		lo := q.At + c*q.Width
		do(first+c, lo, lo+q.Width)
	}
}

// rows calls do for every part with its weight and the number of its first run, and for a share of the rows.
func (f *norm) rows(do func(q *Part, w []float32, first, lo, hi int)) {
	first := 0
	for i := range f.parts {
		q := &f.parts[i]
		w, done := q.weight(f.p)
		kernel.Split(Of(f.x).rows, 16, func(lo, hi int) { do(q, w, first, lo, hi) })
		done()
		first += q.Count
	}
}

func (f *norm) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	f.y = f.p.Arena.NewTensor(x.rows, x.cols)
	f.scale = f.p.Arena.Get(x.rows * f.runs)
	f.fill(f.y.View())
	f.y.canAgain(f.p, f.fill)
	return f.y, nil
}

// fill computes y and the scales.
func (f *norm) fill(yv kernel.Mat) {
	xv := Of(f.x).View()
	if f.partial {
		copy(yv.Data, xv.Data)
	}
	f.rows(func(q *Part, w []float32, first, from, to int) {
		for t := from; t < to; t++ {
			xr, yr := xv.Row(t), yv.Row(t)
			q.each(first, func(run, lo, hi int) {
				f.scale[t*f.runs+run] = q.forward(yr[lo:hi], xr[lo:hi], w)
			})
		}
	})
}

// forward norms one run of numbers and returns its scale. A centred run is normed as RMS would.
func (q *Part) forward(y, x, w []float32) (scale float32) {
	if q.Kind == Center {
		center(y, x)
		x = y
	}
	scale = kernel.RMSNorm(y, x, w, q.Eps)
	if q.Bias != nil {
		kernel.Add(y, q.Bias.Value)
	}
	return scale
}

// center is y = x − mean(x).
func center(y, x []float32) {
	mean := float32(kernel.Sum(x) / float64(len(x)))
	for i, v := range x {
		y[i] = v - mean
	}
}

// normRowBackward writes dx = s·(dy∘w − x·s²·mean(dy∘w∘x)).
func normRowBackward(dx, dy, x, w []float32, s float32) {
	dot := 0.0
	for i, v := range x {
		dot += float64(dy[i] * w[i] * v)
	}
	k := float32(dot/float64(len(x))) * s * s
	for i, v := range x {
		dx[i] = s * (dy[i]*w[i] - v*k)
	}
}

// Backward: see normRowBackward; dw = Σ_t dy[t]∘x[t]·scale[t], db = Σ_t dy[t]. For a centred run x is its centred form, and
// dx is centred, too. dx is written over dy.
func (f *norm) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x)
	xv, dyv := x.View(), dy.View()
	first := 0
	for i := range f.parts {
		f.vectorGradients(&f.parts[i], first, xv, dyv)
		first += f.parts[i].Count
	}
	if f.x.RequiresGrad() {
		f.rows(func(q *Part, w []float32, first, from, to int) {
			buf := f.p.Arena.Get(q.Width)
			defer f.p.Arena.Put(buf)
			for t := from; t < to; t++ {
				xr, dr := xv.Row(t), dyv.Row(t)
				q.each(first, func(run, lo, hi int) {
					q.backward(dr[lo:hi], xr[lo:hi], w, buf, f.scale[t*f.runs+run])
				})
			}
		})
		f.x.AccGrad(dy) // dy changes owner
	} else {
		dy.release()
	}
	f.y.release()
	f.p.Arena.Put(f.scale)
	return nil
}

// backward replaces the gradient d of one run's output by that of its input x.
func (q *Part) backward(d, x, w, buf []float32, scale float32) {
	if q.Kind == RMS {
		normRowBackward(d, d, x, w, scale)
		return
	}
	center(buf, x)
	normRowBackward(d, d, buf, w, scale)
	center(d, d)
}

// vectorGradients adds to the gradients of weight and bias, where they are trained; columns are divided among the workers.
func (f *norm) vectorGradients(q *Part, first int, x, dy kernel.Mat) {
	var dw, db []float32
	if q.Weight != nil && q.Weight.Param != nil {
		dw = GradOf(q.Weight.Param)
	}
	if q.Bias != nil && q.Bias.Param != nil {
		db = GradOf(q.Bias.Param)
	}
	if dw == nil && db == nil {
		return
	}
	kernel.Split(q.Width, 64, func(from, to int) {
		q.each(first, func(run, lo, hi int) {
			for t := range x.Rows {
				xr, dr, s := x.Row(t)[lo:hi], dy.Row(t)[lo:hi], f.scale[t*f.runs+run]
				mean := float32(0)
				if q.Kind == Center && dw != nil {
					mean = float32(kernel.Sum(xr) / float64(len(xr)))
				}
				for i := from; i < to && dw != nil; i++ {
					dw[i] += dr[i] * (xr[i] - mean) * s
				}
				for i := from; i < to && db != nil; i++ {
					db[i] += dr[i]
				}
			}
		})
	})
}
