package kernel

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// everything computes each kind of product and returns all results in a row.
func everything(T, N, K int) func() []float32 {
	next := normals(7)
	var ws []*Frozen
	for _, d := range []DType{F32, F16, BF16, I8, NF4, Lossless} {
		ws = append(ws, surrounded(d, N, K, next))
	}
	mat := func(rows, cols int) Mat {
		m := NewMat(make([]float32, rows*cols), rows, cols)
		for i := range m.Data {
			m.Data[i] = next()
		}
		return m
	}
	x, dy, a, b := mat(T, K), mat(T, N), mat(12, K), mat(N, 12)
	return func() []float32 {
		var all []float32
		empty := func(rows, cols int) Mat { return NewMat(make([]float32, rows*cols), rows, cols) }
		for _, w := range ws {
			for _, mode := range []Mode{ModeF32, ModeBF16, ModeSplit} {
				y, dx := empty(T, N), empty(T, K)
				ax, ady := Pack(x, mode), Pack(dy, mode)
				ax.MulT(y, w, nil, false)
				ady.Mul(dx, w, nil, false)
				ax.Free()
				ady.Free()
				all = append(append(all, y.Data...), dx.Data...)
			}
		}
		s, y, da, db, dw := empty(T, 12), empty(T, N), empty(12, K), empty(N, 12), empty(N, K)
		MatMul(s, x, a, MatMulOpts{TransB: true})
		MatMul(y, s, b, MatMulOpts{TransB: true})
		MatMul(db, dy, s, MatMulOpts{TransA: true})
		MatMul(s, dy, b, MatMulOpts{})
		MatMul(da, s, x, MatMulOpts{TransA: true})
		MatMul(dw, dy, x, MatMulOpts{TransA: true})
		for _, m := range []Mat{s, y, da, db, dw} {
			all = append(all, m.Data...)
		}
		return all
	}
}

func TestResultsDoNotDependOnThreads(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
		N, K := 201, 170
		if testing.Short() {
			N, K = 77, 50
		}
		for _, T := range []int{1, 5, 33, 150} {
			f := everything(T, N, K)
			runtime.GOMAXPROCS(1)
			want := f()
			for _, n := range []int{2, 3, 4, 8} {
				runtime.GOMAXPROCS(n)
				if got := f(); !slices.Equal(got, want) {
					t.Errorf("T %d: GOMAXPROCS %d differs from 1", T, n)
				}
			}
		}
	})
}

// TestStress runs products on several goroutines while others collect garbage and allocate: every result must have the
// same bits. It is the test of tile state and scheduling.
func TestStress(t *testing.T) {
	f := everything(70, 130, 98)
	want := f()
	var stop atomic.Bool
	defer stop.Store(true)
	go func() {
		var keep [][]byte
		for i := 0; !stop.Load(); i++ {
			if keep = append(keep, make([]byte, 1+i*7919%(1<<16))); len(keep) > 500 {
				keep = nil
				runtime.GC()
			}
		}
	}()
	duration := 500 * time.Millisecond
	if testing.Short() {
		duration /= 5
	}
	for end := time.Now().Add(duration); time.Now().Before(end); {
		Parallel(3, func(int) {
			if !slices.Equal(f(), want) {
				t.Error("results differ")
			}
		})
	}
}

func TestNaNAndInfPropagate(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	everyVariant(t, func(t *testing.T) {
		for _, s := range [][3]int{{1, 40, 40}, {20, 70, 90}, {140, 33, 64}} {
			T, N, K := s[0], s[1], s[2]
			for _, mode := range []Mode{ModeF32, ModeBF16, ModeSplit} {
				for _, bad := range []float32{nan, inf} {
					next := normals(3)
					w := surrounded(BF16, N, K, next)
					x, y := strided(t, T, K, 0, next), strided(t, T, N, 0, next)
					row, col := T-1, K-1
					x.Data[row*x.Stride+col] = bad
					a := Pack(x, mode)
					a.MulT(y, w, nil, false)
					a.Free()
					for i := range T {
						for j, v := range y.Row(i) {
							finite := v-v == 0
							if finite != (i != row) {
								t.Fatalf("%v %v: x[%d,%d] = %g gives y[%d,%d] = %g", s, mode, row, col, bad, i, j, v)
							}
						}
					}
				}
			}
		}
	})
}

// eachProduct calls f for some storage types, every mode, number of rows and direction with a function that computes the product
// of operands drawn from fill.
func eachProduct(t *testing.T, dtypes []DType, fill func() float32, f func(what string, product func() Mat)) {
	const N, K = 65, 300
	for _, dtype := range dtypes {
		w := surrounded(dtype, N, K, fill)
		for _, mode := range []Mode{ModeF32, ModeBF16, ModeSplit} {
			for _, T := range []int{1, 6, 20, 30, 140} {
				x, dy := strided(t, T, K, 0, fill), strided(t, T, N, 0, fill)
				what := fmt.Sprintf("%v %v T %d", dtype, mode, T)
				f(what+" forward", func() Mat {
					a, y := Pack(x, mode), strided(t, T, N, 0, fill)
					defer a.Free()
					a.MulT(y, w, nil, false)
					return y
				})
				f(what+" backward", func() Mat {
					a, dx := Pack(dy, mode), strided(t, T, K, 0, fill)
					defer a.Free()
					a.Mul(dx, w, nil, false)
					return dx
				})
			}
		}
	}
}

