package kernel

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

// Benchmarks: one per figure that the project publishes, in the units it publishes.
//
//	go test -run XXX -bench . ./internal/kernel

func report(b *testing.B, name string, perCall float64) {
	b.ReportMetric(perCall*float64(b.N)/b.Elapsed().Seconds()/1e9, name)
}

func filled(rows, cols int) Mat { return NewMat(benchFloats(rows*cols), rows, cols) }

func BenchmarkFrozen(b *testing.B) {
	for _, s := range [][3]int{{16, 2048, 2048}, {128, 2048, 2048}, {512, 2048, 2048}, {512, 5632, 2048}, {512, 2048, 5632}, {256, 768, 768}} {
		T, N, K := s[0], s[1], s[2]
		w := FrozenU16(benchHalves(N*K), BF16, N, K)
		x, dy := filled(T, K), filled(T, N)
		for _, mode := range []Mode{ModeF32, ModeSplit, ModeBF16} {
			b.Run(fmt.Sprintf("%s/%v/forward", shapeName(s), mode), func(b *testing.B) {
				for b.Loop() {
					a := Pack(x, mode)
					a.MulT(dy, w, nil, false)
					a.Free()
				}
				report(b, "GFLOP/s", 2*float64(T*N)*float64(K))
			})
			b.Run(fmt.Sprintf("%s/%v/backward", shapeName(s), mode), func(b *testing.B) {
				for b.Loop() {
					a := Pack(dy, mode)
					a.Mul(x, w, nil, false)
					a.Free()
				}
				report(b, "GFLOP/s", 2*float64(T*N)*float64(K))
			})
		}
	}
}

// BenchmarkAgainstGonum takes turns between gonum's sgemm, the f32 product of every variant and, with bf16 weights, its
// bf16 product, so that what else the machine does meets all alike. It reports medians.
func BenchmarkAgainstGonum(b *testing.B) {
	const T, N, K = 512, 2048, 2048
	x, w, y := filled(T, K), filled(N, K), filled(T, N)
	half := FrozenU16(benchHalves(N*K), BF16, N, K)
	type contestant struct {
		name  string
		call  func()
		times []float64
	}
	all := []contestant{{name: "gonum", call: func() {
		gonum.Implementation{}.Sgemm(blas.NoTrans, blas.Trans, T, N, K, 1, x.Data, K, w.Data, K, 0, y.Data, N)
	}}}
	for _, v := range Variants()[1:] {
		product := func(w *Frozen, mode Mode) func() {
			return func() {
				restore, err := Use(v)
				if err != nil {
					b.Fatal(err)
				}
				defer restore()
				a := Pack(x, mode)
				a.MulT(y, w, nil, false)
				a.Free()
			}
		}
		all = append(all, contestant{name: v + "/f32", call: product(FrozenF32(w.Data, N, K), ModeF32)},
			contestant{name: v + "/bf16", call: product(half, ModeBF16)})
	}
	for b.Loop() {
		for i := range all {
			start := time.Now()
			all[i].call()
			all[i].times = append(all[i].times, time.Since(start).Seconds())
		}
	}
	for _, c := range all {
		slices.Sort(c.times)
		b.ReportMetric(2*T*N*K/c.times[len(c.times)/2]/1e9, c.name+"-GFLOP/s")
	}
}

// BenchmarkFromMemory takes turns among weights that the caches do not hold together, as the layers of a model do.
func BenchmarkFromMemory(b *testing.B) {
	const T, N, K, count = 96, 3072, 768, 32
	x, y := filled(T, K), filled(T, N)
	for _, mode := range []Mode{ModeF32, ModeBF16} {
		var list []*Frozen
		for range count {
			if mode == ModeF32 {
				list = append(list, FrozenF32(benchFloats(N*K), N, K))
			} else {
				list = append(list, FrozenU16(benchHalves(N*K), BF16, N, K))
			}
		}
		for _, dir := range []string{"forward", "backward"} {
			b.Run(fmt.Sprintf("%v/%s", mode, dir), func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					if w := list[i%count]; dir == "forward" {
						a := Pack(x, mode)
						a.MulT(y, w, nil, false)
						a.Free()
					} else {
						a := Pack(y, mode)
						a.Mul(x, w, nil, false)
						a.Free()
					}
				}
				report(b, "GFLOP/s", 2*T*N*K)
			})
		}
	}
}

