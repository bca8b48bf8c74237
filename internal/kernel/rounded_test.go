package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// TestRoundedOnce holds products with weights that were rounded once to those that round them each time: the same numbers are
// multiplied, so only the order of sums may differ, and nothing in other modes.
func TestRoundedOnce(t *testing.T) {
	const N, K = 201, 170
	next := normals(11)
	for _, d := range []DType{F32, F16} {
		for _, T := range []int{1, 5, 70} {
			w, x, dy := surrounded(d, N, K, next), NewMat(make([]float32, T*K), T, K), NewMat(make([]float32, T*N), T, N)
			for _, m := range []Mat{x, dy} {
				for i := range m.Data {
					m.Data[i] = next()
				}
			}
			products := func(w *Frozen, mode Mode) []float32 {
				y, dx := NewMat(make([]float32, T*N), T, N), NewMat(make([]float32, T*K), T, K)
				ax, ady := Pack(x, mode), Pack(dy, mode)
				defer ax.Free()
				defer ady.Free()
				ax.MulT(y, w, nil, false)
				ady.Mul(dx, w, nil, false)
				return append(y.Data, dx.Data...)
			}
			rounded := *w
			if got, want := rounded.Round(), w.Bytes(); got != want {
				t.Errorf("Round spares %d bytes, want %d", got, want)
			}
			t.Run(fmt.Sprint(d, T), func(t *testing.T) {
				everyVariant(t, func(t *testing.T) {
					for _, mode := range []Mode{ModeF32, ModeSplit} {
						if !slices.Equal(products(&rounded, mode), products(w, mode)) {
							t.Errorf("%v: results differ", mode)
						}
					}
					want := products(w, ModeBF16)
					for i, v := range products(&rounded, ModeBF16) {
						if math.Abs(float64(v-want[i])) > 1e-4 { // sums of some 200 products of normals: about 14, rounded 200 times in either order
							t.Fatalf("bf16: result %d is %g, want %g", i, v, want[i])
						}
					}
				})
			})
		}
	}
}
