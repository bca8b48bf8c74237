package lora

import (
	"errors"
	"math"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// PVeRA is VeRA whose inner values are drawn from a learned normal distribution in training; what is used afterwards is its
// mean [pvera2025]. graft uses such adapters but does not train them.
//
// References: [pvera2025] PVeRA: Probabilistic Vector-Based Random Matrix Adaptation, arXiv 2512.07703.
var PVeRA = (&tuner.Kind{Type: "PVERA", Name: "pvera", New: func() tuner.Options { return &pvera{vera: vera{r: 256, d: 0.1, save: true, init: true}} },
	Defaults: peft.Object{"bias": "none", "d_initial": 0.1, "fan_in_fan_out": false, "generator_seed": nil, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "projection_prng_key": 0, "pvera_dropout": 0.0, "r": 256, "sample_at_inference": false,
		"save_projection": true, "target_modules": nil}}).Method()

type pvera struct{ vera }

func (o *pvera) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "d_initial", To: &o.d}, {Key: "pvera_dropout", To: &o.dropout, Max: 0.999},
		{Key: "projection_prng_key", To: &o.key}, {Key: "save_projection", To: &o.save}, {Key: "init_weights", To: &o.init}}
}

// CheckTraining refuses.
func (o *pvera) CheckTraining() error {
	return errors.New("pvera: training draws from a distribution, which is not built; vera is the method without")
}

// pveraBank holds the shared factors.
type pveraBank struct {
	*pvera
	a, b *peft.Buffer
}

// Bank makes the factors.
func (o *pvera) Bank(b *tuner.Bank) (tuner.Maker, error) {
	in, out := b.Widest()
	return &pveraBank{o, b.Buffer("base_model.pvera_A", tuner.Uniform(math.Sqrt(3/float64(in))), 2*o.r, in),
		b.Buffer("base_model.pvera_B", tuner.Uniform(math.Sqrt(3/float64(o.r))), out, o.r)}, nil
}

func (o *pveraBank) Layer(s *tuner.Site) (*tuner.Layer, error) {
	d := s.Param("pvera_lambda_d", tuner.Fill(float32(o.d)), 2*o.r) // of the means, then of the deviations
	b := s.Param("pvera_lambda_b", tuner.Zeros, s.Out)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		wa := c.Const(matrix(o.a).RowRange(0, o.r).ColRange(0, s.In))
		wb := c.Const(matrix(o.b).RowRange(0, s.Out))
		h := c.MulCols(c.MatMulT(x, wa), c.Part(c.Param(d), 0, 1, 0, o.r))
		return c.MulCols(c.MatMulT(h, wb), c.Param(b))
	}}, nil
}
