package kernel

import (
	"fmt"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

func report(b *testing.B, flops float64) {
	b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkFrozen(b *testing.B) {
	next := normals(1)
	for _, s := range [][3]int{{16, 2048, 2048}, {64, 2048, 2048}, {512, 2048, 2048}, {512, 5632, 2048}, {512, 2048, 5632}, {256, 768, 768}} {
		T, N, K := s[0], s[1], s[2]
		for _, dtype := range []DType{F32, BF16} {
			w := surrounded(dtype, N, K, next)
			x, dy := strided(b, T, K, 0, next), strided(b, T, N, 0, next)
			for _, op := range []string{"forward", "backward"} {
				b.Run(fmt.Sprintf("%s/%s/%v", shapeName(s), op, dtype), func(b *testing.B) {
					for b.Loop() {
						if op == "forward" {
							a := Pack(x, ModeF32)
							a.MulT(dy, w, nil, false)
							a.Free()
						} else {
							a := Pack(dy, ModeF32)
							a.Mul(x, w, nil, false)
							a.Free()
						}
					}
					report(b, 2*float64(T*N)*float64(K))
				})
			}
		}
	}
}

func BenchmarkGonum(b *testing.B) {
	next := normals(1)
	T, N, K := 512, 2048, 2048
	x, w, y := strided(b, T, K, 0, next), strided(b, N, K, 0, next), strided(b, T, N, 0, next)
	for b.Loop() {
		gonum.Implementation{}.Sgemm(blas.NoTrans, blas.Trans, T, N, K, 1, x.Data, K, w.Data, K, 0, y.Data, N)
	}
	report(b, 2*float64(T*N)*float64(K))
}
