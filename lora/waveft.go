package lora

import (
	"fmt"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// WaveFT trains a few of the change's wavelet coefficients, at places that are drawn by a seed [bilican2025]. graft has the
// Haar wavelet "db1", of which each coefficient is a block of 2×2 numbers, and, without use_idwt, the numbers themselves.
//
// References: [bilican2025] Exploring Sparsity for Parameter Efficient Fine Tuning Using Wavelets, arXiv 2505.12532.
var WaveFT = (&tuner.Kind{Type: "WAVEFT", Name: "waveft", Targets: spectralTargets,
	New: func() tuner.Options {
		return &waveft{places: places{n: 2592, seed: 777}, scaling: 25, family: "db1", inverse: true, zero: true}
	},
	Defaults: peft.Object{"bias": "none", "exclude_modules": nil, "fan_in_fan_out": false, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "n_frequency": 2592, "n_frequency_pattern": map[string]any{},
		"proportional_parameters": false, "random_loc_seed": 777, "scaling": 25.0, "target_modules": nil, "use_idwt": true, "wavelet_family": "db1"}}).Method()

type waveft struct {
	places
	scaling       float64
	family        string
	inverse, zero bool
}

func (o *waveft) Settings() []peft.Setting {
	return append(o.settings(), peft.Setting{Key: "scaling", To: &o.scaling}, peft.Setting{Key: "init_weights", To: &o.zero},
		peft.Setting{Key: "use_idwt", To: &o.inverse}, peft.Setting{Key: "wavelet_family", To: &o.family})
}

func (o *waveft) Check() error {
	if o.inverse && o.family != "db1" {
		return fmt.Errorf("waveft: wavelet_family is %q, want \"db1\"", o.family)
	}
	return nil
}

func (o *waveft) Layer(s *tuner.Site) (*tuner.Layer, error) {
	at, err := o.draw(s)
	if err != nil {
		return nil, err
	}
	start := tuner.Zeros
	if !o.zero {
		start = tuner.Normal(0, 0.01)
	}
	spectrum := s.Param("waveft_spectrum", start, len(at))
	e := o.elements(at, s.Out, s.In)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		w := c.Signed(c.Param(spectrum), 1, len(e.from), e.from, e.sign)
		return c.Scale(float32(o.scaling), sparse(c, x, w, e.rows, e.cols, s.Out))
	}}, nil
}

// elements are the numbers of the change: where they are, of which coefficient, times what.
type elements struct {
	rows, cols, from []int
	sign             []float32
}

func (e *elements) add(row, col, from int, sign float32) {
	e.rows, e.cols, e.from, e.sign = append(e.rows, row), append(e.cols, col), append(e.from, from), append(e.sign, sign)
}

// elements inverts one level of the transform: the spectrum has the means top left, the differences of rows top right, those of
// columns bottom left, and those of both bottom right.
func (o *waveft) elements(at []int, out, in int) (e elements) {
	high, wide := (out+1)/2, (in+1)/2
	for k, i := range at {
		row, col := i/in, i%in
		if !o.inverse {
			e.add(row, col, k, 1)
			continue
		}
		for p := range 2 {
			for q := range 2 {
				sign := float32(0.5)
				if col >= wide && p == 1 {
					sign = -sign
				}
				if row >= high && q == 1 {
					sign = -sign
				}
				if y, x := row%high*2+p, col%wide*2+q; y < out && x < in {
					e.add(y, x, k, sign)
				}
			}
		}
	}
	return e
}
