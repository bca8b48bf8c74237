package model

import (
	"math"
	"testing"
)

// TestLongRope checks the formulas with numbers worked out by hand: heads of 4 numbers, theta 100, so the frequencies are 1
// and 1/10; the length is stretched from 8 to 64, so scores grow by √(1 + ln 8/ln 8).
func TestLongRope(t *testing.T) {
	c, err := ParseConfig([]byte(`{"model_type": "phi3", "hidden_size": 4, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 2,
		"vocab_size": 80, "max_position_embeddings": 64, "original_max_position_embeddings": 8, "rope_theta": 100,
		"rope_scaling": {"type": "su", "short_factor": [1, 2], "long_factor": [4, 8]}}`))
	if err != nil {
		t.Fatal(err)
	}
	rope, err := phi3.Spec(c).Ropes[0].build(c)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(rope.Scale-math.Sqrt2) > 1e-12 {
		t.Errorf("scale %g, want √2", rope.Scale)
	}
	for _, x := range []struct {
		length int
		want   [2]float64
	}{{8, [2]float64{1, 0.05}}, {9, [2]float64{0.25, 0.0125}}} {
		got := rope.Dynamic(x.length)
		for i, want := range x.want {
			if math.Abs(got[i]-want) > 1e-12 {
				t.Errorf("length %d: frequency %d is %g, want %g", x.length, i, got[i], want)
			}
		}
	}
}
