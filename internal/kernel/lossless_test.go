package kernel

import (
	"math"
	"slices"
	"testing"
)

// bits16 is a bf16 weight with these bits.
func bits16(rows, cols int, next func() uint16) *Frozen {
	half := make([]uint16, rows*cols)
	for i := range half {
		half[i] = next()
	}
	return FrozenU16(half, BF16, rows, cols)
}

// TestLosslessIsTheSame holds every number, read from any column on, to the bits that it was made of: zeros of both signs, denormals, infinities and NaNs
// among them.
func TestLosslessIsTheSame(t *testing.T) {
	normal := normals(3)
	rare := []uint16{0, 0x8000, 1, 0x807f, 0x7f80, 0xff80, 0x7fc1, 0xffff, 0x0080, 0x7f7f}
	n := 0
	everyVariant(t, func(t *testing.T) {
		for _, shape := range [][2]int{{1, 1}, {3, 63}, {2, 64}, {5, 65}, {4, 200}, {7, 896}} {
			for _, every := range []int{0, 60} {
				rows, cols := shape[0], shape[1]
				w := bits16(rows, cols, func() uint16 {
					if n++; every > 0 && n%every == 0 {
						return rare[n/every%len(rare)]
					}
					return uint16(math.Float32bits(normal()*0.02) >> 16)
				})
				q := w.Quantise(Lossless)
				if q.DType != Lossless {
					t.Fatalf("%v, one in %d rare: kept as %v", shape, every, q.DType)
				}
				for i := range rows {
					for _, j := range []int{0, 1, 31, 32, 64, 100, 128} {
						for _, m := range []int{1, 33, 64, cols - j} {
							if j+m > cols || m < 1 {
								continue
							}
							got := make([]uint16, m)
							q.q.unpack(got, cols, i, j)
							if want := w.u16[i*cols+j:][:m]; !slices.Equal(got, want) {
								t.Fatalf("%v, one in %d rare, row %d from %d: %x, want %x", shape, every, i, j, got, want)
							}
						}
					}
					wide, want := make([]float32, cols), make([]float32, cols)
					q.Row(wide, i)
					w.Row(want, i)
					for j := range wide {
						if math.Float32bits(wide[j]) != math.Float32bits(want[j]) {
							t.Fatalf("%v row %d column %d: %x, want %x", shape, i, j, wide[j], want[j])
						}
					}
				}
			}
		}
	})
}

// TestLosslessProducts holds products of few rows, in which numbers with rare exponents are many, to the sums that define them.
func TestLosslessProducts(t *testing.T) {
	normal := normals(5)
	n := 0
	everyVariant(t, func(t *testing.T) {
		for _, shape := range [][2]int{{7, 64}, {9, 640}, {66, 4096}, {5, 200}} {
			N, K := shape[0], shape[1]
			w := bits16(N, K, func() uint16 {
				v := normal() * 0.02
				if n++; n%100 == 0 {
					v *= 1e9
				}
				return uint16(math.Float32bits(v) >> 16)
			}).Quantise(Lossless)
			if w.DType != Lossless || N*K > 1000 && len(w.q.cols) == 0 {
				t.Fatalf("%v: kept as %v, with %d others", shape, w.DType, len(w.q.cols))
			}
			for _, T := range []int{1, 2, 4, 5, 8, 9, 17, 33} {
				x, y := strided(t, T, K, 3, normal), strided(t, T, N, 1, normal)
				want := sums(T, N, K, matOf(x, false), func(k, n int) float64 { return float64(w.At(n, k)) })
				for mode, tol := range tolerance {
					a := Pack(x, mode)
					a.MulT(y, w, nil, false)
					a.Free()
					if e := worst(y, want); !(e < tol) {
						t.Errorf("%d rows, %v, %v: error %.2g, want below %.2g", T, shape, mode, e, tol)
					}
				}
			}
		}
	})
}

// TestLosslessSavesAQuarter is about weights drawn from a normal distribution; what would not save stays as it is.
func TestLosslessSavesAQuarter(t *testing.T) {
	normal := normals(1)
	w := bits16(256, 1024, func() uint16 { return uint16(math.Float32bits(normal()*0.02) >> 16) })
	q := w.Quantise(Lossless)
	if bits := 8 * float64(q.Bytes()) / (256 * 1024); bits < 12 || bits > 12.1 {
		t.Errorf("%.3f bits a number, want 12 to 12.1", bits)
	}
	next := uint16(1)
	all := bits16(256, 1024, func() uint16 { next = next*25173 + 13849; return next })
	if got := all.Quantise(Lossless); got != all {
		t.Errorf("numbers of all exponents are kept as %v", got.DType)
	}
	wide := FrozenF32(make([]float32, 64), 1, 64)
	if got := wide.Quantise(Lossless); got != wide {
		t.Errorf("float32 is kept as %v", got.DType)
	}
}
