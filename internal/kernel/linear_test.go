package kernel

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// linearsOf draws several linears that read x [T, K], every other with an addition of low rank, and where their results go. Those that are mixed have
// some of their weights stored the other way round.
func linearsOf(t *testing.T, T, K int, dtype DType, mixed bool, next func() float32) (ys []Mat, list []Linear) {
	for i, rank := range []int{0, 1, 8, 16, 21, 64} {
		N := []int{40, 7, 66, 128, 65, 3}[i]
		l := Linear{W: surrounded(dtype, N, K, next), Scale: -1.5}
		if mixed && i%3 > 0 {
			l.W, l.Transposed = surrounded(dtype, K, N, next), true
		}
		if i%2 == 1 {
			l.Bias = guarded(t, N, next)
		}
		if rank > 0 {
			l.A, l.B = strided(t, rank, K, 3, next), strided(t, N, rank, i%3, next)
		}
		ys, list = append(ys, strided(t, T, N, 5, next)), append(list, l)
	}
	return ys, list
}

// TestLinears holds several products in one go to the sums that define them.
func TestLinears(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		for _, T := range []int{1, 3, 5, 8, 9, 33, 150} {
			for _, dtype := range []DType{F32, BF16, I8, Lossless} {
				K := 96 + T
				next := normals(uint64(T))
				x := strided(t, T, K, 2, next)
				ys, list := linearsOf(t, T, K, dtype, T%2 > 0, next)
				for mode, tol := range tolerance {
					a := Pack(x, mode)
					a.Linears(ys, list)
					a.Free()
					check := func(what string) {
						for i, l := range list {
							want := linearSums(x, &l)
							if e := worst(ys[i], want); !(e < tol) {
								t.Errorf("%v %v, %d rows, rank %d, transposed %v%s: error %.2g, want below %.2g", dtype, mode, T, l.A.Rows, l.Transposed, what, e, tol)
							}
						}
					}
					check("")
					known := slices.Clone(list)
					for i := range known {
						if l := &known[i]; l.A.Rows > 0 {
							l.S = strided(t, T, l.A.Rows, 1, next)
							MatMul(l.S, x, l.A, MatMulOpts{TransB: true})
						}
					}
					a = Pack(x, mode)
					a.Linears(ys, known)
					a.Free()
					check(", S known")
				}
			}
		}
	})
}

// linearSums is what a linear makes of x, in float64.
func linearSums(x Mat, l *Linear) func(i, j int) float64 {
	_, out := l.dims()
	y := sums(x.Rows, out, x.Cols, matOf(x, false), l.weight)
	s := sums(x.Rows, l.A.Rows, x.Cols, matOf(x, false), matOf(l.A, true))
	low := sums(x.Rows, out, l.A.Rows, s, matOf(l.B, true))
	return func(i, j int) float64 {
		v := y(i, j) + float64(l.Scale)*low(i, j)
		if l.Bias != nil {
			v += float64(l.Bias[j])
		}
		return v
	}
}

// dims are K and N.
func (l *Linear) dims() (in, out int) {
	if l.Transposed {
		return l.W.Rows, l.W.Cols
	}
	return l.W.Cols, l.W.Rows
}

// weight is Wᵀ [K, N].
func (l *Linear) weight(k, n int) float64 {
	if l.Transposed {
		return float64(l.W.At(k, n))
	}
	return float64(l.W.At(n, k))
}

// TestBack holds the gradients of linears' x to the sums that define them.
func TestBack(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		for _, T := range []int{1, 8, 9, 33, 150} {
			for _, dtype := range []DType{F32, BF16, I8, Lossless} {
				K := 96 + T
				next := normals(uint64(T))
				_, list := linearsOf(t, T, K, dtype, true, next)
				for _, l := range list {
					testBack(t, T, K, &l, next)
				}
			}
		}
	})
}

func testBack(t *testing.T, T, K int, l *Linear, next func() float32) {
	_, N := l.dims()
	dy := strided(t, T, N, 2, next)
	for mode, tol := range tolerance {
		was := strided(t, T, K, 1, next)
		dx := was.clone()
		a := Pack(dy, mode)
		if l.A.Rows > 0 {
			l.S = strided(t, T, l.A.Rows, 3, next)
			a.DownBack(l.S, l.B, l.Scale)
			inner := sums(T, l.A.Rows, N, matOf(dy, false), matOf(l.B, false))
			if e := worst(l.S, func(i, j int) float64 { return float64(l.Scale) * inner(i, j) }); !(e < tol) {
				t.Errorf("%v, %d rows, ds of rank %d: error %.2g, want below %.2g", mode, T, l.A.Rows, e, tol)
			}
		}
		a.Back(dx, l)
		a.Free()
		frozen := sums(T, K, N, matOf(dy, false), func(n, k int) float64 { return l.weight(k, n) })
		low := sums(T, K, l.A.Rows, matOf(l.S, false), matOf(l.A, false))
		if e := worst(dx, func(i, j int) float64 { return float64(opAt(was, false, i, j)) + frozen(i, j) + low(i, j) }); !(e < tol) {
			t.Errorf("%v %v, %d rows, rank %d, transposed %v: error %.2g, want below %.2g", l.W.DType, mode, T, l.A.Rows, l.Transposed, e, tol)
		}
	}
}

func TestLinearsDoNotDependOnThreads(t *testing.T) {
	const T, K = 5, 700 // enough for several threads
	next := normals(11)
	x := strided(t, T, K, 0, next)
	ys, list := linearsOf(t, T, K, BF16, true, next)
	everyVariant(t, func(t *testing.T) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
		var want []float32
		for _, n := range []int{1, 2, 3, 8} {
			runtime.GOMAXPROCS(n)
			var got []float32
			for range 20 {
				a := Pack(x, ModeF32)
				a.Linears(ys, list)
				a.Free()
			}
			for _, y := range ys {
				got = append(got, y.clone().Data...)
			}
			if want == nil {
				want = got
			} else if !slices.Equal(got, want) {
				t.Errorf("GOMAXPROCS %d differs from 1", n)
			}
		}
	})
}

// BenchmarkLinears has the projections of a layer of the 0.5B shape that read the same rows, with adapters and without.
func BenchmarkLinears(b *testing.B) {
	const K, rank = 896, 16
	for _, T := range []int{1, 8} {
		for _, with := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d rows/adapter %v", T, with), func(b *testing.B) {
				var ys []Mat
				var list []Linear
				bytes := 0
				for _, N := range []int{896, 128, 128} {
					l := Linear{W: FrozenU16(benchHalves(N*K), BF16, N, K)}
					if with {
						l.A, l.B, l.Scale = NewMat(benchFloats(rank*K), rank, K), NewMat(benchFloats(N*rank), N, rank), 2
					}
					list, ys = append(list, l), append(ys, NewMat(benchFloats(T*N), T, N))
					bytes += 2 * N * K
				}
				x := NewMat(benchFloats(T*K), T, K)
				b.SetBytes(int64(bytes))
				b.ReportAllocs()
				for b.Loop() {
					a := Pack(x, ModeBF16)
					a.Linears(ys, list)
					a.Free()
				}
			})
		}
	}
}
