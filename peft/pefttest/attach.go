package pefttest

import (
	"math"
	"testing"
)

// attaching compares the model with a fresh adapter to the model without.
func attaching(t *testing.T, x *bench) {
	before := x.logits(t)
	_, a := x.attach(t)
	after := x.logits(t)
	switch {
	case x.Nearly:
		if d := distance(before, after); !(d < 1e-4) { // rounding of float32, through a few layers
			t.Errorf("the fresh adapter changes the logits by %.2g of the largest, want no more than rounding does", d)
		}
	case sameBits(before, after) != x.Identity:
		t.Errorf("the fresh adapter changes the logits: %v, want %v", x.Identity, !x.Identity)
	}
	n := 0
	names := map[string]bool{}
	for name := range a.Params() {
		n++
		names[name] = true
	}
	if n == 0 || len(names) != n {
		t.Errorf("%d parameters of %d names, want some and no name twice", n, len(names))
	}
}

// detaching changes every parameter, so that the adapter shows, and takes it off.
func detaching(t *testing.T, x *bench) {
	before := x.logits(t)
	_, a := x.trained(t)
	if sameBits(before, x.logits(t)) {
		t.Fatal("the adapter changes nothing")
	}
	a.Detach()
	if !sameBits(before, x.logits(t)) {
		t.Error("after Detach the logits differ from those before Attach")
	}
}

func sameBits(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}

// distance is the largest difference over the largest number of a.
func distance(a, b []float32) float64 {
	var d, most float64
	for i := range a {
		d, most = max(d, math.Abs(float64(a[i])-float64(b[i]))), max(most, math.Abs(float64(a[i])))
	}
	return d / most
}
