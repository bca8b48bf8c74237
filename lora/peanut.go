package lora

import (
	"fmt"
	"math"
	"strconv"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// PEANuT makes the change by a small network that looks at the weight [peanut2024]:
//
//	ΔWᵀ = s·f(…f(Wᵀ·Aᵀ)…)·Bᵀ     A [r, out], B [out, r]
//
// between which lie depth layers [r, r] in and as many out, the latter with residuals. B starts at zero.
//
// References: [peanut2024] PEANuT: Parameter-Efficient Adaptation with Weight-aware Neural Tweakers, arXiv 2410.01870.
var PEANuT = (&tuner.Kind{Type: "PEANUT", Name: "peanut", New: func() tuner.Options { return &peanut{r: 32, scaling: 1, act: "relu", init: true} },
	Defaults: peft.Object{"act_fn": "relu", "depth": 0, "exclude_modules": nil, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "r": 32, "scaling": 1.0, "target_modules": nil}}).Method()

type peanut struct {
	r, depth int
	scaling  float64
	act      string
	init     bool
}

// curves are the functions with their slopes.
var curves = map[string]struct{ f, slope func(x float64) float64 }{
	"relu": {func(x float64) float64 { return math.Max(x, 0) }, func(x float64) float64 {
		if x > 0 {
			return 1
		}
		return 0
	}},
	"tanh": {math.Tanh, func(x float64) float64 { t := math.Tanh(x); return 1 - t*t }},
	"silu": {func(x float64) float64 { return x * sigmoid(x) }, func(x float64) float64 { s := sigmoid(x); return s * (1 + x*(1-s)) }},
	"gelu": {func(x float64) float64 { return x * normalCDF(x) }, func(x float64) float64 {
		return normalCDF(x) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	}},
	"sigmoid": {sigmoid, func(x float64) float64 { s := sigmoid(x); return s * (1 - s) }},
}

func sigmoid(x float64) float64   { return 1 / (1 + math.Exp(-x)) }
func normalCDF(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

func (o *peanut) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "depth", To: &o.depth, Max: 64}, {Key: "scaling", To: &o.scaling},
		{Key: "act_fn", To: &o.act}, {Key: "init_weights", To: &o.init}}
}

func (o *peanut) Check() error {
	if _, ok := curves[o.act]; !ok {
		return fmt.Errorf("peanut: act_fn is %q, want relu, tanh, silu, gelu or sigmoid", o.act)
	}
	return nil
}

func (o *peanut) Layer(s *tuner.Site) (*tuner.Layer, error) {
	last := tuner.Zeros
	if !o.init {
		last = tuner.Kaiming(o.r)
	}
	a := s.Param("peanut_A.weight", tuner.Kaiming(s.Out), o.r, s.Out)
	b := s.Param("peanut_B.weight", last, s.Out, o.r)
	var in, out []*nn.Param
	for i := range o.depth {
		in = append(in, s.Param("peanut_encoders."+strconv.Itoa(i)+".weight", tuner.Kaiming(o.r), o.r, o.r))
		out = append(out, s.Param("peanut_decoders."+strconv.Itoa(i)+".weight", tuner.Kaiming(o.r), o.r, o.r))
	}
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		h := o.curve(c, c.Transpose(c.MatMul(c.Param(a), c.Weight()))) // [in, r]
		var kept []*tape.Node
		for _, w := range in {
			kept = append(kept, h)
			h = o.curve(c, c.MatMulT(h, c.Param(w)))
		}
		for i, w := range out {
			h = c.Add(o.curve(c, c.MatMulT(h, c.Param(w))), 1, kept[len(kept)-1-i])
		}
		return c.Scale(float32(o.scaling), c.MatMulT(c.MatMul(x, h), c.Param(b)))
	}}, nil
}

func (o *peanut) curve(c *tuner.Call, x *tape.Node) *tape.Node {
	f := curves[o.act]
	return c.Map(x, f.f, f.slope)
}