// BenchmarkDecode reads 64 MB of bf16 weights per call.
func BenchmarkDecode(b *testing.B) {
	const N, K = 16384, 2048
	w := FrozenU16(benchHalves(N*K), BF16, N, K)
	for _, T := range []int{1, 4, 8, 16} {
		x, y := filled(T, K), filled(T, N)
		for _, mode := range []Mode{ModeF32, ModeSplit, ModeBF16} {
			b.Run(fmt.Sprintf("T%d/%v", T, mode), func(b *testing.B) {
				for b.Loop() {
					a := Pack(x, mode)
					a.MulT(y, w, nil, false)
					a.Free()
				}
				report(b, "GB/s", 2*N*K)
			})
		}
	}
}

// BenchmarkAdapter is the six thin products of LoRA on a [2048, 2048] projection with 1024 rows.
func BenchmarkAdapter(b *testing.B) {
	const T, N, K = 1024, 2048, 2048
	for _, r := range []int{4, 8, 16, 64} {
		x, dy, y, dx := filled(T, K), filled(T, N), filled(T, N), filled(T, K)
		A, B, dA, dB := filled(r, K), filled(N, r), filled(r, K), filled(N, r)
		s, ds := filled(T, r), filled(T, r)
		b.Run(fmt.Sprintf("r%d", r), func(b *testing.B) {
			for b.Loop() {
				MatMul(s, x, A, MatMulOpts{TransB: true})
				MatMul(y, s, B, MatMulOpts{TransB: true, Add: true})
				MatMul(ds, dy, B, MatMulOpts{})
				MatMul(dB, dy, s, MatMulOpts{TransA: true, Add: true})
				MatMul(dA, ds, x, MatMulOpts{TransA: true, Add: true})
				MatMul(dx, ds, A, MatMulOpts{Add: true})
			}
			report(b, "GFLOP/s", 12*T*N*float64(r))
		})
	}
}

// BenchmarkAttention is one head's products of 512 rows of 64.
func BenchmarkAttention(b *testing.B) {
	const T, D = 512, 64
	q, k, p, o := filled(T, D), filled(T, D), filled(T, T), filled(T, D)
	for _, f := range []struct {
		name    string
		c, a, b Mat
		o       MatMulOpts
	}{{"scores", p, q, k, MatMulOpts{TransB: true, Serial: true}}, {"values", o, p, k, MatMulOpts{Serial: true}}, {"gradient", o, p, k, MatMulOpts{TransA: true, Serial: true}}} {
		b.Run(f.name, func(b *testing.B) {
			for b.Loop() {
				MatMul(f.c, f.a, f.b, f.o)
			}
			report(b, "GFLOP/s", 2*T*T*D)
		})
	}
}

func BenchmarkElementwise(b *testing.B) {
	const n = 4096
	x, y, z, u, v := benchFloats(n), benchFloats(n), benchFloats(n), benchFloats(n), benchFloats(n)
	h := benchHalves(n)
	for _, f := range []struct {
		name string
		call func()
	}{
		{"Dot", func() { Dot(x, y) }}, {"SumSquares", func() { SumSquares(x) }}, {"Max", func() { Max(x) }},
		{"Axpy", func() { Axpy(z, 0.5, x) }}, {"Add", func() { copy(z, x); Add(z, y) }}, {"Exp", func() { Exp(z, x) }},
		{"SoftmaxRow", func() { SoftmaxRow(z) }}, {"SiLUMul", func() { SiLUMul(z, x, y) }},
		{"SiLUMulBackward", func() { SiLUMulBackward(u, v, z, x, y) }}, {"GELU", func() { GELU(z, x) }},
		{"GELUBackward", func() { GELUBackward(z, y, x) }}, {"RMSNorm", func() { RMSNorm(z, x, y, 1e-6) }},
		{"BF16ToF32", func() { BF16ToF32(z, h) }}, {"F32ToBF16", func() { F32ToBF16(h, x) }}, {"F32ToF16", func() { F32ToF16(h, x) }},
	} {
		b.Run(f.name, func(b *testing.B) {
			for b.Loop() {
				f.call()
			}
			report(b, "Gnumbers/s", n)
		})
	}
}
