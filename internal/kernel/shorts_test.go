package kernel

import (
	"math"
	"testing"
)

// TestShortsAreFiner: few rows that meet a weight of 8 bits in mode bf16 come nearer to the weight's own product than bf16 would, also where one number of
// a row is far larger than the others.
func TestShortsAreFiner(t *testing.T) {
	const N, K = 37, 1000
	everyVariant(t, func(t *testing.T) {
		for _, T := range []int{1, 2, 3, 4, 5, 9, fewShortRows} {
			next := normals(uint64(T))
			w := surrounded(I8, N, K, next)
			x, y := strided(t, T, K, 1, next), strided(t, T, N, 2, next)
			for i := range T {
				x.Row(i)[i*7] *= 30
			}
			a := Pack(x, ModeBF16)
			a.MulT(y, w, nil, false)
			a.Free()
			want := sums(T, N, K, matOf(x, false), func(k, n int) float64 { return float64(w.At(n, k)) })
			half := sums(T, N, K, func(i, k int) float64 { return float64(wideBF16(roundBF16(x.Row(i)[k]))) },
				func(k, n int) float64 { return float64(wideBF16(roundBF16(w.At(n, k)))) })
			rounded := NewMat(make([]float32, T*N), T, N)
			for i := range rounded.Data {
				rounded.Data[i] = float32(half(i/N, i%N))
			}
			if e, bf16 := worst(y, want), worst(rounded, want); !(e < bf16/2) {
				t.Errorf("%d rows: error %.2g, want below half of bf16's %.2g", T, e, bf16)
			}
		}
	})
}

// TestShortsAreExact: products of whole numbers have no order, so results of rows that are whole numbers already have every bit.
func TestShortsAreExact(t *testing.T) {
	const T, N, K = 7, 30, 200
	next := normals(3)
	w := FrozenF32(guarded(t, N*K, func() float32 { return float32(math.Round(float64(40 * next()))) }), N, K)
	x := strided(t, T, K, 0, func() float32 { return float32(math.Round(float64(1000 * next()))) })
	for n := range N {
		w.f32[n*K] = 127 // the scale is 1
	}
	for i := range T {
		x.Row(i)[K-1] = maxShort
	}
	for i := range w.f32 {
		w.f32[i] = max(-127, min(127, w.f32[i]))
	}
	q := w.Quantise(I8)
	want := sums(T, N, K, matOf(x, false), func(k, n int) float64 { return float64(w.At(n, k)) })
	everyVariant(t, func(t *testing.T) {
		y, a := strided(t, T, N, 0, next), Pack(x, ModeBF16)
		defer a.Free()
		a.MulT(y, q, nil, false)
		for i := range T {
			for j, v := range y.Row(i) {
				if d := math.Abs(float64(v) - want(i, j)); d > 2e-7*math.Abs(want(i, j))+1 { // what the last float32 sums round
					t.Fatalf("y[%d,%d] = %g, want %g", i, j, v, want(i, j))
				}
			}
		}
	})
}
