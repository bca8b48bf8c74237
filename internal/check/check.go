// Package check holds the few comparisons that tests share.
package check

import (
	"math"
	"math/rand/v2"
	"slices"
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

// Slope holds the gradient of a function of x, which f computes from the present content of x, against central
// differences in two directions: that of the gradient itself, which finds every error of size or sign, and a random one.
func Slope(t testing.TB, what string, x, grad []float32, rng *rand.Rand, f func() float64) {
	t.Helper()
	norm := 0.0
	for _, g := range grad {
		norm += float64(g) * float64(g)
	}
	norm = math.Sqrt(norm)
	along, random := make([]float64, len(x)), make([]float64, len(x))
	for i, g := range grad {
		along[i] = float64(g) / max(norm, 1e-12)
		random[i] = float64(rng.IntN(2)*2-1) / math.Sqrt(float64(len(x)))
	}
	slope(t, what+", along the gradient", x, grad, along, norm, f)
	slope(t, what+", in a random direction", x, grad, random, norm, f)
}

// slope compares in one direction d of length 1. Kinks (ReLU) and jumps (a token that changes its expert) spoil a difference
// that steps across one, so a smaller step may do what the first does not; a wrong gradient agrees with none.
func slope(t testing.TB, what string, x, grad []float32, d []float64, norm float64, f func() float64) {
	t.Helper()
	var got, want float64
	for _, h := range []float64{2e-3, 5e-4, 1e-4} {
		gotNear, wantNear := difference(x, grad, d, h, f)
		gotFar, wantFar := difference(x, grad, d, 2*h, f)
		got, want = (4*gotNear-gotFar)/3, (4*wantNear-wantFar)/3 // the third derivative's share cancels
		// Float32 values of size 1 give f to 1e-7 or so, which the differences divide by 2h.
		if math.Abs(got-want) <= 2e-7/h+1e-2*norm {
			return
		}
	}
	t.Errorf("%s: slope %g, central difference %g", what, got, want)
}

// difference walks h both ways from x, and returns what the gradient foretells and what f says, per length.
func difference(x, grad []float32, d []float64, h float64, f func() float64) (got, want float64) {
	keep := slices.Clone(x)
	at := func(step float64) float64 {
		for i := range x {
			x[i] = float32(float64(keep[i]) + step*d[i])
		}
		return f()
	}
	up := at(h)
	high := slices.Clone(x)
	down := at(-h)
	for i := range x { // rounding counts in steps so small, so the direction is what it really was
		got += float64(grad[i]) * (float64(high[i]) - float64(x[i]))
	}
	copy(x, keep)
	return got / (2 * h), (up - down) / (2 * h)
}
