package lora

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// C3A makes the change of circulant blocks [chen2024]:
//
//	ΔW[m·b+k, n·b+j] = w[m, n, (j−k) mod b]/in     w [out/b, in/b, b]
//
// References: [chen2024] Parameter-Efficient Fine-Tuning via Circular Convolution, arXiv 2407.19342.
var C3A = (&tuner.Kind{Type: "C3A", Name: "c3a", Targets: spectralTargets, New: func() tuner.Options { return &c3a{block: 256, init: "xavier_uniform"} },
	Defaults: peft.Object{"bias": "none", "block_size": 256, "block_size_pattern": map[string]any{}, "init_weights": "xavier_uniform",
		"layers_pattern": nil, "layers_to_transform": nil, "modules_to_save": nil, "target_modules": nil}}).Method()

type c3a struct {
	block  int
	blocks peft.Pattern
	init   peft.Word
}

func (o *c3a) Settings() []peft.Setting {
	return []peft.Setting{{Key: "block_size", To: &o.block, Min: 1, Max: maxRank}, {Key: "block_size_pattern", To: &o.blocks, Min: 1, Max: maxRank},
		{Key: "init_weights", To: &o.init, Want: "true, false or a name"}}
}

// c3aStarts are the values of init_weights by the numbers of inputs and outputs.
var c3aStarts = map[peft.Word]func(in, out int) tuner.Draw{
	"true":            func(int, int) tuner.Draw { return tuner.Zeros },
	"gaussian":        func(int, int) tuner.Draw { return tuner.Normal(0, 1) },
	"xavier_uniform":  func(in, out int) tuner.Draw { return tuner.Uniform(math.Sqrt(6 / float64(in+out))) },
	"false":           func(in, out int) tuner.Draw { return tuner.Uniform(math.Sqrt(6 / float64(in+out))) },
	"kaiming_uniform": func(in, out int) tuner.Draw { return tuner.Kaiming(in) },
}

func (o *c3a) Check() error {
	if c3aStarts[o.init] == nil {
		return fmt.Errorf("c3a: init_weights is %q, want true, false, \"gaussian\", \"xavier_uniform\" or \"kaiming_uniform\"", o.init)
	}
	return nil
}

func (o *c3a) Layer(s *tuner.Site) (*tuner.Layer, error) {
	b := s.Int("block_size_pattern", o.block)
	if s.In%b != 0 || s.Out%b != 0 {
		return nil, fmt.Errorf("block_size %d does not divide its %d inputs and %d outputs", b, s.In, s.Out)
	}
	w := s.Param("c3a_kernel", c3aStarts[o.init](s.In, s.Out), s.Out/b, s.In/b, b)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		blocks := make([]*tape.Node, s.Out/b)
		for m := range blocks {
			blocks[m] = circulant(c, c.Param(w), m, s.In/b, b)
		}
		return c.Scale(1/float32(s.In), c.MatMulT(x, c.Stack(blocks...)))
	}}, nil
}

// circulant is the m-th row of blocks, [b, in].
func circulant(c *tuner.Call, w *tape.Node, m, n, b int) *tape.Node {
	from := make([]int, b*n*b)
	for i := range from {
		k, j := i/(n*b), i%(n*b)
		from[i] = (m*n+j/b)*b + (j%b-k+b)%b
	}
	return c.Gather(w, b, n*b, from)
}
