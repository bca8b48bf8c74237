package model

import "testing"

// TestT5Bucket has values of the published models: 32 rows, distances up to 128 (transformers' _relative_position_bucket).
func TestT5Bucket(t *testing.T) {
	for _, c := range []struct {
		d, both, causal int
	}{
		{0, 0, 0}, {1, 17, 0}, {-1, 1, 1}, {7, 23, 0}, {-7, 7, 7}, {8, 24, 0}, {-8, 8, 8}, {-15, 9, 15}, {-16, 10, 16}, {16, 26, 0}, {-32, 12, 21}, {32, 28, 0},
		{-64, 14, 26}, {64, 30, 0}, {-127, 15, 31}, {-128, 15, 31}, {-100000, 15, 31}, {100000, 31, 0},
	} {
		if both, causal := t5Bucket(c.d, 32, 128, true), t5Bucket(c.d, 32, 128, false); both != c.both || causal != c.causal {
			t.Errorf("distance %d: row %d both ways, %d causal, want %d and %d", c.d, both, causal, c.both, c.causal)
		}
	}
}
