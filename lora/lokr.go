package lora

import (
	"errors"
	"fmt"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// LoKr is a Kronecker product [yeh2023]:
//
//	ΔW = s·W1 ⊗ W2     s = alpha/r, W1 [a, c], W2 [b, d], out = a·b, in = c·d
//
// W2 is W2a·W2b of rank r where that is smaller, W1 too with decompose_both. W1 starts at zero.
//
// References: [yeh2023] LyCORIS, arXiv 2309.14859.
var LoKr = (&tuner.Kind{Type: "LOKR", Name: "lokr", New: func() tuner.Options { return &lokr{r: 8, alpha: 8, factor: -1, init: "true"} },
	Defaults: peft.Object{"alpha": 8, "alpha_pattern": map[string]any{}, "decompose_both": false, "decompose_factor": -1, "exclude_modules": nil,
		"init_weights": true, "layers_pattern": nil, "layers_to_transform": nil, "module_dropout": 0.0, "modules_to_save": nil, "r": 8,
		"rank_dropout": 0.0, "rank_dropout_scale": false, "rank_pattern": map[string]any{}, "target_modules": nil, "use_effective_conv2d": false}}).Method()

type lokr struct {
	r, factor     int
	alpha         float64
	ranks, alphas peft.Pattern
	both          bool
	init          peft.Word
	lycorisDropout
}

func (o *lokr) Settings() []peft.Setting {
	return append(o.lycorisDropout.settings(), peft.Setting{Key: "r", To: &o.r, Min: 1, Max: maxRank}, peft.Setting{Key: "alpha", To: &o.alpha},
		peft.Setting{Key: "rank_pattern", To: &o.ranks, Min: 1, Max: maxRank}, peft.Setting{Key: "alpha_pattern", To: &o.alphas},
		peft.Setting{Key: "decompose_both", To: &o.both}, peft.Setting{Key: "decompose_factor", To: &o.factor},
		peft.Setting{Key: "init_weights", To: &o.init, Want: "true, false or \"lycoris\""}, peft.Setting{Key: "use_effective_conv2d", To: new(bool)},
		peft.Setting{Key: "rank_dropout_scale", To: new(bool)})
}

func (o *lokr) Check() error {
	var errs []error
	if o.init != "true" && o.init != "false" && o.init != "lycoris" {
		errs = append(errs, fmt.Errorf("lokr: init_weights is %q, want true, false or \"lycoris\"", o.init))
	}
	if o.factor < 1 && o.factor != -1 {
		errs = append(errs, fmt.Errorf("lokr: decompose_factor is %d, want 1 or more, or -1 for the squarest factors", o.factor))
	}
	return errors.Join(errs...)
}

func (o *lokr) Layer(s *tuner.Site) (*tuner.Layer, error) {
	r := s.Int("rank_pattern", o.r)
	scale := float32(s.Number("alpha_pattern", o.alpha) / float64(r))
	c1, d := factorise(s.In, o.factor)
	a, b := factorise(s.Out, o.factor)
	zero := map[peft.Word]string{"true": "1", "lycoris": "2"}[o.init] // which of the two is zero at first
	w1 := o.weight(s, "1", a, c1, r, o.both && 2*r < max(a, c1), zero == "1")
	w2 := o.weight(s, "2", b, d, r, 2*r < max(b, d), zero == "2")
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		return c.Scale(scale, c.MatMulT(x, c.Kron(w1(c), w2(c))))
	}}, nil
}

// weight makes one factor, itself as a product if low.
func (o *lokr) weight(s *tuner.Site, n string, rows, cols, r int, low, zero bool) func(c *tuner.Call) *tape.Node {
	draw := func(n int) tuner.Draw {
		if zero {
			return tuner.Zeros
		}
		return tuner.Kaiming(n)
	}
	if !low {
		w := s.Param("lokr_w"+n, draw(cols), rows, cols)
		return func(c *tuner.Call) *tape.Node { return c.Param(w) }
	}
	var a, b *nn.Param
	if a, b = nil, nil; n == "1" {
		a, b = s.Param("lokr_w1_a", draw(r), rows, r), s.Param("lokr_w1_b", tuner.Kaiming(cols), r, cols)
	} else {
		a, b = s.Param("lokr_w2_a", tuner.Kaiming(r), rows, r), s.Param("lokr_w2_b", draw(cols), r, cols)
	}
	return func(c *tuner.Call) *tape.Node { return c.MatMul(c.Param(a), c.Param(b)) }
}

// factorise finds m·n = dimension with m ≤ n: m is the factor if that divides, else the largest divisor up to the factor that
// makes m + n small; -1 gives the squarest.
func factorise(dimension, factor int) (m, n int) {
	if factor > 0 && dimension%factor == 0 {
		return factor, dimension / factor
	}
	if factor == -1 {
		factor = dimension
	}
	m, n = 1, dimension
	for length := m + n; m < n; {
		k := m + 1
		for dimension%k != 0 {
			k++
		}
		if k+dimension/k > length || k > factor {
			break
		}
		m, n = k, dimension/k
	}
	return min(m, n), max(m, n)
}
