package lora

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// FourierFT trains a few of the change's Fourier coefficients, at places that are drawn by a seed [gao2024]:
//
//	ΔW[i, j] = s/(out·in)·Σ_k c_k·cos(2π(u_k·i/out + v_k·j/in))
//
// which is a branch of rank 2n, by cos(a+b) = cos a·cos b − sin a·sin b.
//
// References: [gao2024] Parameter-Efficient Fine-Tuning with Discrete Fourier Transform, arXiv 2405.03003.
var FourierFT = (&tuner.Kind{Type: "FOURIERFT", Name: "fourierft", Targets: spectralTargets,
	New: func() tuner.Options { return &fourierft{places: places{n: 1000, seed: 777}, scaling: 150} },
	Defaults: peft.Object{"bias": "none", "exclude_modules": nil, "fan_in_fan_out": false, "init_weights": false, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "n_frequency": 1000, "n_frequency_pattern": map[string]any{}, "random_loc_seed": 777,
		"scaling": 150.0, "target_modules": nil}}).Method()

// places are the settings of methods with a spectrum of which few places are trained.
type places struct {
	n, seed int
	pattern peft.Pattern
}

func (p *places) settings() []peft.Setting {
	return []peft.Setting{{Key: "n_frequency", To: &p.n, Min: 1, Max: math.MaxInt32}, {Key: "random_loc_seed", To: &p.seed, Max: math.MaxUint32},
		{Key: "n_frequency_pattern", To: &p.pattern, Min: 1, Max: math.MaxInt32}}
}

// draw are the places in the weight, row by row.
func (p *places) draw(s *tuner.Site) ([]int, error) {
	n := s.Int("n_frequency_pattern", p.n)
	if n > s.In*s.Out {
		return nil, fmt.Errorf("n_frequency is %d, want at most the %d numbers of its weight", n, s.In*s.Out)
	}
	return permutation(s.In*s.Out, n, uint32(p.seed)), nil
}

type fourierft struct {
	places
	scaling float64
	zero    bool // init_weights
}

func (o *fourierft) Settings() []peft.Setting {
	return append(o.settings(), peft.Setting{Key: "scaling", To: &o.scaling}, peft.Setting{Key: "init_weights", To: &o.zero})
}

func (o *fourierft) Check() error { return nil }

func (o *fourierft) Layer(s *tuner.Site) (*tuner.Layer, error) {
	at, err := o.draw(s)
	if err != nil {
		return nil, err
	}
	start := tuner.Normal(0, 1)
	if o.zero {
		start = tuner.Zeros
	}
	spectrum := s.Param("fourierft_spectrum", start, len(at))
	u, v := make([]int, len(at)), make([]int, len(at))
	for k, i := range at {
		u[k], v[k] = i/s.In, i%s.In
	}
	scale := float32(o.scaling / float64(s.In*s.Out))
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		part := func(wave func(float64) float64) *tape.Node {
			h := c.MulCols(c.MatMul(x, waves(c, s.In, v, wave)), c.Param(spectrum))
			return c.MatMulT(h, waves(c, s.Out, u, wave))
		}
		return c.Scale(scale, c.Add(part(math.Cos), -1, part(math.Sin)))
	}}, nil
}

// waves has wave(2π·f_k·i/n) at [i, k].
func waves(c *tuner.Call, n int, f []int, wave func(float64) float64) *tape.Node {
	return c.Lazy(n, len(f), func(m kernel.Mat) {
		table := make([]float32, n)
		for i := range table {
			table[i] = float32(wave(2 * math.Pi * float64(i) / float64(n)))
		}
		for i := range n {
			for k, v := range f {
				m.Row(i)[k] = table[v*i%n]
			}
		}
	})
}
