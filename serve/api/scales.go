package api

import (
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/serve"
)

// adapterIDs gives adapters llama-server's numbers, in the order in which they were first seen, and holds the scales that were set for
// requests that name nothing. Safe for concurrent use.
type adapterIDs struct {
	mu     sync.Mutex
	names  []string // by number
	scales map[string]float64
}

// number gives every adapter of a list its number; numbers are never given again.
func (a *adapterIDs) number(list []serve.Info) (ids []int) {
	known := map[string]int{}
	for i, n := range a.names {
		known[n] = i
	}
	for _, x := range list {
		i, ok := known[x.Name]
		if !ok {
			i = len(a.names)
			a.names = append(a.names, x.Name)
		}
		ids = append(ids, i)
	}
	return ids
}

// standing are the adapters with a scale that was set.
func (a *adapterIDs) standing(list []serve.Info) (uses []peft.Use) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range list {
		if s := a.scales[x.Name]; s != 0 {
			uses = append(uses, peft.Use{Name: x.Name, Scale: s})
		}
	}
	return uses
}

// llamaAdapter is an adapter as llama-server lists it.
type llamaAdapter struct {
	ID    int     `json:"id"`
	Path  string  `json:"path"` // its name here: where it lies is nobody's business
	Scale float64 `json:"scale"`
}

func (s *Server) scales(x *exchange) error {
	list := s.sorted()
	s.ids.mu.Lock()
	defer s.ids.mu.Unlock()
	out := make([]llamaAdapter, len(list))
	for i, id := range s.ids.number(list) {
		out[i] = llamaAdapter{id, list[i].Name, s.ids.scales[list[i].Name]}
	}
	return x.json(http.StatusOK, out)
}

// setScales sets the scales of requests that name neither a model nor scales; adapters that are not in the list count for nothing.
func (s *Server) setScales(x *exchange) error {
	uses, err := s.byID("", x.list)
	if err != nil {
		return err
	}
	scales := map[string]float64{}
	for _, u := range uses {
		scales[u.Name] = u.Scale
	}
	s.ids.mu.Lock()
	s.ids.scales = scales
	s.ids.mu.Unlock()
	return x.json(http.StatusOK, map[string]bool{"success": true})
}

// byID reads a list of numbers and scales; an adapter that counts for nothing is left out.
func (s *Server) byID(param string, list []any) (uses []peft.Use, err error) {
	all := s.sorted()
	s.ids.mu.Lock()
	numbers := s.ids.number(all)
	s.ids.mu.Unlock()
	if len(list) > maxTogether {
		return nil, refuse(param, "%d adapters, want at most %d", len(list), maxTogether)
	}
	seen := map[int]bool{}
	for i, v := range list {
		at := fmt.Sprintf("%s[%d]", param, i)
		o, ok := v.(data.Object)
		if !ok {
			return nil, refuse(at, "%s: %s, want an object with id and scale", at, kindOf(v))
		}
		f := newFields(o)
		f.path = at + "."
		id, scale := f.whole("id", -1, 0, 1<<30), f.number("scale", 1, -1e3, 1e3)
		if err := f.end(); err != nil {
			return nil, err
		}
		k := slices.Index(numbers, id)
		if k < 0 || seen[id] {
			return nil, refuse(at+".id", "%s.id: no adapter has the number %d, or it came before (GET /lora-adapters lists them)", at, id)
		}
		seen[id] = true
		if scale != 0 {
			uses = append(uses, peft.Use{Name: all[k].Name, Scale: scale})
		}
	}
	return uses, nil
}
