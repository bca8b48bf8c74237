package lora

import (
	"fmt"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
	"github.com/nlpodyssey/spago/nn"
)

// GraLoRA gives each of k×k blocks of the weight a branch of its own, of rank r/k [jung2025]:
//
//	ΔW_ij = s·(A_j[:, i-th part]·B_i[j-th part, :])ᵀ     s = alpha/(r + hybrid_r)
//
// and, with hybrid_r, the whole weight a plain one beside. B starts at zero.
//
// References: [jung2025] GraLoRA: Granular Low-Rank Adaptation, arXiv 2505.20355.
var GraLoRA = (&tuner.Kind{Type: "GRALORA", Name: "gralora", New: func() tuner.Options { return &gralora{r: 32, alpha: 64, k: 2, init: true} },
	Defaults: peft.Object{"alpha": 64, "bias": "none", "fan_in_fan_out": false, "gralora_dropout": 0.0, "gralora_k": 2, "hybrid_r": 0,
		"init_weights": true, "layers_pattern": nil, "layers_to_transform": nil, "modules_to_save": nil, "r": 32, "target_modules": nil}}).Method()

type gralora struct {
	r, k, hybrid   int
	alpha, dropout float64
	init           bool
}

func (o *gralora) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "alpha", To: &o.alpha}, {Key: "gralora_k", To: &o.k, Min: 1, Max: 1024},
		{Key: "hybrid_r", To: &o.hybrid, Max: maxRank}, {Key: "gralora_dropout", To: &o.dropout, Max: 0.999}, {Key: "init_weights", To: &o.init}}
}

func (o *gralora) Check() error {
	if o.k > 0 && o.r%o.k != 0 {
		return fmt.Errorf("gralora: r is %d, want a multiple of gralora_k %d", o.r, o.k)
	}
	return nil
}

func (o *gralora) Layer(s *tuner.Site) (*tuner.Layer, error) {
	if s.In%o.k != 0 || s.Out%o.k != 0 {
		return nil, fmt.Errorf("gralora_k %d does not divide its %d inputs and %d outputs", o.k, s.In, s.Out)
	}
	last := tuner.Zeros
	if !o.init {
		last = tuner.Kaiming(o.r)
	}
	in, out := s.In/o.k, s.Out/o.k
	a, b := s.Param("gralora_A", tuner.Kaiming(in), o.k, in, o.r), s.Param("gralora_B", last, o.k, o.r, out)
	var a2, b2 *nn.Param
	if o.hybrid > 0 {
		a2, b2 = s.Param("gralora_A_general.weight", tuner.Kaiming(s.In), o.hybrid, s.In), s.Param("gralora_B_general.weight", last, s.Out, o.hybrid)
	}
	scale := float32(o.alpha / float64(o.r+o.hybrid))
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		x = c.Dropout(x, o.dropout)
		y := o.blocks(c, x, c.Param(a), c.Param(b), in)
		if o.hybrid > 0 {
			y = c.Add(y, 1, c.MatMulT(c.MatMulT(x, c.Param(a2)), c.Param(b2)))
		}
		return c.Scale(scale, y)
	}}, nil
}

// blocks sends part i of every input block's inner values to output block i.
func (o *gralora) blocks(c *tuner.Call, x, a, b *tape.Node, in int) *tape.Node {
	inner := make([]*tape.Node, o.k)
	for j := range inner {
		inner[j] = c.MatMul(c.Part(x, 0, x.Rows, j*in, (j+1)*in), c.Part(a, j*in, (j+1)*in, 0, o.r))
	}
	share := o.r / o.k
	y := make([]*tape.Node, o.k)
	for i := range y {
		parts := make([]*tape.Node, o.k)
		for j, h := range inner {
			parts[j] = c.Part(h, 0, x.Rows, i*share, (i+1)*share)
		}
		y[i] = c.MatMul(c.Beside(parts...), c.Part(b, i*o.r, (i+1)*o.r, 0, b.Cols))
	}
	return c.Beside(y...)
}
