package lora

import (
	"errors"
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// MiSS adds the inputs up in blocks of r and multiplies the sums by one matrix [kang2024]:
//
//	y = base(x) + (Σ_j x[j·r : (j+1)·r])·D     D [r, out]
//
// init_weights "mini" repeats a D of mini_r columns. "bat" lets the block D_i [r, r] of r outputs act on the weight's own
// blocks: ΔW_ij = W_ij·D_i + D_i. D starts at zero.
//
// References: [kang2024] MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure, arXiv 2409.15371.
var MiSS = (&tuner.Kind{Type: "MISS", Name: "miss", New: func() tuner.Options { return &miss{r: 64, mini: 1, init: "true"} },
	Defaults: peft.Object{"bias": "none", "exclude_modules": nil, "init_weights": true, "layers_pattern": nil, "layers_to_transform": nil,
		"mini_r": 1, "miss_dropout": 0.0, "modules_to_save": nil, "r": 64, "target_modules": nil}}).Method()

type miss struct {
	r, mini int
	dropout float64
	init    peft.Word
}

func (o *miss) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "mini_r", To: &o.mini, Min: 1, Max: maxRank},
		{Key: "miss_dropout", To: &o.dropout, Max: 0.999}, {Key: "init_weights", To: &o.init, Want: "true, false, \"bat\" or \"mini\""}}
}

func (o *miss) Check() error {
	switch o.init {
	case "true", "false", "bat", "mini":
		return nil
	}
	return fmt.Errorf("miss: init_weights is %q, want true, false, \"bat\" or \"mini\"", o.init)
}

func (o *miss) Layer(s *tuner.Site) (*tuner.Layer, error) {
	switch o.init {
	case "bat":
		return o.bat(s)
	case "mini":
		if s.Out%o.mini != 0 {
			return nil, fmt.Errorf("mini_r %d does not divide its %d outputs", o.mini, s.Out)
		}
		return o.sums(s, tuner.Zeros, o.mini), nil
	case "false":
		return o.sums(s, tuner.Kaiming(s.Out), s.Out), nil
	}
	return o.sums(s, tuner.Zeros, s.Out), nil
}

// sums is the plain form with a D of so many columns.
func (o *miss) sums(s *tuner.Site, draw tuner.Draw, cols int) *tuner.Layer {
	d := s.Param("miss_block", draw, o.r, cols)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		fold := c.Lazy(s.In, o.r, func(m kernel.Mat) {
			for i := range s.In {
				m.Row(i)[i%o.r] = 1
			}
		})
		w := c.Param(d)
		if cols < s.Out {
			w = c.Repeat(w, s.Out/cols)
		}
		return c.MatMul(c.MatMul(c.Dropout(x, o.dropout), fold), w)
	}}
}

// bat is the form that acts on the weight.
func (o *miss) bat(s *tuner.Site) (*tuner.Layer, error) {
	r := o.r
	if s.In%r != 0 || s.Out%r != 0 {
		return nil, errors.New("r does not divide its inputs and outputs, which \"bat\" needs")
	}
	d := s.Param("miss_block", tuner.Zeros, s.Out/r, r, r)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		w, all := c.Weight(), c.Param(d)
		blocks := make([]*tape.Node, s.Out/r)
		for i := range blocks {
			b := c.Part(all, i*r, (i+1)*r, 0, r)
			blocks[i] = c.Add(c.BlockMul(c.Part(w, i*r, (i+1)*r, 0, s.In), b), 1, c.Repeat(b, s.In/r))
		}
		return c.MatMulT(x, c.Stack(blocks...))
	}}, nil
}
