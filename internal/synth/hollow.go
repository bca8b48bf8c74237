package synth

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
)

// Hollow is a checkpoint without numbers: every tensor is zero and lies in the same memory, which is never
// written and hence takes no room. It is for counting what a method adds to a model of some size. It implements model.Source.
type Hollow struct {
	config []byte
	names  []string
	shapes map[string][]int
	zeros  []uint16
}

// NewHollow makes the checkpoint that a config.json describes.
func NewHollow(configJSON []byte) (*Hollow, error) {
	list, err := entries(configJSON, 0)
	if err != nil {
		return nil, err
	}
	h := &Hollow{config: configJSON, shapes: map[string][]int{}}
	most := 0
	for _, e := range list {
		n := 1
		for _, d := range e.Shape {
			n *= d
		}
		most = max(most, n)
		h.names, h.shapes[e.Name] = append(h.names, e.Name), e.Shape
	}
	slices.Sort(h.names)
	h.zeros = make([]uint16, most)
	return h, nil
}

// Names implements model.Source.
func (h *Hollow) Names() []string { return h.names }

// Frozen implements model.Source.
func (h *Hollow) Frozen(name string) (*kernel.Frozen, []int, error) {
	s, ok := h.shapes[name]
	if !ok {
		return nil, nil, fmt.Errorf("synth: no tensor %q", name)
	}
	rows, cols := 1, s[len(s)-1]
	if len(s) == 2 {
		rows = s[0]
	}
	return kernel.FrozenU16(h.zeros, kernel.BF16, rows, cols), s, nil
}

// Floats implements model.Source.
func (h *Hollow) Floats(name string) ([]float32, error) {
	s, ok := h.shapes[name]
	if !ok {
		return nil, fmt.Errorf("synth: no tensor %q", name)
	}
	n := 1
	for _, d := range s {
		n *= d
	}
	return make([]float32, n), nil
}

// ReadFile implements model.Source.
func (h *Hollow) ReadFile(name string) ([]byte, error) {
	if name != "config.json" {
		return nil, fmt.Errorf("synth: %s: %w", name, fs.ErrNotExist)
	}
	return h.config, nil
}
