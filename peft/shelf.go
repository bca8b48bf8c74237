package peft

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
)

// Shelf holds adapters of one model by name. None of them changes the model: each is attached to a view of it, so that they can be
// added, replaced and removed while passes run. Safe for concurrent use.
//
//	shelf := peft.NewShelf(m)
//	en, err := shelf.Load("en", "adapters/en", methods.All, peft.Allow{})
//	logits := en.Model.Scores(…)                                  // one adapter alone: a model as any other
//
// both, err := shelf.Set(peft.Use{Name: "en", Scale: 1}, peft.Use{Name: "zh", Scale: 0.5})
//
//	err = pass.Route([]op.Overlay{en, both})                      // a batch whose segments name their adapter
//
// m itself is the model with all adapters disabled.
type Shelf struct {
	m    *model.Model
	mu   sync.RWMutex
	list map[string]*Loaded
}

// Loaded is an adapter on a view of a model, or several that work together. It does not change; who holds one may use it however
// the shelf changes. It implements op.Overlay.
type Loaded struct {
	Name    string
	Config  Config  // nil of several
	Adapter Adapter // nil of several
	Model   *model.Model
	layer.Overlay
}

// Use names an adapter and how much of it counts.
type Use struct {
	Name  string
	Scale float64 // 1 = as it was trained, 0 = not at all
}

// Fully is the use of adapters as they were trained.
func Fully(names ...string) (list []Use) {
	for _, name := range names {
		list = append(list, Use{Name: name, Scale: 1})
	}
	return list
}

// NewShelf returns an empty shelf of a model with nothing attached.
func NewShelf(m *model.Model) *Shelf { return &Shelf{m: m, list: map[string]*Loaded{}} }

// Load attaches the adapter of a folder to a view of the model and puts it on the shelf, in the place of what had the name. When it
// fails the shelf is as before.
func (s *Shelf) Load(name, dir string, table []Method, allow Allow) (*Loaded, error) {
	return s.add(name, func(view *model.Model) (Config, Adapter, error) { return Load(dir, view, table, allow) })
}

// Attach is Load of an adapter as its method starts it.
func (s *Shelf) Attach(name string, c Config, rng *rand.Rand) (*Loaded, error) {
	return s.add(name, func(view *model.Model) (Config, Adapter, error) {
		a, err := c.Attach(view, rng)
		return c, a, err
	})
}

func (s *Shelf) add(name string, attach func(view *model.Model) (Config, Adapter, error)) (*Loaded, error) {
	if name == "" {
		return nil, errors.New("peft: an adapter without a name, which is that of the model alone")
	}
	view, err := s.m.View()
	if err != nil {
		return nil, err
	}
	c, a, err := attach(view)
	if err != nil {
		return nil, err
	}
	v := &Loaded{Name: name, Config: c, Adapter: a, Model: view, Overlay: s.m.Overlay(view)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list[name] = v
	return v, nil
}

// Get is the adapter that has a name now.
func (s *Shelf) Get(name string) (*Loaded, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if v, ok := s.list[name]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("peft: no adapter is called %q, want one of %s", name, strings.Join(slices.Sorted(maps.Keys(s.list)), ", "))
}

// Names lists the adapters.
func (s *Shelf) Names() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.list))
}

// Delete takes an adapter off the shelf. Who has got it may go on with it.
func (s *Shelf) Delete(name string) error {
	if _, err := s.Get(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, name)
	return nil
}

// Set is several adapters at once. What they add to a projection adds up; where one changes what a projection reads or writes, it does
// so to what those before it make of the projection. What can be there once, such as virtual tokens or a whole copy of a module, may
// be in one of them.
func (s *Shelf) Set(use ...Use) (*Loaded, error) {
	var list []*Loaded
	var scales []float32
	var errs []error
	for _, u := range use {
		v, err := s.Get(u.Name)
		if err == nil && slices.Contains(list, v) {
			err = fmt.Errorf("peft: adapter %q is named twice", u.Name)
		}
		if math.IsNaN(u.Scale) || math.IsInf(u.Scale, 0) {
			err = errors.Join(err, fmt.Errorf("peft: adapter %q has the scale %g, want a finite number", u.Name, u.Scale))
		}
		errs = append(errs, err)
		list, scales = append(list, v), append(scales, float32(u.Scale))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return Together(s.m, list, scales)
}

// Together is several adapters of one model at once, each by a scale. See Shelf.Set.
func Together(m *model.Model, list []*Loaded, scales []float32) (*Loaded, error) {
	var names []string
	for _, v := range list {
		names = append(names, v.Name)
	}
	view, err := m.View()
	if err != nil {
		return nil, err
	}
	o := layer.Overlay{m: m}
	var errs []error
	for _, seam := range m.Seams() {
		var pieces []layer.Piece
		for i, v := range list {
			if x := v.At(seam.Place); x != nil && scales[i] != 0 {
				pieces = append(pieces, layer.Piece{Adapter: v.Name, Has: x, Scale: scales[i]})
			}
		}
		if len(pieces) == 0 {
			continue
		}
		x, err := seam.Join(pieces)
		if err != nil {
			errs = append(errs, fmt.Errorf("peft: %s: %w", seam.Name, err))
			continue
		}
		o[seam.Place] = x
		if seam.Alone {
			o[layer.AlonePlace{}] = seam.Name
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	m.Put(view, o)
	return &Loaded{Name: strings.Join(names, "+"), Model: view, Overlay: o}, nil
}

var _ op.Overlay = (*Loaded)(nil)