func TestModesMeanTheSameEverywhere(t *testing.T) {
	eachProduct(t, []DType{F32, F16, BF16, I8, NF4, Lossless}, normals(9), func(what string, product func() Mat) {
		var want Mat
		everyVariant(t, func(t *testing.T) {
			y := product()
			if want.Data == nil {
				want = y.clone()
				return
			}
			// Only the order of summation differs. Tiles leave out the products of two low parts where both operands are split:
			// each is below 2^-16 of the product, and their sums 3.5e-6 in the root of mean squares, here up to six times that.
			limit := 2e-5
			if current().tiles && strings.Contains(what, "split") {
				limit = 4e-5
			}
			e := worst(y, func(i, j int) float64 { return float64(want.Data[i*want.Stride+j]) })
			if !(e < limit) {
				t.Errorf("%s: differs from plain Go by %.2g, want below %.2g", what, e, limit)
			}
		})
	})
}

// TestSmallIntegersAreExact: bf16 holds integers up to 256 and float32 their sums, so no order of summation rounds.
func TestSmallIntegersAreExact(t *testing.T) {
	next := normals(4)
	integers := func() float32 { return float32(math.Round(float64(8 * next()))) }
	eachProduct(t, []DType{F32, F16, BF16}, integers, func(what string, product func() Mat) {
		var want Mat
		everyVariant(t, func(t *testing.T) {
			y := product().clone()
			if want.Data == nil {
				want = y
			} else if !slices.Equal(y.Data, want.Data) {
				t.Errorf("%s: differs from plain Go", what)
			}
		})
	})
}

// TestDenormalsAreKeptOrFlushed: VDPBF16PS and the tiles take bf16 denormals for zeros, and nothing worse.
func TestDenormalsAreKeptOrFlushed(t *testing.T) {
	const smallest = 0x1p-126 // the smallest normal number
	next := normals(5)
	for _, tiny := range []bool{false, true} {
		w := surrounded(BF16, 40, 64, func() float32 { return 1 + next()/8 })
		for _, T := range []int{3, 50} {
			x := strided(t, T, 64, 0, func() float32 {
				if tiny {
					return smallest / 4
				}
				return 8 * smallest
			})
			want := sums(T, 40, 64, matOf(x, false), func(k, n int) float64 { return float64(w.At(n, k)) })
			everyVariant(t, func(t *testing.T) {
				y, a := strided(t, T, 40, 0, next), Pack(x, ModeBF16)
				defer a.Free()
				a.MulT(y, w, nil, false)
				if e := worst(y, want); tiny && !(e <= 1.3) || !tiny && !(e < 1e-2) {
					t.Errorf("T %d tiny %v: error %.2g", T, tiny, e)
				}
			})
		}
	}
}

func TestParallel(t *testing.T) {
	for _, n := range []int{0, 1, 2, 100} {
		seen := make([]atomic.Int32, n)
		Parallel(n, func(i int) { seen[i].Add(1) })
		for i := range seen {
			if seen[i].Load() != 1 {
				t.Errorf("Parallel(%d) ran %d %d times", n, i, seen[i].Load())
			}
		}
	}
	var covered [103]atomic.Int32
	Split(len(covered), 10, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			covered[i].Add(1)
		}
	})
	for i := range covered {
		if covered[i].Load() != 1 {
			t.Errorf("Split covered %d %d times", i, covered[i].Load())
		}
	}
	for _, procs := range []int{1, 4} {
		func() {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			defer func() {
				if r := recover(); r != "boom" {
					t.Errorf("recovered %v, want boom", r)
				}
			}()
			Parallel(8, func(i int) {
				if i == 5 {
					panic("boom")
				}
			})
			t.Error("Parallel swallowed a panic")
		}()
	}
}

func TestBenchGemm(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	calls := 0
	r := BenchGemm([][3]int{{8, 64, 64}, {33, 40, 50}}, NF4, []Mode{ModeF32, ModeSplit}, []int{1, 2}, time.Millisecond, func(GemmResult) { calls++ })
	if len(r) != 16 || calls != len(r) {
		t.Fatalf("%d results, %d reported, want 16", len(r), calls)
	}
	for _, x := range r {
		if !(x.GFLOPS > 0) {
			t.Errorf("%+v", x)
		}
	}
	if runtime.GOMAXPROCS(0) != procs {
		t.Error("GOMAXPROCS was not put back")
	}
}

func TestModes(t *testing.T) {
	for _, m := range []Mode{ModeF32, ModeBF16, ModeSplit} {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("ParseMode(%q) = %v, %v", m, got, err)
		}
	}
	if _, err := ParseMode("fp32"); err == nil {
		t.Error("ParseMode accepts fp32")
	}
	if _, err := Use("mmx"); err == nil {
		t.Error("Use accepts mmx")
	}
	t.Log("variants of this machine:", Variants(), "default mode:", DefaultMode())
}
