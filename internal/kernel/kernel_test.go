package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

const canary = 12345678

// guarded returns n numbers between two runs of canaries, and checks at the end that they are untouched.
func guarded(t testing.TB, n int, fill func() float32) []float32 {
	const pad = 67
	s := make([]float32, n+2*pad)
	for i := range s {
		s[i] = canary
	}
	in := s[pad : pad+n : pad+n]
	for i := range in {
		in[i] = fill()
	}
	t.Cleanup(func() {
		for i := range pad {
			if s[i] != canary || s[len(s)-1-i] != canary {
				t.Error("wrote outside the slice")
				return
			}
		}
	})
	return in
}

// strided returns a [rows, cols] view with a stride beyond cols; the numbers between rows are canaries.
func strided(t testing.TB, rows, cols, gap int, fill func() float32) Mat {
	stride := cols + gap
	m := Mat{Data: guarded(t, max(0, (rows-1)*stride+cols), func() float32 { return canary }), Rows: rows, Cols: cols, Stride: stride}
	for i := range rows {
		for j := range cols {
			m.Data[i*stride+j] = fill()
		}
	}
	t.Cleanup(func() {
		for i := range rows - 1 {
			for j := cols; j < stride; j++ {
				if m.Data[i*stride+j] != canary {
					t.Errorf("wrote between rows, at row %d, column %d of %d", i, j, cols)
					return
				}
			}
		}
	})
	return m
}

// clone copies the numbers, not the gaps.
func (m Mat) clone() Mat {
	c := NewMat(make([]float32, m.Rows*m.Cols), m.Rows, m.Cols)
	for i := range m.Rows {
		copy(c.Row(i), m.Row(i))
	}
	return c
}

func (m Mat) set(from Mat) {
	for i := range m.Rows {
		copy(m.Row(i), from.Row(i))
	}
}

// normals is a source of normal numbers.
func normals(seed uint64) func() float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	return func() float32 { return float32(r.NormFloat64()) }
}

// surrounded stores numbers as a weight of the type with NaNs before and behind, so that reading beyond it shows.
func surrounded(dtype DType, rows, cols int, fill func() float32) *Frozen {
	const pad = 64
	n := rows * cols
	if dtype == Lossless {
		return surrounded(BF16, rows, cols, fill).Quantise(dtype)
	}
	if dtype == I8 || dtype == NF4 {
		return surrounded(F32, rows, cols, fill).Quantise(dtype)
	}
	if dtype == F32 {
		s := make([]float32, n+2*pad)
		for i := range s {
			s[i] = float32(math.NaN())
		}
		for i := range n {
			s[pad+i] = fill()
		}
		return FrozenF32(s[pad:pad+n:pad+n], rows, cols)
	}
	s := make([]uint16, n+2*pad)
	for i := range s {
		s[i] = 0x7fff // a NaN in both
	}
	for i := range n {
		if dtype == BF16 {
			s[pad+i] = roundBF16(fill())
		} else {
			s[pad+i] = floatToHalf(fill())
		}
	}
	return FrozenU16(s[pad:pad+n:pad+n], dtype, rows, cols)
}

// worst is the largest error of got over the mean of |want|.
func worst(got Mat, want func(i, j int) float64) float64 {
	var e, mean float64
	for i := range got.Rows {
		for j := range got.Cols {
			w := want(i, j)
			d := math.Abs(w - float64(got.Data[i*got.Stride+j]))
			if math.IsNaN(d) {
				return d
			}
			e, mean = max(e, d), mean+math.Abs(w)
		}
	}
	return e / max(mean/float64(got.Rows*got.Cols), 1e-30)
}

// everyVariant runs f with each variant that the machine has.
func everyVariant(t *testing.T, f func(t *testing.T)) {
	for _, name := range Variants() {
		t.Run(name, func(t *testing.T) {
			restore, err := Use(name)
			if err != nil {
				t.Fatal(err)
			}
			defer restore()
			f(t)
		})
	}
}

// matOf is op(m) as a function.
func matOf(m Mat, trans bool) func(i, j int) float64 {
	return func(i, j int) float64 { return float64(opAt(m, trans, i, j)) }
}

// sums is the table of Σ_k a(i,k)·b(k,j) in float64.
func sums(m, n, k int, a, b func(i, j int) float64) func(i, j int) float64 {
	c := make([]float64, m*n)
	row := make([]float64, n)
	for l := range k {
		for j := range row {
			row[j] = b(l, j)
		}
		for i := range m {
			v := a(i, l)
			for j, w := range row {
				c[i*n+j] += v * w
			}
		}
	}
	return func(i, j int) float64 { return c[i*n+j] }
}

func shapeName(s [3]int) string { return fmt.Sprintf("%dx%dx%d", s[0], s[1], s[2]) }
