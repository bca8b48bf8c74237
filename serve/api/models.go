package api

import (
	"cmp"
	"errors"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/serve"
)

// card is a model in /v1/models: the base, or an adapter, whose parent the base is.
type card struct {
	ID       string      `json:"id"`
	Object   string      `json:"object"`
	Created  int64       `json:"created"`
	OwnedBy  string      `json:"owned_by"`
	Root     string      `json:"root"` // the folder's name
	Parent   *string     `json:"parent"`
	MaxLen   int         `json:"max_model_len"`
	Task     string      `json:"task,omitempty"`
	Chat     bool        `json:"chat"` // there is a chat template
	Adapter  *serve.Info `json:"adapter,omitempty"`
	Runtime  *bool       `json:"runtime_adapters,omitempty"` // of the base: adapters may be loaded by request
	ServedBy string      `json:"served_by,omitempty"`
}

func (s *Server) baseCard() card {
	return card{ID: s.Name, Object: "model", Created: s.started.Unix(), OwnedBy: "graft", Root: s.Name, MaxLen: s.MaxLen, Task: s.Task, Chat: s.Chat != nil,
		Runtime: &s.Runtime, ServedBy: s.Version}
}

func (s *Server) adapterCard(i serve.Info) card {
	return card{ID: i.Name, Object: "model", Created: i.Loaded.Unix(), OwnedBy: "graft", Root: filepath.Base(cmp.Or(i.Dir, i.Name)), Parent: &s.Name,
		MaxLen: s.MaxLen, Task: cmp.Or(i.Task, s.Task), Chat: s.Chat != nil, Adapter: &i}
}

func (s *Server) models(x *exchange) error {
	list := []card{s.baseCard()}
	for _, i := range s.sorted() {
		list = append(list, s.adapterCard(i))
	}
	return x.json(http.StatusOK, map[string]any{"object": "list", "data": list})
}

// sorted are the adapters by name.
func (s *Server) sorted() []serve.Info {
	list := slices.Clone(s.Adapters.List())
	slices.SortFunc(list, func(a, b serve.Info) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (s *Server) model(x *exchange) error {
	if x.value == s.Name {
		return x.json(http.StatusOK, s.baseCard())
	}
	i, err := s.info(x.value)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, s.adapterCard(i))
}

// info is an adapter by name.
func (s *Server) info(name string) (serve.Info, error) {
	if !ValidName(name) {
		return serve.Info{}, noModel("model", shown(name))
	}
	i, err := s.Adapters.Info(name)
	if errors.Is(err, serve.ErrNoAdapter) {
		return i, noModel("model", name)
	}
	return i, err
}

// ValidName says that a name may be an adapter's.
func ValidName(name string) bool {
	if len(name) < 1 || len(name) > 64 || name == "." || name == ".." {
		return false
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// chosen is what a request is answered through.
type chosen struct {
	uses []peft.Use
	id   string // as the answer's model says it
}

// maxTogether bounds the adapters of one request.
const maxTogether = 16

// choose reads which adapters a request wants: its model, or scales by llama-server's numbers in lora. Without either it gets the base with
// the scales that POST /lora-adapters set.
func (s *Server) choose(x *exchange) (c chosen, err error) {
	name := x.body.str("model", "")
	c.id = s.Name
	lora := x.body.list("lora")
	switch {
	case x.body.err != nil:
		return c, x.body.err
	case name != "" && name != s.Name:
		if _, err := s.info(name); err != nil {
			return c, err
		}
		c.id, c.uses = name, peft.Fully(name)
		if lora != nil {
			return c, refuse("lora", "lora: scales are for requests of the base, and model names the adapter %s", name)
		}
	case lora != nil:
		if c.uses, err = s.byID("lora", lora); err != nil {
			return c, err
		}
	case name == "":
		c.uses = s.ids.standing(s.sorted())
	}
	x.adapter = label(c.uses)
	return c, nil
}

// Labels of requests in the metrics that are not one adapter's; neither can be an adapter's name.
const (
	baseLabel = "(base)"
	someLabel = "(several)"
)

func label(uses []peft.Use) string {
	switch len(uses) {
	case 0:
		return baseLabel
	case 1:
		return uses[0].Name
	}
	return someLabel
}
