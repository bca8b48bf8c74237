package train

import (
	"fmt"
	"iter"
	"math"
	"strings"

	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// Param is one trainable parameter under the name it has in the adapter file (or, for full fine-tuning, the checkpoint).
// Not safe for concurrent use.
type Param struct {
	Name       string
	Rows, Cols int // a vector has one row
	// Vector says that the file stores one dimension: a bias or the weight of a norm. Adafactor keeps its whole second
	// moment, LoRA+ gives it the rate of B.
	Vector bool
	Value  []float32 // [Rows, Cols], aliases the parameter
	Grad   []float32 // [Rows, Cols], aliases the lasting gradient buffer
}

// NewParams lists the parameters in the order of the iterator.
func NewParams(seq iter.Seq2[string, *nn.Param]) []Param {
	var params []Param
	for name, p := range seq {
		shape := p.Shape()
		rows, cols := shape[0], shape[1]
		params = append(params, Param{
			Name: name, Rows: rows, Cols: cols, Vector: op.IsVector(p),
			Value: op.Data(p), Grad: op.GradOf(p),
		})
	}
	return params
}

// Group is a set of parameters that share a learning rate and a weight decay.
type Group struct {
	Params       []Param
	LearningRate float64 // before the schedule's factor
	WeightDecay  float64
}

// Rates say how parameters are sorted into groups.
type Rates struct {
	LearningRate float64
	WeightDecay  float64
	// LoraPlusRatio, if not 0, gives matrices B (and vectors) LearningRate·ratio, as LoRA+ [hayou2024] asks.
	LoraPlusRatio float64
	// LoraPlusEmbedding is the rate of LoRA factors of embeddings under LoRA+; 0 means 1e-6, PEFT's default.
	LoraPlusEmbedding float64
}

// NewGroups sorts parameters into groups; within a group they keep their order.
//
// Without LoRA+ there are two groups: parameters that decay, and biases and norms, which do not (as Hugging Face's
// Trainer). With LoRA+ there are PEFT's four, in PEFT's order: A; factors of embeddings; B and vectors; vectors without
// decay (biases). Groups may be empty.
//
// References: [hayou2024] LoRA+: Efficient Low Rank Adaptation of Large Models, arXiv 2402.12354.
func NewGroups(params []Param, r Rates) []Group {
	if r.LoraPlusRatio == 0 {
		groups := []Group{{LearningRate: r.LearningRate, WeightDecay: r.WeightDecay}, {LearningRate: r.LearningRate}}
		for _, p := range params {
			g := &groups[0]
			if isBias(p) || isNorm(p) {
				g = &groups[1]
			}
			g.Params = append(g.Params, p)
		}
		return groups
	}
	embedding := r.LoraPlusEmbedding
	if embedding == 0 {
		embedding = 1e-6
	}
	fast := r.LearningRate * r.LoraPlusRatio
	groups := []Group{
		{LearningRate: r.LearningRate, WeightDecay: r.WeightDecay},
		{LearningRate: embedding, WeightDecay: r.WeightDecay},
		{LearningRate: fast, WeightDecay: r.WeightDecay},
		{LearningRate: fast},
	}
	for _, p := range params {
		g := &groups[0]
		switch {
		case strings.Contains(p.Name, "lora_embedding_"):
			g = &groups[1]
		case (strings.Contains(p.Name, "lora_B") || p.Vector) && isBias(p):
			g = &groups[3]
		case strings.Contains(p.Name, "lora_B") || p.Vector:
			g = &groups[2]
		}
		g.Params = append(g.Params, p)
	}
	return groups
}

func isBias(p Param) bool { return strings.Contains(p.Name, "bias") }

func isNorm(p Param) bool {
	name := strings.ToLower(p.Name)
	return p.Vector && (strings.Contains(name, "norm") || strings.Contains(name, "ln_"))
}

// CheckParams reports what no optimizer could train: no parameter at all, two of one name, a value that is not finite.
func CheckParams(params []Param) error {
	if len(params) == 0 {
		return fmt.Errorf("train: the method has no trainable parameter, want at least 1")
	}
	seen := map[string]bool{}
	for _, p := range params {
		if seen[p.Name] {
			return fmt.Errorf("train: parameter %q appears twice", p.Name)
		}
		seen[p.Name] = true
		if len(p.Value) != p.Rows*p.Cols || len(p.Grad) != len(p.Value) {
			return fmt.Errorf("train: parameter %q: %d values and %d gradients, want [%d, %d] of both", p.Name, len(p.Value), len(p.Grad), p.Rows, p.Cols)
		}
		for i, v := range p.Value {
			if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
				return fmt.Errorf("train: parameter %q: [%d, %d] is %g before the first step, want a finite number", p.Name, i/p.Cols, i%p.Cols, v)
			}
		}
	}
	return nil
}
