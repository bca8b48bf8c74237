package lora

import (
	"fmt"
	"slices"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// GLoRA changes weight and bias in several ways at once [chavan2023]:
//
//	W' = W + W∘A + B     b' = b + b∘D + E + W·C
//
// A and B are low-rank products, columns, numbers or nothing, by config_A_B; C by config_C and D, E by config_D_E, if the layer
// has a bias. All start at zero. References: [chavan2023] One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning,
// arXiv 2306.07967.
var GLoRA = (&tuner.Kind{Type: "GLORA", Name: "glora", New: func() tuner.Options { return &glora{r: 8, ab: "lora", c: "lora", de: "constant", init: true} },
	Defaults: peft.Object{"bias": "none", "config_A_B": "lora", "config_C": "lora", "config_D_E": "constant", "init_weights": true,
		"modules_to_save": nil, "r": 8, "target_modules": nil}}).Method()

type glora struct {
	r         int
	ab, c, de string
	init      bool
}

func (o *glora) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "config_A_B", To: &o.ab}, {Key: "config_C", To: &o.c},
		{Key: "config_D_E", To: &o.de}, {Key: "init_weights", To: &o.init}}
}

func (o *glora) Check() error {
	for _, x := range []struct {
		key, value string
		may        []string
	}{{"config_A_B", o.ab, []string{"lora", "vector", "constant", "none"}}, {"config_C", o.c, []string{"lora", "vector", "none"}}, {"config_D_E", o.de, []string{"constant", "vector", "none"}}} {
		if !slices.Contains(x.may, x.value) {
			return fmt.Errorf("glora: %s is %q, want one of %q", x.key, x.value, x.may)
		}
	}
	return nil
}

// way is one of the letters as a matrix.
type way func(c *tuner.Call) *tape.Node

// low is a product Xd·Xu.
func (o *glora) low(s *tuner.Site, name string, rows, cols int) way {
	start := tuner.Zeros
	if !o.init {
		start = tuner.Kaiming(o.r)
	}
	d, u := s.Param(name+".Xd", start, rows, o.r), s.Param(name+".Xu", tuner.Kaiming(cols), o.r, cols)
	return func(c *tuner.Call) *tape.Node { return c.MatMul(c.Param(d), c.Param(u)) }
}

// repeated is a trained tensor of which the elements are repeated to fill [rows, cols], row by row.
func (o *glora) repeated(s *tuner.Site, name string, rows, cols int, shape ...int) way {
	start := tuner.Zeros
	if !o.init {
		start = tuner.Normal(0, 0.02)
	}
	p := s.Param(name+".X", start, shape...)
	return func(c *tuner.Call) *tape.Node {
		x := c.Param(p)
		from := make([]int, rows*cols)
		for k := range from {
			from[k] = k * x.Rows * x.Cols / len(from)
		}
		return c.Gather(x, rows, cols, from)
	}
}

// none is nothing, of which the file has the zeros.
func none(s *tuner.Site, name string, shape ...int) way {
	s.Buffer(name+".zeros", tuner.Zeros, shape...)
	return nil
}

// matrix makes A or B.
func (o *glora) matrix(s *tuner.Site, name string) way {
	switch o.ab {
	case "lora":
		return o.low(s, name, s.Out, s.In)
	case "vector":
		return o.repeated(s, name, s.Out, s.In, s.Out, 1)
	case "constant":
		return o.repeated(s, name, s.Out, s.In, 1)
	}
	return none(s, name, s.Out, s.In)
}

// column makes C, row D or E.
func (o *glora) column(s *tuner.Site, has bool) way {
	switch {
	case has && o.c == "lora":
		return o.low(s, "glora_C", s.In, 1)
	case has && o.c == "vector":
		return o.repeated(s, "glora_C", s.In, 1, s.In, 1)
	}
	return none(s, "glora_C", s.In, 1)
}

func (o *glora) row(s *tuner.Site, name string, has bool) way {
	switch {
	case has && o.de == "vector":
		return o.repeated(s, name, 1, s.Out, s.Out)
	case has && o.de == "constant":
		return o.repeated(s, name, 1, s.Out, 1)
	}
	return none(s, name, s.Out)
}

func (o *glora) Layer(s *tuner.Site) (*tuner.Layer, error) {
	has := s.Slot.Base.Bias != nil
	a, b := o.matrix(s, "glora_A"), o.matrix(s, "glora_B")
	cc, d, e := o.column(s, has), o.row(s, "glora_D", has), o.row(s, "glora_E", has)
	return &tuner.Layer{Apply: func(c *tuner.Call, x *tape.Node, base func(*tape.Node) *tape.Node) *tape.Node {
		y, w := base(x), c.Weight()
		if a != nil {
			y = c.Add(y, 1, c.MatMulT(x, c.Add(c.Mul(w, a(c)), 1, b(c))))
		}
		if bias := c.Bias(); bias != nil {
			for _, part := range []struct {
				way way
				of  func(*tape.Node) *tape.Node
			}{{d, func(n *tape.Node) *tape.Node { return c.Mul(bias, n) }}, {e, func(n *tape.Node) *tape.Node { return n }},
				{cc, func(n *tape.Node) *tape.Node { return c.Transpose(c.MatMul(w, n)) }}} {
				if part.way != nil {
					y = c.Shift(y, 1, part.of(part.way(c)))
				}
			}
		}
		return y
	}}, nil
}
