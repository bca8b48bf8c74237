package adapter

import (
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// HRA reflects the inputs of a projection at r hyperplanes, one after the other [yuan2024]:
//
//	y = base(x·H_r·…·H_1)     H = I − 2·u·uᵀ, ‖u‖ = 1
//
// With apply_GS the directions are made orthogonal first. They start in equal pairs, so that nothing changes yet.
//
// References: [yuan2024] Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation,
// arXiv 2405.17484.
var HRA = (&tuner.Kind{Type: "HRA", Name: "hra", New: func() tuner.Options { return &hra{r: 8, init: true} },
	Defaults: peft.Object{"apply_GS": false, "bias": "none", "exclude_modules": nil, "init_weights": true, "layers_pattern": nil,
		"layers_to_transform": nil, "modules_to_save": nil, "r": 8, "target_modules": nil}}).Method()

type hra struct {
	r        int
	gs, init bool
}

func (o *hra) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxSize}, {Key: "apply_GS", To: &o.gs}, {Key: "init_weights", To: &o.init}}
}

func (o *hra) Check() error { return nil }

func (o *hra) Layer(s *tuner.Site) (*tuner.Layer, error) {
	u := s.Param("hra_u", o.draw, s.In, o.r)
	return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
		for _, v := range o.directions(c, c.Transpose(c.Param(u))) {
			x = c.Add(x, -2, c.MatMul(c.MatMulT(x, v), v))
		}
		return base(x)
	}}, nil
}

// directions are the unit vectors [1, in] in the order in which they act on x: the last column first. Orthogonal ones commute.
func (o *hra) directions(c *tuner.Call, u *tape.Node) (list []*tape.Node) {
	if o.gs {
		for i := range o.r {
			v := c.Part(u, i, i+1, 0, u.Cols)
			for _, w := range list {
				v = c.Add(v, -1, c.MatMul(c.MatMulT(v, w), w))
			}
			list = append(list, unit(c, v))
		}
		return list
	}
	all := unit(c, u)
	for i := o.r - 1; i >= 0; i-- {
		list = append(list, c.Part(all, i, i+1, 0, u.Cols))
	}
	return list
}

// unit makes rows of length 1.
func unit(c *tuner.Call, u *tape.Node) *tape.Node { return c.MulRows(u, c.Pow(c.RowNorms(u), -1)) }

// draw gives neighbouring columns the same numbers.
func (o *hra) draw(x []float32, rng *rand.Rand) {
	tuner.Kaiming(o.r)(x, rng)
	if !o.init || o.r%2 != 0 {
		return
	}
	for i := 1; i < len(x); i += 2 {
		x[i] = x[i-1]
	}
}
