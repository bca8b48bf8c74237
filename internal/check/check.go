// Package check holds the few comparisons that tests share.
package check

import (
	"math"
	"testing"
)

// Close reports, as one error, the worst of got against want if |got-want| > abs + rel*|want| anywhere, or a NaN.
func Close(t testing.TB, what string, got, want []float32, abs, rel float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	worst, at := 0.0, -1
	for i := range got {
		g, w := float64(got[i]), float64(want[i])
		if g == w {
			continue
		}
		excess := math.Abs(g-w) / (abs + rel*math.Abs(w))
		if math.IsNaN(excess) || excess > worst {
			worst, at = excess, i
			if math.IsNaN(excess) {
				break
			}
		}
	}
	if at >= 0 && !(worst <= 1) {
		t.Errorf("%s: [%d] = %g, want %g (tolerance %g + %g·|want|, exceeded %.3g times)", what, at, got[at], want[at], abs, rel, worst)
	}
}

// MaxDiff is the largest |a-b|; NaN if any is.
func MaxDiff(a, b []float32) float64 {
	m := 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			return d
		}
		m = max(m, d)
	}
	return m
}

// Panics reports an error unless f panics.
func Panics(t testing.TB, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: did not panic", what)
		}
	}()
	f()
}
