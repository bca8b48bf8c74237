package lora

import (
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// RandLoRA sums n products of random, frozen factors that all targets share, so that the change is of full rank [albert2025]:
//
//	ΔW = s·B'·U     U[k·n+b, :] = l[k,b]·A[k, :]∘g[b, :], s = randlora_alpha/r, n = ⌈min/r⌉
//
//	A [r, 1, widest short side]   B [widest long side, widest n, r]   B' [long, n·r] of B's first rows and n
//	l [r, n]   g [n, short]
//
// or its transpose, so that the short side is A's. l starts at zero, g at 1/long.
//
// References: [albert2025] RandLoRA: Full-rank parameter-efficient fine-tuning of large models, arXiv 2502.00987.
var RandLoRA = (&tuner.Kind{Type: "RANDLORA", Name: "randlora", New: func() tuner.Options { return &randlora{vera: vera{r: 32, save: true, init: true}, alpha: 640} },
	Defaults: peft.Object{"bias": "none", "fan_in_fan_out": false, "init_weights": true, "layers_pattern": nil, "layers_to_transform": nil,
		"modules_to_save": nil, "projection_prng_key": 0, "r": 32, "randlora_alpha": 640, "randlora_dropout": 0.0, "save_projection": true,
		"sparse": false, "target_modules": nil, "very_sparse": false}}).Method()

type randlora struct {
	vera  // r, projection_prng_key, save_projection, init_weights, dropout
	alpha float64
}

func (o *randlora) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "randlora_alpha", To: &o.alpha}, {Key: "randlora_dropout", To: &o.dropout, Max: 0.999},
		{Key: "projection_prng_key", To: &o.key}, {Key: "save_projection", To: &o.save}, {Key: "init_weights", To: &o.init}}
}

// randBank holds the shared factors.
type randBank struct {
	*randlora
	a, b *peft.Buffer
}

// Bank makes the factors.
func (o *randlora) Bank(b *tuner.Bank) (tuner.Maker, error) {
	short, long := 0, 0
	for _, s := range b.Slots {
		in, out := s.Dims()
		short, long = max(short, min(in, out)), max(long, max(in, out))
	}
	n := (short + o.r - 1) / o.r
	unit := tuner.Uniform(math.Sqrt(3)) // PEFT divides by the deviation
	return &randBank{o, b.Buffer("base_model.randlora_A", unit, o.r, 1, short), b.Buffer("base_model.randlora_B", unit, long, n, o.r)}, nil
}

func (o *randBank) Layer(s *tuner.Site) (*tuner.Layer, error) {
	short, long := min(s.In, s.Out), max(s.In, s.Out)
	n := (short + o.r - 1) / o.r
	at := peft.Prefix + s.Slot.Name // PEFT stores the shared factors once more for every target
	o.a.Aliases, o.b.Aliases = append(o.a.Aliases, at+".randlora_A"), append(o.b.Aliases, at+".randlora_B")
	start := tuner.Zeros
	if !o.init {
		start = tuner.Normal(0, 1)
	}
	l := s.Param("randlora_lambda", start, o.r, n)
	g := s.Param("randlora_gamma", tuner.Fill(1/float32(long)), n, short)
	repeat := make([]int, o.r*n*short) // g for every k
	for i := range repeat {
		repeat[i] = i % (n * short)
	}
	scale := float32(o.alpha / float64(o.r))
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		x = c.Dropout(x, o.dropout)
		u := c.Mul(o.first(c, n, short), c.Gather(c.Param(g), o.r*n, short, repeat))
		u = c.MulRows(u, c.Param(l))
		b := o.second(c, n, long)
		if short == s.In {
			return c.Scale(scale, c.MatMulT(c.MatMulT(x, u), b))
		}
		return c.Scale(scale, c.MatMul(c.MatMul(x, b), u))
	}}, nil
}

// first repeats the rows of A n times each.
func (o *randBank) first(c *tuner.Call, n, short int) *tape.Node {
	return c.Lazy(o.r*n, short, func(m kernel.Mat) {
		width := o.a.Shape[2]
		for i := range m.Rows {
			copy(m.Row(i), o.a.Data[i/n*width:])
		}
	})
}

// second is B cut to n products and the long side.
func (o *randBank) second(c *tuner.Call, n, long int) *tape.Node {
	return c.Const(kernel.NewMat(o.b.Data, o.b.Shape[0], o.b.Shape[1]*o.r).RowRange(0, long).ColRange(0, n*o.r))
}
