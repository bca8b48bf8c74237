package op

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Angles gives the rotation of a position: Cos and Sin are [n, dim/2], one row per row of the pass.
type Angles struct {
	Cos, Sin    kernel.Mat
	Interleaved bool // pairs are neighbours, as GPT-J has them, and not half a head apart
}

// Rotary turns the queries and keys of packed rows by the angles of their positions [su2021]. It works in place: the
// operator that made qkv must not need its output.
//
//	qkv [T, (H+2K)·D]   a.Cos, a.Sin [T, R/2], R ≤ D: the first R numbers of each head turn
//	for i < R/2: (x[i], x[i+R/2]) ← (x[i]·cos − x[i+R/2]·sin, x[i+R/2]·cos + x[i]·sin)
//
// Interleaved angles turn (x[2i], x[2i+1]) instead.
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
	turn, starts := turnHalves, f.h.turning()
	if f.a.Interleaved {
		turn = turnPairs
	}
	kernel.Split(v.Rows, 16, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row := v.Row(t)
			for _, at := range starts {
				turn(row[at:], f.a.Cos.Row(t), f.a.Sin.Row(t), sign)
			}
		}
	})
}

func turnHalves(x, cos, sin []float32, sign float32) {
	x1, x2 := x[:len(cos)], x[len(cos):2*len(cos)]
	for i, c := range cos {
		s := sign * sin[i]
		a, b := x1[i], x2[i]
		x1[i] = a*c - b*s
		x2[i] = b*c + a*s
	}
}

func turnPairs(x, cos, sin []float32, sign float32) {
	for i, c := range cos {
		s := sign * sin[i]
		a, b := x[2*i], x[2*i+1]
		x[2*i] = a*c - b*s
		x[2*i+1] = b*c + a*s
	}
}

// Backward turns the gradient back; scaled angles (yarn) scale it once more, as the transpose of the rotation does.
func (f *rotary) Backward(gy mat.Tensor) error {
	dy := Of(gy)
	f.turn(dy.View(), -1)
	f.y.release()
	f.x.AccGrad(dy)
	return nil
}

// Rope computes the angles of positions for one model.
type Rope struct {
	Frequencies []float64 // [R/2] radians per position
	Scale       float64   // of cos and sin (yarn's attention factor); 1 for the others
	Interleaved bool      // see Angles
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
	a := Angles{Cos: kernel.NewMat(p.Arena.Get(n*half), n, half), Sin: kernel.NewMat(p.Arena.Get(n*half), n, half), Interleaved: r.Interleaved}
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
