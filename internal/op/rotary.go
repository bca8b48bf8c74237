package op

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Angles gives the rotation of a position: Cos and Sin are [n, dim/2], one row per row of the pass.
type Angles struct {
	Cos, Sin kernel.Mat
}

// Heads says how the columns of a packed query-key-value row are divided: H query heads, then K key heads, then K value
// heads, each of D numbers.
type Heads struct {
	Query, KeyValue, Dim int
}

// Columns is the width of a packed row.
func (h Heads) Columns() int { return (h.Query + 2*h.KeyValue) * h.Dim }

// Rotary turns the queries and keys of packed rows by the angles of their positions [su2021]. It works in place: the
// operator that made qkv must not need its output.
//
//	qkv [T, (H+2K)·D]   a.Cos, a.Sin [T, R/2], R ≤ D: the first R numbers of each head turn
//	for i < R/2: (x[i], x[i+R/2]) ← (x[i]·cos − x[i+R/2]·sin, x[i+R/2]·cos + x[i]·sin)
func Rotary(p *Pass, qkv mat.Tensor, h Heads, a Angles) mat.Tensor {
	rows, cols := shape(qkv)
	if cols != h.Columns() || a.Cos.Rows != rows || 2*a.Cos.Cols > h.Dim {
		panic(fmt.Sprintf("op: Rotary: qkv [%d, %d], heads %+v, angles [%d, %d]", rows, cols, h, a.Cos.Rows, a.Cos.Cols))
	}
	return node(&rotary{p: p, x: qkv, h: h, a: a})
}

type rotary struct {
	p *Pass
	x mat.Tensor
	h Heads
	a Angles
	y *Tensor
}

func (f *rotary) Operands() []mat.Tensor { return []mat.Tensor{f.x} }

func (f *rotary) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	f.y = x.takeOver(x.rows, x.cols)
	f.turn(f.y.View(), 1)
	return f.y, nil
}

// turn rotates the queries and keys of v forwards (sign 1) or back (-1).
func (f *rotary) turn(v kernel.Mat, sign float32) {
	half := f.a.Cos.Cols
	kernel.Split(v.Rows, 16, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			cos, sin, row := f.a.Cos.Row(t), f.a.Sin.Row(t), v.Row(t)
			for h := range f.h.Query + f.h.KeyValue {
				x := row[h*f.h.Dim:]
				x1, x2 := x[:half], x[half:2*half]
				for i, c := range cos {
					s := sign * sin[i]
					a, b := x1[i], x2[i]
					x1[i] = a*c - b*s
					x2[i] = b*c + a*s
				}
			}
		}
	})
}

// Backward turns the gradient back; scaled angles (yarn) scale it once more, as the transpose of the rotation does.
func (f *rotary) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	f.turn(dy.View(), -1)
	f.y.release()
	f.x.AccGrad(dy)
	return nil
}

// HeadNorm applies RMSNorm to each query head with wq and to each key head with wk [yang2025]. Values pass through.
//
//	qkv [T, (H+2K)·D]   wq, wk [D]
func HeadNorm(p *Pass, qkv mat.Tensor, h Heads, wq, wk *Vector, eps float64) mat.Tensor {
	_, cols := shape(qkv)
	if cols != h.Columns() || len(wq.Value) != h.Dim || len(wk.Value) != h.Dim {
		panic(fmt.Sprintf("op: HeadNorm: qkv has %d columns, heads %+v, wq %d, wk %d", cols, h, len(wq.Value), len(wk.Value)))
	}
	return node(&headNorm{p: p, x: qkv, h: h, wq: wq, wk: wk, eps: eps})
}

type headNorm struct {
	p      *Pass
	x      mat.Tensor
	h      Heads
	wq, wk *Vector
	eps    float64
	y      *Tensor
	scale  []float32 // [T, H+K]
}

func (f *headNorm) Operands() []mat.Tensor { return withVectors([]mat.Tensor{f.x}, f.wq, f.wk) }

func (f *headNorm) weight(head int) *Vector {
	if head < f.h.Query {
		return f.wq
	}
	return f.wk
}

func (f *headNorm) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	n := f.h.Query + f.h.KeyValue
	f.y = f.p.Arena.NewTensor(x.rows, x.cols)
	f.scale = f.p.Arena.Get(x.rows * n)
	xv, yv := x.View(), f.y.View()
	kernel.Split(x.rows, 16, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			xr, yr := xv.Row(t), yv.Row(t)
			for h := range n {
				at := h * f.h.Dim
				f.scale[t*n+h] = kernel.RMSNorm(yr[at:at+f.h.Dim], xr[at:at+f.h.Dim], f.weight(h).Value, f.eps)
			}
			copy(yr[n*f.h.Dim:], xr[n*f.h.Dim:])
		}
	})
	return f.y, nil
}

// Backward: as rmsNorm, head by head.
func (f *headNorm) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x)
	n := f.h.Query + f.h.KeyValue
	xv, dv := x.View(), dy.View()
	for h := range n {
		w := f.weight(h)
		if w.Param == nil {
			continue
		}
		dw := GradOf(w.Param)
		for t := range xv.Rows {
			at, s := h*f.h.Dim, f.scale[t*n+h]
			kernel.AxpyMul(dw, s, dv.Row(t)[at:at+f.h.Dim], xv.Row(t)[at:at+f.h.Dim])
		}
	}
	if f.x.RequiresGrad() {
		kernel.Split(x.rows, 16, func(lo, hi int) {
			for t := lo; t < hi; t++ {
				xr, dr := xv.Row(t), dv.Row(t)
				for h := range n {
					at := h * f.h.Dim
					d := dr[at : at+f.h.Dim]
					normRowBackward(d, d, xr[at:at+f.h.Dim], f.weight(h).Value, f.scale[t*n+h])
				}
			}
		})
	}
	f.y.release()
	f.p.Arena.Put(f.scale)
	if f.x.RequiresGrad() {
		f.x.AccGrad(dy)
	} else {
		dy.release()
	}
	return nil
}

// Rope computes the angles of positions for one model.
type Rope struct {
	Frequencies []float64 // [R/2] radians per position
	Scale       float64   // of cos and sin (yarn's attention factor); 1 for the others
	// Dynamic gives other frequencies for passes that reach beyond a length; nil otherwise.
	Dynamic func(length int) []float64
}

// Angles returns the angles of the pass's rows, in float32 from float64.
func (r *Rope) Angles(p *Pass) Angles {
	freq := r.Frequencies
	if r.Dynamic != nil {
		longest := int32(0)
		for _, q := range p.Positions {
			longest = max(longest, q)
		}
		freq = r.Dynamic(int(longest) + 1)
	}
	n, half := len(p.Positions), len(freq)
	a := Angles{Cos: kernel.NewMat(p.Arena.Get(n*half), n, half), Sin: kernel.NewMat(p.Arena.Get(n*half), n, half)}
	kernel.Split(n, 32, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			c, s := a.Cos.Row(t), a.Sin.Row(t)
			for i, w := range freq {
				// The reference multiplies in float32: position × frequency is rounded before the sine.
				angle := float64(float32(p.Positions[t]) * float32(w))
				sin, cos := math.Sincos(angle)
				c[i], s[i] = float32(cos*r.Scale), float32(sin*r.Scale)
			}
		}
	})
	return a
}
