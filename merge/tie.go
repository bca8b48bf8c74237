package merge

import (
	"maps"
	"slices"

	"github.com/graft-ml/graft/checkpoint"
)

// Tie is a weight that a model uses in two places, as embedding and as head, and that the checkpoint stores once.
type Tie struct {
	Stored string // the tensor
	Other  string // the name that it has, or would have, in the other place
	Copy   bool   // Other is a further name of the same place, stored again: it always changes with Stored
}

// atBothEnds says whether a delta keeps the two ends of a tie equal.
func atBothEnds(d Delta) bool {
	b, ok := d.(interface{ AtBothEnds() bool })
	return ok && b.AtBothEnds()
}

// untie finds the ties that a delta breaks: the output stores both ends.
func (p *plan) untie() {
	for _, t := range p.Ties {
		if _, stored := p.Base.Info(t.Other); stored || t.Copy {
			continue
		}
		for _, d := range p.Deltas {
			if n := d.Target(); (n == t.Stored || n == t.Other) && !atBothEnds(d) {
				p.origin[t.Other] = t.Stored
				p.loosen = true
			}
		}
	}
}

// spread lets deltas for both ends change the second one, too, where it is stored of its own, and every delta all copies of its target.
func (p *plan) spread() {
	for _, t := range p.Ties {
		if d, ok := p.byTarget[t.Stored]; ok && t.Copy {
			p.byTarget[t.Other] = d
		}
	}
	for other, stored := range p.origin {
		if d, ok := p.byTarget[stored]; ok && atBothEnds(d) && p.byTarget[other] == nil {
			p.byTarget[other] = d
		}
	}
}

// named tells whether the job knows the tie that a tensor is part of.
func (p *plan) named(name string) bool {
	return slices.ContainsFunc(p.Ties, func(t Tie) bool { return !t.Copy && (t.Stored == name || t.Other == name) })
}

// from is the stored tensor that a tensor of the output begins as.
func (p *plan) from(name string) string {
	if stored, ok := p.origin[name]; ok {
		return stored
	}
	return name
}

// tensors lists what the output stores, those that were not stored before last.
func (p *plan) tensors() []checkpoint.Info {
	list := slices.DeleteFunc(slices.Clone(p.Base.Stored()), func(i checkpoint.Info) bool { return p.isAdded(i.Name) })
	for _, other := range slices.Sorted(maps.Keys(p.origin)) {
		info, _ := p.Base.Info(p.origin[other])
		info.Name = other
		list = append(list, info)
	}
	for _, d := range p.Deltas {
		if p.isAdded(d.Target()) {
			list = append(list, p.added(d))
		}
	}
	return list
}
