package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
)

// oldNames are the ends of tensors' names in checkpoints of old, which were converted from TensorFlow, and what transformers makes of
// them when it loads (modeling_utils.py, _fix_state_dict_key_on_load).
var oldNames = []struct{ old, now string }{
	{"LayerNorm.gamma", "LayerNorm.weight"},
	{"LayerNorm.beta", "LayerNorm.bias"},
}

// currentName is a tensor's name as it would be written today.
func currentName(name string) string {
	for _, n := range oldNames {
		if front, ok := strings.CutSuffix(name, n.old); ok {
			return front + n.now
		}
	}
	return name
}

// renamed is a source whose tensors have today's names.
type renamed struct {
	Source
	names  []string          // sorted
	stored map[string]string // the source's own name of a tensor
}

// rename gives a source's tensors today's names. Two tensors that get one name are an error.
func rename(src Source) (Source, error) {
	r := &renamed{Source: src, stored: map[string]string{}}
	changed := false
	for _, name := range src.Names() {
		now := currentName(name)
		if other, ok := r.stored[now]; ok {
			return nil, fmt.Errorf("model: tensors %q and %q are both %q, want one of them", other, name, now)
		}
		changed = changed || now != name
		r.stored[now] = name
		r.names = append(r.names, now)
	}
	if !changed {
		return src, nil
	}
	slices.Sort(r.names)
	return r, nil
}

// Names implements Source.
func (r *renamed) Names() []string { return r.names }

// Frozen implements Source.
func (r *renamed) Frozen(name string) (*kernel.Frozen, []int, error) {
	return r.Source.Frozen(r.storedName(name))
}

// Floats implements Source.
func (r *renamed) Floats(name string) ([]float32, error) { return r.Source.Floats(r.storedName(name)) }

// storedName is the source's name of a tensor; for one that is not there, the name itself, so that the source's error says it.
func (r *renamed) storedName(name string) string {
	if s, ok := r.stored[name]; ok {
		return s
	}
	return name
}
