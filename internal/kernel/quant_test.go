package kernel

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
)

// TestInt8IsWithinHalfAStep holds I8 to its definition: each number is the nearest multiple of its row's scale.
func TestInt8IsWithinHalfAStep(t *testing.T) {
	const rows, cols = 7, 101
	next := normals(3)
	w := FrozenF32(guarded(t, rows*cols, next), rows, cols)
	clear(w.f32[cols : 2*cols])
	q := w.Quantise(I8)
	for i := range rows {
		largest := 0.0
		for j := range cols {
			largest = max(largest, math.Abs(float64(w.At(i, j))))
		}
		for j := range cols {
			// half a step, and what the products of float32 are rounded by
			if d := math.Abs(float64(q.At(i, j) - w.At(i, j))); d > largest/127*(0.5+1e-4) {
				t.Errorf("number (%d, %d) is %g, want %g within %g", i, j, q.At(i, j), w.At(i, j), largest/254)
			}
		}
	}
}

// TestQuantisedReadsAreTheSame reads every run of numbers of a row, with each variant.
func TestQuantisedReadsAreTheSame(t *testing.T) {
	const rows, cols = 9, 173 // blocks of 64 run across rows
	w := surrounded(F32, rows, cols, normals(5))
	for _, d := range []DType{I8, NF4} {
		q := w.Quantise(d)
		want := NewMat(make([]float32, rows*cols), rows, cols)
		restore, err := Use("go")
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			q.Row(want.Row(i), i)
		}
		restore()
		t.Run(d.String(), func(t *testing.T) {
			everyVariant(t, func(t *testing.T) {
				for i := range rows {
					for lo := range cols {
						for hi := lo + 1; hi <= cols; hi += 1 + (lo+hi)%7 {
							got := guarded(t, hi-lo, func() float32 { return 0 })
							if q.part(got, i, lo); !slices.Equal(got, want.Row(i)[lo:hi]) {
								t.Fatalf("row %d, columns %d to %d: %v, want %v", i, lo, hi, got, want.Row(i)[lo:hi])
							}
						}
					}
				}
			})
		})
	}
}

func TestQuantiseDoesNotDependOnThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	w := surrounded(F32, 300, 700, normals(9))
	for _, d := range []DType{I8, NF4} {
		runtime.GOMAXPROCS(1)
		one := w.Quantise(d).q
		runtime.GOMAXPROCS(4)
		four := w.Quantise(d).q
		if fmt.Sprint(*one) != fmt.Sprint(*four) {
			t.Errorf("%v differs with the number of threads", d)
		}
	}
}

func TestQuantisedSizes(t *testing.T) {
	w := surrounded(F32, 512, 1024, normals(2))
	for d, bits := range map[DType]float64{I8: 8 + 64.0/1024, NF4: 4 + 8.0/64 + 32.0/(64*256)} {
		if got := 8 * float64(w.Quantise(d).Bytes()) / (512 * 1024); got != bits {
			t.Errorf("%v takes %g bits a number, want %g", d, got, bits)
		}
	}
}

// TestNotFiniteStaysSo: a weight that is not finite does not become one that is.
func TestNotFiniteStaysSo(t *testing.T) {
	for _, d := range []DType{I8, NF4} {
		w := surrounded(F32, 3, 128, normals(2))
		w.f32[130] = float32(math.NaN())
		if q := w.Quantise(d); q.At(1, 2) == q.At(1, 2) {
			t.Errorf("%v made %g of a NaN", d, q.At(1, 2))
		}
	}
}
