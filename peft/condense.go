package peft

import (
	"slices"
	"strings"

	"github.com/graft-ml/graft/model/layer"
)

// fewNames is the number of names from which PEFT condenses a list.
const fewNames = 20

// Condense returns the list that PEFT writes in place of "all-linear": the full names if they are fewer than twenty, else
// the shortest suffixes that mean exactly the chosen slots.
func Condense(chosen []*layer.Slot, m layer.Model) []string {
	in := map[string]bool{}
	var names []string
	for _, s := range chosen {
		in[s.Name] = true
		names = append(names, s.Name)
	}
	if len(names) < fewNames {
		return names
	}
	others := map[string]bool{} // suffixes of all other modules
	for slot := range m.Slots() {
		for i, c := range slot.Name {
			if c == '.' {
				addSuffixes(others, slot.Name[:i]) // the modules around it
			}
		}
		if !in[slot.Name] {
			addSuffixes(others, slot.Name)
		}
	}
	var out []string
	for _, name := range names {
		if slices.ContainsFunc(out, func(s string) bool { return strings.HasSuffix(name, "."+s) }) {
			continue
		}
		for _, suffix := range suffixes(name) {
			if !others[suffix] && !slices.Contains(out, suffix) {
				out = append(out, suffix)
				break
			}
		}
	}
	return out
}

// suffixes lists "c", "b.c", "a.b.c" of "a.b.c".
func suffixes(name string) (list []string) {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			list = append(list, name[i+1:])
		}
	}
	return append(list, name)
}

func addSuffixes(set map[string]bool, name string) {
	for _, s := range suffixes(name) {
		set[s] = true
	}
}
