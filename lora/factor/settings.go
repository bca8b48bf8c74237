package factor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/peft"
)

// summable reports what adapters hold that products of factors cannot be summed with.
func summable(list []*Adapter) error {
	var errs []error
	for _, a := range list {
		for _, e := range a.Rest {
			if !strings.HasSuffix(e.Name, baseWeight) {
				errs = append(errs, fmt.Errorf("factor: %s: tensor %q is no factor of LoRA: what was trained in full cannot be combined", a.Name, e.Name))
			}
		}
	}
	return errors.Join(errs...)
}

// shared are the copies of the base's weights, each once.
func shared(list []*Adapter) (rest []checkpoint.Entry) {
	for _, a := range list {
		for _, e := range a.Rest {
			if !slices.ContainsFunc(rest, func(o checkpoint.Entry) bool { return o.Name == e.Name }) {
				rest = append(rest, e)
			}
		}
	}
	return rest
}

// settings makes the config of a combination: the first adapter's with the ranks and the modules of the result. It returns what
// the adapters do not agree on.
func (a *Adapter) settings(list []*Adapter) (warnings []string) {
	first := list[0].Config
	c := *first
	for _, b := range list[1:] {
		if x, y := first.BaseModel, b.Config.BaseModel; x != y {
			warnings = append(warnings, fmt.Sprintf("the adapters name different bases: %q and %q", x, y))
		}
		if x, y := first.TaskType, b.Config.TaskType; x != y {
			warnings = append(warnings, fmt.Sprintf("the adapters were trained for different tasks: %q and %q", x, y))
		}
	}
	a.name(&c, list)
	a.ranks(&c)
	c.Beside.ModulesToSave = nil
	a.Config = &c
	return slices.Compact(warnings)
}

// name says which modules the adapter has: by the names that the adapters give, if these are ends of names and nothing else
// restricts them, else one by one.
func (a *Adapter) name(c *lora.Config, list []*Adapter) {
	var ends []string
	for _, x := range list {
		o := x.Config
		if o.TargetModules.List == nil || !o.ExcludeModules.IsNull() || o.LayersToTransform != nil || o.LayersPattern != nil {
			a.nameAll(c)
			return
		}
		ends = append(ends, o.TargetModules.List...)
	}
	slices.Sort(ends)
	c.TargetModules = peft.Names{List: slices.Compact(ends)}
}

// nameAll names every module.
func (a *Adapter) nameAll(c *lora.Config) {
	c.TargetModules, c.ExcludeModules = peft.Names{}, peft.Names{}
	c.LayersToTransform, c.LayersPattern = nil, nil
	for _, m := range a.Modules {
		c.TargetModules.List = append(c.TargetModules.List, m.Name)
	}
}

// ranks states the ranks, with an alpha such that every scaling is 1; those below the largest by patterns.
func (a *Adapter) ranks(c *lora.Config) {
	c.Rank, c.RankPattern, c.AlphaPattern = 1, nil, nil
	for _, m := range a.Modules {
		c.Rank = max(c.Rank, m.A.Rows)
	}
	c.Alpha, c.UseRSLoRA, c.Init = float64(c.Rank), false, "true"
	for _, m := range a.Modules {
		if r := m.A.Rows; r < c.Rank {
			c.RankPattern = append(c.RankPattern, peft.NewEntry(m.Name, float64(r)))
			c.AlphaPattern = append(c.AlphaPattern, peft.NewEntry(m.Name, float64(r)))
		}
	}
}
