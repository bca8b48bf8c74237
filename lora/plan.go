package lora

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/linalg"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

// branch is what one slot is going to get.
type branch struct {
	slot  *layer.Slot
	rank  int
	alpha float64
	known *linalg.SVD // what its initialiser found in the data
}

// dims are inputs and outputs of the slot; an embedding's inputs are its rows.
func (b branch) dims() (in, out int) {
	if b.slot.Kind == layer.Embedding {
		return b.slot.Lookup.Size()
	}
	return b.slot.Dims()
}

// patterns are rank_pattern and alpha_pattern, ready for use.
type patterns struct{ rank, alpha *peft.CompiledPattern }

func (c *Config) patterns() (p patterns, err error) {
	var e1, e2 error
	p.rank, e1 = c.RankPattern.Compile("rank_pattern")
	p.alpha, e2 = c.AlphaPattern.Compile("alpha_pattern")
	return p, errors.Join(e1, e2)
}

// plan decides rank and alpha of every slot, before anything is allocated.
func (c *Config) plan(slots []*layer.Slot) ([]branch, error) {
	p, err := c.patterns()
	if err != nil {
		return nil, err
	}
	var list []branch
	var errs []error
	for _, s := range slots {
		if err := c.adaptable(s); err != nil {
			errs = append(errs, err)
			continue
		}
		b, err := c.branch(p, s.Name)
		if err != nil {
			return nil, err
		}
		b.slot = s
		list = append(list, b)
	}
	return list, errors.Join(append(errs, fits(list), c.patternsUsed(p, slots))...)
}

// branch is what a module of a name gets: the settings' rank and alpha, or those of the first pattern that matches.
func (c *Config) branch(p patterns, module string) (branch, error) {
	b := branch{rank: c.Rank, alpha: c.Alpha}
	if v, ok, err := p.rank.Lookup(module); err != nil {
		return b, err
	} else if ok {
		n, _ := v.Int64() // checked by Validate
		b.rank = int(n)
	}
	v, ok, err := p.alpha.Lookup(module)
	if ok {
		b.alpha, _ = v.Float64()
	}
	return b, err
}

// Branches is the function from a module's name to the rank of its branch, and s of y += s·B·A·x, with rank_pattern and alpha_pattern.
// Not safe for concurrent use.
func (c *Config) Branches() (func(module string) (rank int, scale float64, err error), error) {
	p, err := c.patterns()
	if err != nil {
		return nil, err
	}
	return func(module string) (int, float64, error) {
		b, err := c.branch(p, module)
		return b.rank, c.scaling(b), err
	}, nil
}

// smallAdapter is a number of parameters that no one need ask about.
const smallAdapter = 1 << 26

// fits refuses an adapter that is larger than what it adapts: a mistake, or a file made to exhaust memory.
func fits(list []branch) error {
	own, base, most := 0.0, 0.0, 0
	for _, b := range list {
		in, out := b.dims()
		own += float64(b.rank) * float64(in+out)
		base += float64(in) * float64(out)
		most = max(most, b.rank)
	}
	if own <= max(base, smallAdapter) {
		return nil
	}
	return fmt.Errorf("lora: r of up to %d makes %.3g parameters, more than the %.3g of the modules themselves", most, own, base)
}

// patternsUsed reports keys of the patterns that no slot needed, which PEFT passes over in silence.
func (c *Config) patternsUsed(p patterns, slots []*layer.Slot) error {
	if c.FromFile {
		return nil
	}
	var ends []string
	for _, s := range slots {
		if end := s.Name[strings.LastIndexByte(s.Name, '.')+1:]; !slices.Contains(ends, end) {
			ends = append(ends, end)
		}
	}
	var errs []error
	report := func(key string, unused []string) {
		for _, u := range unused {
			errs = append(errs, fmt.Errorf("lora: %s key %q matches none of the target modules that earlier keys leave (%s)", key, u, strings.Join(ends, ", ")))
		}
	}
	report("rank_pattern", p.rank.Unused())
	report("alpha_pattern", p.alpha.Unused())
	return errors.Join(errs...)
}

// scaling is s of y += s·B·A·x: alpha/r, or alpha/√r [kalajdzievski2023].
func (c *Config) scaling(b branch) float64 {
	if c.UseRSLoRA {
		return b.alpha / math.Sqrt(float64(b.rank))
	}
	return b.alpha / float64(b.rank)
}

// Scaling is that of the modules that no pattern names.
func (c *Config) Scaling() float64 { return c.scaling(branch{rank: c.Rank, alpha: c.Alpha}) }

// tied are the slots and, with ensure_weight_tying, the heads that follow adapted embeddings.
func (c *Config) tied(slots []*layer.Slot, m layer.Model) []*layer.Slot {
	if !c.Beside.Tie {
		return slots
	}
	all := slices.Clone(slots)
	for s := range m.Slots() {
		if s.Tied && !slices.Contains(slots, s) && slices.ContainsFunc(slots, func(t *layer.Slot) bool { return t.Kind == layer.Embedding && t.Base == s.Base }) {
			all = append(all, s)
		}
	}
	return all
}

// embeddingNames are the modules whose base weight PEFT stores where they are targets.
var embeddingNames = []string{"embed_tokens", "lm_head"}

// savesEmbeddings says that PEFT would write the weights of adapted embeddings and heads into the file: such a one is a target
// under its very name, or by a pattern, and no single tokens are trained.
func (c *Config) savesEmbeddings(slots []*layer.Slot) bool {
	if !c.Beside.TokenIndices.IsNull() {
		return false
	}
	return slices.ContainsFunc(embeddingNames, func(name string) bool {
		if c.TargetModules.Pattern == "" {
			return slices.Contains(c.TargetModules.List, name)
		}
		return slices.ContainsFunc(slots, func(s *layer.Slot) bool { return s.Name == name || strings.HasSuffix(s.Name, "."+name) })
	})
}

// tiedDoRA refuses what cannot be tied: lengths of an embedding go by dimension, those of a head by token.
func (c *Config) tiedDoRA(targets, slots []*layer.Slot) error {
	if !c.UseDoRA || len(targets) == len(slots) {
		return nil
	}
	return fmt.Errorf("lora: ensure_weight_tying and use_dora are both true, and %q shares the weight of a target, want one of them", targets[len(slots)].Name)
}
