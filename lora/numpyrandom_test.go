package lora

import (
	"math"
	"slices"
	"testing"
)

// TestPCG compares with what numpy.random.default_rng(42) gives first.
func TestPCG(t *testing.T) {
	if got := float64(newPCG(42).next()>>11) / (1 << 53); math.Abs(got-0.7739560485559633) > 1e-16 {
		t.Errorf("default_rng(42).random() = %.16f, want 0.7739560485559633", got)
	}
	x := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	if newPCG(42).shuffle(x); !slices.Equal(x, []int{5, 6, 0, 7, 3, 2, 4, 9, 1, 8}) {
		t.Errorf("default_rng(42).permutation(10) = %v, want 5 6 0 7 3 2 4 9 1 8", x)
	}
}

// TestChoose draws without repetition in both of NumPy's ways.
func TestChoose(t *testing.T) {
	for _, c := range [][2]int{{64, 48}, {20000, 9000}, {7, 7}} {
		seen := map[int]bool{}
		for _, v := range newPCG(3).choose(c[0], c[1]) {
			if v < 0 || v >= c[0] || seen[v] {
				t.Fatalf("choose(%d, %d) gave %d, out of range or twice", c[0], c[1], v)
			}
			seen[v] = true
		}
		if len(seen) != c[1] {
			t.Errorf("choose(%d, %d) gave %d numbers", c[0], c[1], len(seen))
		}
	}
}
