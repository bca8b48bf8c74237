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
// The other options of PEFT have a file each: embedding.go, dora.go, bias.go, residual.go (initialisers that take the branch
// out of the base), tied.go, grouped.go (branches of shares, of old files). What is trained of the base itself is package peft's.
//
// References: [hu2021] LoRA, arXiv 2106.09685; [kalajdzievski2023] rsLoRA, arXiv 2312.03732.
package lora

import (
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// Method is LoRA.
var Method = peft.Method{Type: "LORA", Name: "lora", New: func() peft.Config { return New() }}

// Adapter is LoRA attached to a model.
type Adapter struct {
	parts      []part
	companions *peft.Companions
	saves      bool // the file holds the weights of adapted embeddings and heads
}

// Attach implements peft.Config.
func (c *Config) Attach(m layer.Model, rng *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if enabled, _ := c.Shares(); enabled != nil { // checked by Validate
		return c.attachShares(m, enabled, rng)
	}
	fused, err := c.parameters(m)
	if err != nil {
		return nil, err
	}
	var slots []*layer.Slot
	var warnings []string
	if len(fused) == 0 || len(c.TargetModules.List) > 0 || c.TargetModules.Pattern != "" { // else the parameters are all
		if slots, warnings, err = c.selection().Select(m); err != nil {
			return nil, err
		}
	}
	if err := disjoint(fused, slots); err != nil {
		return nil, err
	}
	plan, err := c.plan(slots)
	if err != nil {
		return nil, err
	}
	if plan, err = c.prepare(m, plan); err != nil {
		return nil, err
	}
	if len(plan) < len(slots) {
		slots = nil
		for _, b := range plan {
			slots = append(slots, b.slot)
		}
	}
	targets := c.tied(slots, m)
	if err := c.tiedDoRA(targets, slots); err != nil {
		return nil, err
	}
	a := &Adapter{saves: c.savesEmbeddings(slots)}
	if a.companions, err = c.Beside.Attach(m, targets, &c.Common); err != nil {
		return nil, err
	}
	for i, b := range plan {
		p, err := c.part(b, uint64(i), rng)
		if err != nil {
			a.companions.Detach()
			return nil, err
		}
		a.parts = append(a.parts, p)
	}
	for _, t := range fused {
		p, err := c.experts(t, rng)
		if err != nil {
			a.companions.Detach()
			return nil, err
		}
		a.parts = append(a.parts, p)
	}
	a.parts = c.tie(a.parts, m)
	for _, p := range a.parts {
		p.attach()
	}
	for _, w := range warnings {
		if !slices.Contains(c.Warnings, w) {
			c.Warnings = append(c.Warnings, w)
		}
	}
	if !c.FromFile {
		c.FanInFanOut = slices.ContainsFunc(slots, func(s *layer.Slot) bool { return s.Kind == layer.Conv1D })
	}
	if !c.FromFile && c.TargetModules.IsAllLinear() {
		c.TargetModules = peft.Names{List: peft.Condense(slots, m)} // as PEFT stores it
	}
	return a, nil
}

// Params implements peft.Adapter.
func (a *Adapter) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, p := range a.parts {
			if _, shared := p.(*tiedHead); shared {
				continue // its parameters are the embedding's
			}
			for name, q := range p.Params() {
				if !yield(peft.Prefix+p.place().Name+"."+name, q) {
					return
				}
			}
		}
		a.companions.Params()(yield)
	}
}

// Detach implements peft.Adapter.
func (a *Adapter) Detach() {
	for _, p := range a.parts {
		p.detach()
	}
	a.companions.Detach()
}

// Idle implements peft.Idler.
func (a *Adapter) Idle() string {
	if !a.companions.Idle() || slices.ContainsFunc(a.parts, func(p part) bool { return !p.idle() }) {
		return ""
	}
	return "every lora_A or lora_B is zero, or lora_alpha is"
}

// Held implements peft.Holder: what DoRA keeps of the weights that it has measured.
func (a *Adapter) Held() (bytes int64) {
	for _, p := range a.parts {
		switch x := p.(type) {
		case *dora:
			bytes += 4 * int64(x.A.Size()+x.B.Size()+x.M.Size())
		case *embedding:
			if x.M != nil {
				bytes += 4 * int64(x.A.Size()+x.B.Size()+x.M.Size())
			}
		}
	}
	return bytes
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
func (a *Adapter) Deltas() (list []merge.Delta) {
	for _, p := range a.parts {
		list = append(list, p.deltas()...)
	}
	return joinBiases(append(list, a.companions.Deltas()...))
}

// Extras implements peft.Extended.
func (a *Adapter) Extras() (list []peft.Extra) {
	for _, p := range a.parts {
		list = append(list, p.extras(a.saves)...)
	}
	return append(list, a.companions.Extras()...)
}

// Modules lists the names of the slots that the adapter wraps.
func (a *Adapter) Modules() []string {
	names := make([]string, len(a.parts))
	for i, p := range a.parts {
		names[i] = p.place().Name
	}
	return names
}
