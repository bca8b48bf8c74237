package lora

import (
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// DeLoRA learns directions and strength of the change apart [bini2025]:
//
//	y = base(x) + (((x∘n)·Aᵀ)∘g)·Bᵀ     g_k = λ/(r·‖A_k‖·‖B_k‖), n [in] the lengths of the weight's columns
//
// B starts at zero. References: [bini2025] DeLoRA: Decoupled Low-Rank Adaptation, arXiv 2503.18225.
var DeLoRA = (&tuner.Kind{Type: "DELORA", Name: "delora", New: func() tuner.Options { return &delora{r: 8, lambda: 15, init: true} },
	Defaults: peft.Object{"bias": "none", "delora_lambda": 15, "exclude_modules": nil, "init_weights": true, "lambda_pattern": map[string]any{},
		"layers_pattern": nil, "layers_to_transform": nil, "module_dropout": 0.0, "modules_to_save": nil, "r": 8, "rank_pattern": map[string]any{},
		"target_modules": nil}}).Method()

type delora struct {
	r               int
	lambda, dropout float64
	ranks, lambdas  peft.Pattern
	init            bool
}

func (o *delora) Settings() []peft.Setting {
	return []peft.Setting{{Key: "r", To: &o.r, Min: 1, Max: maxRank}, {Key: "delora_lambda", To: &o.lambda}, {Key: "module_dropout", To: &o.dropout, Max: 0.999},
		{Key: "rank_pattern", To: &o.ranks, Min: 1, Max: maxRank}, {Key: "lambda_pattern", To: &o.lambdas}, {Key: "init_weights", To: &o.init}}
}

func (o *delora) Check() error { return nil }

func (o *delora) Layer(s *tuner.Site) (*tuner.Layer, error) {
	r := s.Int("rank_pattern", o.r)
	last := tuner.Zeros
	if !o.init {
		last = tuner.Kaiming(r)
	}
	a, b := s.Param("delora_A", tuner.Kaiming(s.In), r, s.In), s.Param("delora_B", last, s.Out, r)
	lambda := s.Param("delora_lambda", tuner.Fill(float32(s.Number("lambda_pattern", o.lambda))), 1)
	norms := s.Buffer("delora_w_norm", tuner.Zeros, s.In)
	copy(norms.Data, columnLengths(weightOf(s.Slot.Base)))
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		wa, wb := c.Param(a), c.Param(b)
		h := c.MatMulT(c.MulCols(c.Dropout(x, o.dropout), c.Const(kernel.NewMat(norms.Data, 1, s.In))), wa)
		lengths := c.Mul(atLeast(c, c.RowNorms(wa)), atLeast(c, c.RowNorms(c.Transpose(wb))))
		gain := c.Scale(1/float32(r), c.MatMul(c.Pow(lengths, -1), c.Param(lambda))) // [r, 1]
		return c.MatMulT(c.MulCols(h, gain), wb)
	}}, nil
}

// atLeast keeps lengths from zero, as PEFT does.
func atLeast(c *tuner.Call, x *tape.Node) *tape.Node {
	const floor = 1e-4
	return c.Map(x, func(v float64) float64 { return math.Max(v, floor) }, func(v float64) float64 {
		if v >= floor {
			return 1
		}
		return 0
	})
}

// columnLengths are √Σ_i w[i,j]².
func columnLengths(w kernel.Mat) []float32 {
	sums := make([]float64, w.Cols)
	for i := range w.Rows {
		for j, v := range w.Row(i) {
			sums[j] += float64(v) * float64(v)
		}
	}
	out := make([]float32, w.Cols)
	for j, v := range sums {
		out[j] = float32(math.Sqrt(v))
	}
	return out
}
