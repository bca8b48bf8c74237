package lora

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// DEFT takes what the weight does in a learned subspace of its outputs and puts something else there [kumar2025]:
//
//	W' = W + P·(s·R − relu(P)ᵀ·W)     P [out, r], R [r, in], s = alpha/r, or 1 without alpha
//
// With para there is no R. R starts as what is taken. References: [kumar2025] DEFT: Decompositional Efficient Fine-Tuning
// for Text-to-Image Models, NeurIPS 2025.
var DEFT = (&tuner.Kind{Type: "DEFT", Name: "deft", New: func() tuner.Options { return &deft{r: 8, how: "relu", scale: 1, init: true} },
	Defaults: peft.Object{"alpha": nil, "bias": "none", "decomposition_method": "relu", "deft_dropout": 0.0, "exclude_modules": nil,
		"fan_in_fan_out": false, "init_scale": 1.0, "init_weights": true, "layers_pattern": nil, "layers_to_transform": nil, "modules_to_save": nil,
		"para": false, "r": 8, "target_modules": nil}}).Method()

type deft struct {
	r              int
	alpha          optional
	scale, dropout float64
	how            string
	para, init     bool
}

// optional is a number that may be null.
type optional float64

// Value is the JSON value.
func (o *optional) Value() any {
	if *o == 0 {
		return nil
	}
	return float64(*o)
}

func (o *deft) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "alpha", To: &o.alpha, Want: "a number"}, {Key: "init_scale", To: &o.scale},
		{Key: "deft_dropout", To: &o.dropout, Max: 0.999}, {Key: "decomposition_method", To: &o.how}, {Key: "para", To: &o.para}, {Key: "init_weights", To: &o.init}}
}

func (o *deft) Check() error {
	if o.how != "relu" {
		return fmt.Errorf("deft: decomposition_method is %q, want \"relu\"", o.how)
	}
	return nil
}

func (o *deft) Layer(s *tuner.Site) (*tuner.Layer, error) {
	scale := float32(1)
	if o.alpha != 0 {
		scale = float32(float64(o.alpha) / float64(o.r))
	}
	p := s.Param("deft_P", tuner.Normal(0, 0.02), s.Out, o.r)
	if o.para {
		return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
			y, q := base(x), c.Param(p)
			return c.Add(y, -1, o.taken(c, y, q))
		}}, nil
	}
	r := s.Param("deft_R", tuner.Kaiming(s.In), o.r, s.In)
	if o.init { // R = relu(P)ᵀ·W/s: nothing changes yet
		q := kernel.NewMat(make([]float32, s.Out*o.r), s.Out, o.r)
		kernel.ReLU(q.Data, op.Data(p))
		kernel.MatMul(op.Of(r).View(), q, weightOf(s.Slot.Base), kernel.MatMulOpts{TransA: true, Alpha: 1 / scale})
	}
	return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
		y, q := base(x), c.Param(p)
		put := c.MatMulT(c.Scale(scale, c.MatMulT(c.Dropout(x, o.dropout), c.Param(r))), q)
		return c.Add(c.Add(y, -1, o.taken(c, y, q)), 1, put)
	}}, nil
}

// taken is what leaves y, without its bias.
func (o *deft) taken(c *tuner.Call, y, p *tape.Node) *tape.Node {
	y = c.Shift(y, -1, c.Bias())
	relu := curves["relu"]
	return c.MatMulT(c.MatMul(y, c.Map(p, relu.f, relu.slope)), p)
}
