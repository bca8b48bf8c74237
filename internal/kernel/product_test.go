package kernel

import (
	"fmt"
	"testing"
)

// shapes are T, N, K.
var shapes = [][3]int{{1, 1, 1}, {1, 33, 770}, {2, 5, 3}, {3, 18, 4100}, {5, 7, 9}, {7, 50, 31}, {8, 64, 64}, {9, 17, 40}, {16, 16, 32}, {33, 31, 65}, {32, 64, 64},
	{40, 1, 1}, {33, 40, 1}, {70, 1, 33}, {24, 30, 100}, {25, 65, 2100}, {65, 97, 770}, {100, 301, 520}, {130, 500, 90}, {64, 256, 512}, {97, 515, 321}}

// tolerance of a mode: errors over the mean |result|. Sums of some hundred float32 products stay below 1e-5 and rounding
// both operands to 8 bits gives about 1e-2.
var tolerance = map[Mode]float64{ModeF32: 2e-5, ModeSplit: 2e-4, ModeBF16: 6e-2}

func TestFrozenProducts(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		for _, s := range shapes {
			if testing.Short() && s[0]*s[1]*s[2] > 1<<21 {
				continue
			}
			t.Run(shapeName(s), func(t *testing.T) {
				for _, dtype := range []DType{F32, F16, BF16, I8, NF4, Lossless} {
					frozenProducts(t, s[0], s[1], s[2], dtype)
				}
			})
		}
	})
}

func frozenProducts(t *testing.T, T, N, K int, dtype DType) {
	next := normals(uint64(T*N + K))
	w := surrounded(dtype, N, K, next)
	x, dy := strided(t, T, K, 3, next), strided(t, T, N, 1, next)
	y, dx := strided(t, T, N, 2, next), strided(t, T, K, 5, next)
	biasN, biasK := guarded(t, N, next), guarded(t, K, next)
	y0, dx0 := y.clone(), dx.clone()
	forward := sums(T, N, K, matOf(x, false), func(k, n int) float64 { return float64(w.At(n, k)) })
	backward := sums(T, K, N, matOf(dy, false), func(n, k int) float64 { return float64(w.At(n, k)) })
	for mode, tol := range tolerance {
		ax, ady := Pack(x, mode), Pack(dy, mode)
		for _, add := range []bool{false, true} {
			for _, withBias := range []bool{false, true} {
				what := fmt.Sprintf("%v %v add %v bias %v", dtype, mode, add, withBias)
				var bn, bk []float32
				if withBias {
					bn, bk = biasN, biasK
				}
				y.set(y0)
				ax.MulT(y, w, bn, add)
				if e := worst(y, plus(forward, y0, add, bn)); !(e < tol) {
					t.Errorf("MulT %s: error %.2g, want below %.2g", what, e, tol)
				}
				dx.set(dx0)
				ady.Mul(dx, w, bk, add)
				if e := worst(dx, plus(backward, dx0, add, bk)); !(e < tol) {
					t.Errorf("Mul %s: error %.2g, want below %.2g", what, e, tol)
				}
			}
		}
		ax.Free()
		ady.Free()
	}
}

// plus is what a product is added to.
func plus(f func(i, j int) float64, y Mat, add bool, bias []float32) func(i, j int) float64 {
	return func(i, j int) float64 {
		v := f(i, j)
		if add {
			v += float64(y.Data[i*y.Stride+j])
		}
		if bias != nil {
			v += float64(bias[j])
		}
		return v
	}
}

func TestMatMul(t *testing.T) {
	more := [][3]int{{40, 4, 300}, {300, 4, 40}, {4, 300, 40}, {300, 300, 3}, {70, 64, 200}, {130, 16, 130}, {6, 400, 130}, {250, 33, 7}}
	everyVariant(t, func(t *testing.T) {
		for _, s := range append(more, shapes...) {
			if testing.Short() && s[0]*s[1]*s[2] > 1<<21 {
				continue
			}
			m, n, k := s[0], s[1], s[2]
			next := normals(uint64(m*n + k))
			for _, o := range []MatMulOpts{{}, {TransB: true}, {TransA: true}, {TransA: true, TransB: true}} {
				am, ak, bk, bn := m, k, k, n
				if o.TransA {
					am, ak = k, m
				}
				if o.TransB {
					bk, bn = n, k
				}
				a, b, c := strided(t, am, ak, 2, next), strided(t, bk, bn, 3, next), strided(t, m, n, 1, next)
				c0 := c.clone()
				ref := sums(m, n, k, matOf(a, o.TransA), matOf(b, o.TransB))
				for _, o.Add = range []bool{false, true} {
					for _, o.Alpha = range []float32{0, -1.5} {
						for _, o.Serial = range []bool{false, true} {
							c.set(c0)
							MatMul(c, a, b, o)
							alpha := 1.0
							if o.Alpha != 0 {
								alpha = float64(o.Alpha)
							}
							e := worst(c, plus(func(i, j int) float64 { return alpha * ref(i, j) }, c0, o.Add, nil))
							if !(e < tolerance[ModeF32]) {
								t.Errorf("%v %+v: error %.2g", s, o, e)
							}
						}
					}
				}
			}
		}
	})
}
