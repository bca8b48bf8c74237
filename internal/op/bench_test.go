package op_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/ag"
)

// BenchmarkAttention passes causal attention forward and backward: multiply-adds of the seen keys a second, of nine products (two
// forward, five backward of which two compute the scores again) counted as seven.
func BenchmarkAttention(b *testing.B) {
	for _, h := range []op.Heads{{Query: 32, KeyValue: 4, Dim: 64}, {Query: 12, KeyValue: 12, Dim: 64}} {
		for _, n := range []int{12, 24, 50, 256, 1024, 4096} {
			for _, mode := range []kernel.Mode{kernel.ModeF32, kernel.ModeBF16} {
				b.Run(fmt.Sprintf("%d heads over %d, segments of %d, %v", h.Query, h.KeyValue, n, mode), func(b *testing.B) {
					const total = 4096
					rng := rand.New(rand.NewPCG(1, 2))
					x := op.NewTensor(make([]float32, total*h.Columns()), total, h.Columns())
					for i := range x.Values() {
						x.Values()[i] = float32(rng.NormFloat64())
					}
					x.SetRequiresGrad(true)
					var segments []op.Segment
					positions := make([]int32, total)
					for t := 0; t < total; t += n {
						segments = append(segments, op.Segment{Start: t, End: min(t+n, total)})
					}
					arena := op.NewArena()
					p := op.NewPass(segments, positions, mode, arena)
					p.Grad = true
					pairs := 0.0
					for _, s := range segments {
						n := float64(s.End - s.Start)
						pairs += n * (n + 1) / 2
					}
					for b.Loop() {
						y := op.Attention(p, x, op.AttentionSpec{Heads: h, Causal: true, Scale: 0.125})
						y.AccGrad(arena.NewTensor(total, h.Query*h.Dim))
						if err := ag.Backward(y); err != nil {
							b.Fatal(err)
						}
						x.ZeroGrad()
						arena.Reset()
					}
					b.ReportMetric(2*7*pairs*float64(h.Query*h.Dim)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
		}
	}
}
