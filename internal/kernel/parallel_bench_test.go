package kernel

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkParallel has work as decoding has it: two pieces of some microseconds, then as long for one thread alone. What it takes beyond 40 µs is the
// threads' coming and going.
func BenchmarkParallel(b *testing.B) {
	spin := func(d time.Duration) {
		for t := time.Now(); time.Since(t) < d; {
		}
	}
	var all []float64
	for b.Loop() {
		t := time.Now()
		Parallel(2, func(int) { spin(20 * time.Microsecond) })
		all = append(all, float64(time.Since(t).Nanoseconds()))
		spin(20 * time.Microsecond)
	}
	b.ReportMetric(quantile(all, 0.25), "ns/quarter")
	b.ReportMetric(quantile(all, 0.5), "ns/half")
}

func quantile(x []float64, q float64) float64 {
	slices.Sort(x)
	return x[int(q*float64(len(x)-1))]
}
