package lora

import (
	"math"
	"strconv"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// TinyLoRA trains u numbers for each target, or for groups of them, between frozen factors [tinylora2026]:
//
//	ΔW = B·(Σ_i v_i·P_i)·A     A [r, in] and B [out, r] by the largest singular values of W, P [u, r, r] random
//
// v starts at zero. References: [tinylora2026] Learning to Reason in 13 Parameters, arXiv 2602.04118.
var TinyLoRA = (&tuner.Kind{Type: "TINYLORA", Name: "tinylora", New: func() tuner.Options { return &tinylora{r: 2, u: 64, seed: 42, bound: 0.02, save: true, init: "true"} },
	Defaults: peft.Object{"bias": "none", "fan_in_fan_out": false, "init_v_bound": 0.02, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "projection_seed": 42, "r": 2, "save_projection": true, "target_modules": nil,
		"tinylora_dropout": 0.0, "u": 64, "weight_tying": 0.0}}).Method()

type tinylora struct {
	r, u, seed            int
	tying, bound, dropout float64
	save                  bool
	init                  peft.Word
}

func (o *tinylora) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: 4096}, {Key: "u", To: &o.u, Min: 1, Max: maxRank}, {Key: "weight_tying", To: &o.tying, Max: 1},
		{Key: "projection_seed", To: &o.seed}, {Key: "save_projection", To: &o.save}, {Key: "init_v_bound", To: &o.bound},
		{Key: "tinylora_dropout", To: &o.dropout, Max: 0.999}, {Key: "init_weights", To: &o.init, Want: "true, false or \"uniform\""}}
}

// Check asks for the projections in the file, as VeRA's does.
func (o *tinylora) Check() error { return (&vera{save: o.save}).Check() }

// tinyBank holds the vectors of the groups.
type tinyBank struct {
	*tinylora
	bank   *tuner.Bank
	groups map[int]*nn.Param
	next   int // number of the next target
}

// Bank makes the maker, which counts the targets.
func (o *tinylora) Bank(b *tuner.Bank) (tuner.Maker, error) {
	return &tinyBank{tinylora: o, bank: b, groups: map[int]*nn.Param{}}, nil
}

// vector is the trained vector of the next target.
func (o *tinyBank) vector() *nn.Param {
	n := len(o.bank.Slots)
	groups := max(1, int(math.RoundToEven(float64(n)*(1-o.tying))))
	group := min(o.next/max(1, n/groups), groups-1)
	o.next++
	if v, ok := o.groups[group]; ok {
		return v
	}
	start := tuner.Zeros
	if o.init != "true" {
		start = tuner.Uniform(o.bound)
	}
	o.groups[group] = o.bank.Param("base_model.tinylora_v."+strconv.Itoa(group), start, o.u)
	return o.groups[group]
}

func (o *tinyBank) Layer(s *tuner.Site) (*tuner.Layer, error) {
	r := min(o.r, s.In, s.Out)
	f, err := linalg.Largest(weightOf(s.Slot.Base), r, s.Rand())
	if err != nil {
		return nil, err
	}
	a, b := s.Buffer("tinylora_A", tuner.Zeros, r, s.In), s.Buffer("tinylora_B", tuner.Zeros, s.Out, r)
	for k := range r {
		root := math.Sqrt(f.S[k])
		for j := range s.In {
			a.Data[k*s.In+j] = float32(root * f.V.At(j, k))
		}
		for i := range s.Out {
			b.Data[i*r+k] = float32(root * f.U.At(i, k))
		}
	}
	p := s.Buffer("tinylora_P", tuner.Normal(0, 1/math.Sqrt(float64(r))), o.u, r, r)
	v := o.vector()
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		mix := c.Reshape(c.MatMul(c.Param(v), c.Const(kernel.NewMat(p.Data, o.u, r*r))), r, r)
		h := c.MatMulT(c.MatMulT(c.Dropout(x, o.dropout), c.Const(matrix(a))), mix)
		return c.MatMulT(h, c.Const(matrix(b)))
	}}, nil
}
