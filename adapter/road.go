package adapter

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// ROAD rotates and stretches pairs of outputs, one from each half of a group [road2024]:
//
//	z₁ = c₁·y₁ − s₁·y₂     c = α·cos θ
//	z₂ = c₂·y₂ + s₂·y₁     s = α·sin θ
//
// road_1 has one α and θ for a pair, road_2 one for each output, road_4 two: one for c and one for s. α starts at one, θ at
// zero. References: [road2024] 3-in-1: 2D Rotary Adaptation for Efficient Finetuning, arXiv 2409.00119.
var ROAD = (&tuner.Kind{Type: "ROAD", Name: "road", New: func() tuner.Options { return &road{variant: "road_1", group: 64, init: true} },
	Defaults: peft.Object{"group_size": 64, "init_weights": true, "modules_to_save": nil, "target_modules": nil, "variant": "road_1"}}).Method()

type road struct {
	variant string
	group   int
	init    bool
}

func (o *road) Settings() []peft.Setting {
	return []peft.Setting{{Key: "variant", To: &o.variant}, {Key: "group_size", To: &o.group, Min: 2, Max: maxSize}, {Key: "init_weights", To: &o.init}}
}

// roadVariants tell where output i has its numbers, of groups of g: those of c and those of s; and how many numbers each
// output has, in halves.
var roadVariants = map[string]struct {
	halves int
	at     func(i, g int) (c, s int)
}{
	"road_1": {1, func(i, g int) (int, int) { k := i/g*(g/2) + i%g%(g/2); return k, k }},
	"road_2": {2, func(i, g int) (int, int) { return i, i }},
	"road_4": {4, func(i, g int) (int, int) { k := i/g*2*g + i%g; return k, k + g }},
}

func (o *road) Check() error {
	if _, ok := roadVariants[o.variant]; !ok {
		return fmt.Errorf("road: variant is %q, want road_1, road_2 or road_4", o.variant)
	}
	if o.group%2 != 0 {
		return fmt.Errorf("road: group_size is %d, want an even number", o.group)
	}
	return nil
}

func (o *road) Layer(s *tuner.Site) (*tuner.Layer, error) {
	if s.Out%o.group != 0 {
		return nil, fmt.Errorf("group_size %d does not divide its %d outputs", o.group, s.Out)
	}
	v := roadVariants[o.variant]
	n := s.Out / 2 * v.halves
	angle, length := tuner.Zeros, tuner.Fill(1)
	if !o.init {
		angle, length = tuner.Normal(0, 0.5), tuner.Normal(1, 0.5)
	}
	theta, alpha := s.Param("road_theta", angle, n), s.Param("road_alpha", length, n)
	first, second := make([]int, s.Out), make([]int, s.Out) // where c and s are
	partner, sign := make([]int, s.Out), make([]float32, s.Out)
	for i := range s.Out {
		first[i], second[i] = v.at(i, o.group)
		if partner[i], sign[i] = i+o.group/2, -1; i%o.group >= o.group/2 {
			partner[i], sign[i] = i-o.group/2, 1
		}
	}
	return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
		y := base(x)
		t, a := c.Param(theta), c.Param(alpha)
		cos := c.Gather(c.Mul(a, c.Map(t, math.Cos, func(v float64) float64 { return -math.Sin(v) })), 1, s.Out, first)
		sin := c.Mul(c.Gather(a, 1, s.Out, second), c.Gather(c.Map(t, math.Sin, math.Cos), 1, s.Out, second))
		return c.Add(c.MulCols(y, cos), 1, c.MulCols(c.Columns(y, partner, sign), sin))
	}}, nil
}
