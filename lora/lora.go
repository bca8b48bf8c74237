// Package lora implements low-rank adaptation [hu2021].
//
// A target projection W [out, in] stays frozen and gains a trainable product of rank r:
//
//	y = x·Wᵀ + s·dropout(x)·Aᵀ·Bᵀ     s = alpha/r, or alpha/√r with use_rslora [kalajdzievski2023]
//
//	x [T, in]    A [r, in]    B [out, r]    y [T, out]
//
// B starts at zero, so attaching changes nothing until training does.
//
// References: [hu2021] LoRA, arXiv 2106.09685; [kalajdzievski2023] rsLoRA, arXiv 2312.03732.
package lora

import (
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// Method is LoRA.
var Method = peft.Method{Type: "LORA", Name: "lora", New: func() peft.Config { return New() }}

// Adapter is LoRA attached to a model.
type Adapter struct {
	parts []*Projection
}

// Attach implements peft.Config.
func (c *Config) Attach(m layer.Model, rng *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	slots, warnings, err := c.selection().Select(m)
	if err != nil {
		return nil, err
	}
	plan, err := c.plan(slots)
	if err != nil {
		return nil, err
	}
	a := &Adapter{}
	for i, b := range plan {
		a.parts = append(a.parts, c.part(b, uint64(i), rng))
	}
	for _, p := range a.parts {
		p.slot.Projection = p
	}
	for _, w := range warnings {
		if !slices.Contains(c.Warnings, w) {
			c.Warnings = append(c.Warnings, w)
		}
	}
	if !c.FromFile && c.TargetModules.IsAllLinear() {
		c.TargetModules = peft.Names{List: peft.Condense(slots, m)} // as PEFT stores it
	}
	return a, nil
}

// part makes the branch of one slot.
func (c *Config) part(b branch, stream uint64, rng *rand.Rand) *Projection {
	in, out := b.slot.Dims()
	wa, wb := make([]float32, b.rank*in), make([]float32, out*b.rank)
	c.initialise(wa, wb, in, b.rank, rng)
	return &Projection{slot: b.slot, base: b.slot.Projection, stream: stream, rank: b.rank, scale: float32(c.scaling(b)), dropout: c.Dropout,
		A: op.NewParam(wa, b.rank, in), B: op.NewParam(wb, out, b.rank)}
}

// initialise draws A and leaves B at zero, unless the initialiser says otherwise: true is kaiming_uniform(a=√5), which is
// U(±1/√in); "gaussian" is N(0, 1/r); false draws B, too.
func (c *Config) initialise(a, b []float32, in, r int, rng *rand.Rand) {
	uniform := func(x []float32, bound float64) {
		for i := range x {
			x[i] = float32((2*rng.Float64() - 1) * bound)
		}
	}
	switch c.Init {
	case "gaussian":
		for i := range a {
			a[i] = float32(rng.NormFloat64() / float64(r))
		}
	case "false":
		uniform(a, 1/math.Sqrt(float64(in)))
		uniform(b, 1/math.Sqrt(float64(r)))
	default:
		uniform(a, 1/math.Sqrt(float64(in)))
	}
}

// Params implements peft.Adapter.
func (a *Adapter) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, p := range a.parts {
			at := peft.Prefix + p.slot.Name + "."
			if !yield(at+"lora_A.weight", p.A) || !yield(at+"lora_B.weight", p.B) {
				return
			}
		}
	}
}

// Detach implements peft.Adapter.
func (a *Adapter) Detach() {
	for _, p := range a.parts {
		p.slot.Projection = p.base
	}
}

// Idle implements peft.Idler.
func (a *Adapter) Idle() string {
	for _, p := range a.parts {
		if p.scale != 0 && !zero(op.Data(p.A)) && !zero(op.Data(p.B)) {
			return ""
		}
	}
	return "every lora_A or lora_B is zero, or lora_alpha is"
}

func zero(x []float32) bool {
	for _, v := range x {
		if v != 0 {
			return false
		}
	}
	return true
}

// Deltas implements peft.Merger.
func (a *Adapter) Deltas() []merge.Delta {
	list := make([]merge.Delta, len(a.parts))
	for i, p := range a.parts {
		list[i] = &merge.LowRank{Tensor: p.slot.Name + ".weight", A: op.Of(p.A).View(), B: op.Of(p.B).View(), Scale: p.scale,
			Transposed: p.slot.Kind == layer.Conv1D}
	}
	return list
}

// BaseOf implements peft.Based: PEFT writes "lm_head.base_layer.weight" beside the branch of a head.
func (a *Adapter) BaseOf(name string) *layer.Slot {
	name, ok := strings.CutSuffix(name, ".base_layer.weight")
	for _, p := range a.parts {
		if ok && p.slot.Name == name {
			return p.slot
		}
	}
	return nil
}

// Modules lists the names of the slots that the adapter wraps.
func (a *Adapter) Modules() []string {
	names := make([]string, len(a.parts))
	for i, p := range a.parts {
		names[i] = p.slot.Name
	}
	return names
}
