package lora

import (
	"errors"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// VeRA shares one pair of random, frozen factors among all targets and trains two vectors for each [kopiczko2023]:
//
//	y = base(x) + (((x·Aᵀ)∘d)·Bᵀ)∘b     A [r, widest in], B [widest out, r], d [r], b [out]
//
// A target takes the first columns of A and the first rows of B. b starts at zero.
//
// References: [kopiczko2023] VeRA: Vector-based Random Matrix Adaptation, arXiv 2310.11454.
var VeRA = (&tuner.Kind{Type: "VERA", Name: "vera", New: func() tuner.Options { return &vera{r: 256, d: 0.1, save: true, init: true} },
	Defaults: peft.Object{"bias": "none", "d_initial": 0.1, "fan_in_fan_out": false, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "projection_prng_key": 0, "r": 256, "save_projection": true,
		"target_modules": nil, "vera_dropout": 0.0}}).Method()

type vera struct {
	r, key     int
	d, dropout float64
	save, init bool
}

func (o *vera) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "d_initial", To: &o.d}, {Key: "vera_dropout", To: &o.dropout, Max: 0.999},
		{Key: "projection_prng_key", To: &o.key}, {Key: "save_projection", To: &o.save}, {Key: "init_weights", To: &o.init}}
}

func (o *vera) Check() error {
	if !o.save {
		return errors.New("vera: save_projection is false, want true: the factors were drawn by torch's generator and only the file can tell them")
	}
	return nil
}

// veraBank holds the shared factors.
type veraBank struct {
	*vera
	a, b *peft.Buffer
}

// Bank makes the factors.
func (o *vera) Bank(b *tuner.Bank) (tuner.Maker, error) {
	in, out := b.Widest()
	// torch's kaiming_uniform: U(±√3/√n) for n inputs
	return &veraBank{o, b.Buffer("base_model.vera_A", tuner.Uniform(math.Sqrt(3/float64(in))), o.r, in),
		b.Buffer("base_model.vera_B", tuner.Uniform(math.Sqrt(3/float64(o.r))), out, o.r)}, nil
}

func (o *veraBank) Layer(s *tuner.Site) (*tuner.Layer, error) {
	start := tuner.Zeros
	if !o.init {
		start = tuner.Normal(0, 0.02)
	}
	d := s.Param("vera_lambda_d", tuner.Fill(float32(o.d)), o.r)
	b := s.Param("vera_lambda_b", start, s.Out)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		wa := c.Const(matrix(o.a).ColRange(0, s.In))
		wb := c.Const(matrix(o.b).RowRange(0, s.Out))
		h := c.MulCols(c.MatMulT(c.Dropout(x, o.dropout), wa), c.Param(d))
		return c.MulCols(c.MatMulT(h, wb), c.Param(b))
	}}, nil
}

// matrix views a buffer of two dimensions.
func matrix(b *peft.Buffer) kernel.Mat { return kernel.NewMat(b.Data, b.Shape[0], b.Shape[1]) }
