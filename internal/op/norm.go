package op

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// RMSNorm scales each row to unit root mean square [zhang2019]:
//
//	y[t] = x[t] / √(mean(x[t]²) + eps) ∘ w
//
//	x [T, C]   w [C]   y [T, C]
//
// eps is inside the root, as Llama has it.
func RMSNorm(p *Pass, x mat.Tensor, w *Vector, eps float64) mat.Tensor {
	if _, c := shape(x); c != len(w.Value) {
		panic(fmt.Sprintf("op: RMSNorm: x has %d columns, w %d", c, len(w.Value)))
	}
	return node(&rmsNorm{p: p, x: x, w: w, eps: eps})
}

type rmsNorm struct {
	p     *Pass
	x     mat.Tensor
	w     *Vector
	eps   float64
	y     *Tensor
	scale []float32 // [T] 1/√(…)
}

func (f *rmsNorm) Operands() []mat.Tensor { return withVectors([]mat.Tensor{f.x}, f.w) }

func (f *rmsNorm) Forward() (mat.Tensor, error) {
	x := Of(f.x)
	f.y = f.p.Arena.NewTensor(x.rows, x.cols)
	f.scale = f.p.Arena.Get(x.rows)
	xv, yv := x.View(), f.y.View()
	kernel.Split(x.rows, 16, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			f.scale[t] = kernel.RMSNorm(yv.Row(t), xv.Row(t), f.w.Value, f.eps)
		}
	})
	return f.y, nil
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

// Backward: see normRowBackward; dw = Σ_t dy[t]∘x[t]·scale[t].
func (f *rmsNorm) Backward(gy mat.Tensor) error {
	dy, x := Of(gy), Of(f.x)
	xv, dyv := x.View(), dy.View()
	if f.w.Param != nil {
		dw := GradOf(f.w.Param)
		kernel.Split(len(dw), 64, func(lo, hi int) {
			for t := range xv.Rows {
				xr, dr, s := xv.Row(t), dyv.Row(t), f.scale[t]
				for i := lo; i < hi; i++ {
					dw[i] += dr[i] * xr[i] * s
				}
			}
		})
	}
	if f.x.RequiresGrad() {
		dx := f.p.Arena.NewTensor(x.rows, x.cols)
		dxv := dx.View()
		kernel.Split(x.rows, 16, func(lo, hi int) {
			for t := lo; t < hi; t++ {
				normRowBackward(dxv.Row(t), dyv.Row(t), xv.Row(t), f.w.Value, f.scale[t])
			}
		})
		f.x.AccGrad(dx)
	}
	dy.release()
	f.y.release()
	f.p.Arena.Put(f.scale)
	return nil
}
