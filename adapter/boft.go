package adapter

import (
	"errors"
	"fmt"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// BOFT rotates the inputs of a projection by blocks, and scales its outputs [liu2023]:
//
//	y = s∘(W·(x·diag(R₁, …, R_d))) + b     R by Cayley of (P − Pᵀ)/2, P [n, n]
//
// It is BOFT with a butterfly of one factor, which is what PEFT makes of any number of them where its CUDA extension is
// missing. References: [liu2023] Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization, arXiv 2311.06243.
var BOFT = (&tuner.Kind{Type: "BOFT", Name: "boft", New: func() tuner.Options { return &boft{size: 4, factors: 1, init: true} },
	Defaults: peft.Object{"bias": "none", "boft_block_num": 0, "boft_block_size": 4, "boft_dropout": 0.0, "boft_n_butterfly_factor": 1,
		"exclude_modules": nil, "fan_in_fan_out": false, "init_weights": true, "layers_pattern": nil, "layers_to_transform": nil,
		"modules_to_save": nil, "target_modules": nil}}).Method()

type boft struct {
	size, num, factors int
	dropout            float64
	init               bool
}

func (o *boft) Settings() []peft.Setting {
	return []peft.Setting{{Key: "boft_block_size", To: &o.size, Max: maxSize}, {Key: "boft_block_num", To: &o.num, Max: maxSize},
		{Key: "boft_n_butterfly_factor", To: &o.factors, Min: 1, Max: 64}, {Key: "boft_dropout", To: &o.dropout, Max: 0.999}, {Key: "init_weights", To: &o.init}}
}

func (o *boft) Check() error {
	if (o.size == 0) == (o.num == 0) {
		return fmt.Errorf("boft: boft_block_size is %d and boft_block_num is %d, want exactly one of them above 0", o.size, o.num)
	}
	return nil
}

// CheckTraining reports what is not built.
func (o *boft) CheckTraining() error {
	if o.dropout != 0 || o.factors != 1 {
		return errors.New("boft: want boft_dropout 0 and boft_n_butterfly_factor 1: others are not built for training")
	}
	return nil
}

func (o *boft) Layer(s *tuner.Site) (*tuner.Layer, error) {
	n := o.size
	if n == 0 && s.In%o.num == 0 {
		n = s.In / o.num
	}
	if n == 0 || s.In%n != 0 {
		return nil, fmt.Errorf("boft_block_size %d and boft_block_num %d do not divide its %d inputs", o.size, o.num, s.In)
	}
	start := tuner.Zeros
	if !o.init {
		start = tuner.Normal(0, 0.1)
	}
	d := s.In / n
	p := s.Param("boft_R", start, 1, d, n, n)
	gain := s.Param("boft_s", tuner.Fill(1), s.Out, 1)
	return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
		y := base(c.BlockMul(x, cayley(c, halfSkew(c, c.Param(p), d, n), d, n)))
		return c.Shift(c.MulCols(c.Shift(y, -1, c.Bias()), c.Param(gain)), 1, c.Bias())
	}}, nil
}

// halfSkew is (P − Pᵀ)/2 of a stack.
func halfSkew(c *tuner.Call, p *tape.Node, blocks, n int) *tape.Node {
	turned := make([]int, blocks*n*n)
	for k := range turned {
		b, i, j := k/(n*n), k/n%n, k%n
		turned[k] = (b*n+j)*n + i
	}
	return c.Scale(0.5, c.Add(p, -1, c.Gather(p, blocks*n, n, turned)))
}
