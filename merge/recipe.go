package merge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Recipe says how checkpoints become one. Its keys are mergekit's, written in TOML:
//
//	merge_method = "slerp"
//	base_model = "models/a"
//	dtype = "bf16"
//	models = [{ model = "models/a" }, { model = "models/b" }]
//	parameters = { t = [0.2, 0.8] }
//
// Layers are put together by slices instead of models:
//
//	[[slices]]
//	sources = [{ model = "models/a", layer_range = [0, 16] }]
//	[[slices]]
//	sources = [{ model = "models/b", layer_range = [8, 22] }]
//
// Several outputs are made in one pass over the weights. Each takes the recipe's keys and changes some:
//
//	[[outputs]]
//	out = "third"
//	parameters = { t = 0.33 }
type Recipe struct {
	Out        string             `json:"-"` // folder to write
	Method     string             `json:"merge_method"`
	BaseModel  string             `json:"base_model,omitempty"`
	DType      string             `json:"dtype,omitempty"` // of the output's real numbers; the arithmetic is always float32
	Models     []Source           `json:"models,omitempty"`
	Slices     []Slice            `json:"slices,omitempty"`
	Parameters map[string]Setting `json:"parameters,omitempty"`
	Seed       uint64             `json:"seed"` // of methods that draw numbers
}

// Source is a model that takes part.
type Source struct {
	Model      string             `json:"model"`
	LayerRange [2]int             `json:"layer_range,omitzero"` // from and up to, of a slice
	Parameters map[string]Setting `json:"parameters,omitempty"`
}

// Slice is a run of layers of the output, made of as many layers of each source.
type Slice struct {
	Sources    []Source           `json:"sources"`
	Parameters map[string]Setting `json:"parameters,omitempty"`
}

// ParseRecipes decodes a TOML file of one or more outputs.
func ParseRecipes(name string, src []byte) ([]*Recipe, error) {
	tree := map[string]any{}
	if _, err := toml.Decode(string(src), &tree); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("merge: %s:%d:%d: %s", name, at.Position.Line, at.Position.Col, at.Message)
		}
		return nil, fmt.Errorf("merge: %s: %w", name, err)
	}
	list, err := DecodeRecipes(tree)
	if err != nil {
		return nil, fmt.Errorf("merge: %s: %w", name, trimmed{err})
	}
	return list, nil
}

// trimmed is an error of this package without its name.
type trimmed struct{ error }

func (t trimmed) Error() string { return strings.TrimPrefix(t.error.Error(), "merge: ") }
func (t trimmed) Unwrap() error { return t.error }

// DecodeRecipes takes recipes out of a tree such as TOML and JSON decode to.
func DecodeRecipes(tree map[string]any) ([]*Recipe, error) {
	d := &decoder{}
	var all []*Recipe
	outputs, several := tree["outputs"]
	if !several {
		all = append(all, d.recipe("", tree))
	} else {
		tables, ok := list(outputs)
		if !ok || len(tables) == 0 {
			return nil, fmt.Errorf("merge: outputs is %v, want tables [[outputs]]", outputs)
		}
		for i, t := range tables {
			own, ok := t.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("merge: outputs[%d] is %v, want a table", i, t)
			}
			all = append(all, d.recipe(fmt.Sprintf("outputs[%d].", i), joined(tree, own)))
		}
	}
	for _, r := range all {
		if errors.Join(d.errs...) == nil { // else it may say less than the file does
			_, err := (&arrangement{Recipe: r}).check()
			d.errs = append(d.errs, err)
		}
	}
	if err := errors.Join(d.errs...); err != nil {
		return nil, err
	}
	return all, nil
}

// joined is a table over another: keys of parameters one by one unless the method is another, models and slices instead of each
// other.
func joined(below, above map[string]any) map[string]any {
	all := maps.Clone(below)
	delete(all, "outputs")
	if above["models"] != nil || above["slices"] != nil {
		delete(all, "models")
		delete(all, "slices")
	}
	if m := above["merge_method"]; m != nil && m != below["merge_method"] {
		delete(all, "parameters") // they are another method's
	}
	for k, v := range above {
		was, ok1 := all[k].(map[string]any)
		now, ok2 := v.(map[string]any)
		if ok1 && ok2 && k == "parameters" {
			v = joined(was, now)
		}
		all[k] = v
	}
	return all
}

// decoder collects what is wrong.
type decoder struct{ errs []error }

func (d *decoder) bad(format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("merge: "+format, args...))
}

// keys calls the function of each key of a table, in the order of names, and reports unknown ones.
func (d *decoder) keys(where string, o map[string]any, known map[string]func(where string, v any)) {
	for _, k := range slices.Sorted(maps.Keys(o)) {
		f, ok := known[k]
		if !ok {
			d.bad("unknown key %q, want one of %s", where+k, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			continue
		}
		f(where+k, o[k])
	}
}

// text reads a string into to.
func (d *decoder) text(to *string) func(string, any) {
	return func(where string, v any) {
		s, ok := v.(string)
		if !ok {
			d.bad("%s is %v, want a string", where, v)
		}
		*to = s
	}
}

// recipe reads one recipe.
func (d *decoder) recipe(where string, o map[string]any) *Recipe {
	r := &Recipe{}
	d.keys(where, o, map[string]func(string, any){
		"out": d.text(&r.Out), "merge_method": d.text(&r.Method), "base_model": d.text(&r.BaseModel), "dtype": d.text(&r.DType), "out_dtype": d.text(&r.DType),
		"parameters": d.parameters(&r.Parameters),
		"seed": func(where string, v any) {
			n, ok := number(v)
			if r.Seed = uint64(n); !ok || float64(r.Seed) != n {
				d.bad("%s is %v, want a whole number of at least 0", where, v)
			}
		},
		"models": func(where string, v any) {
			d.tables(where, v, func(where string, o map[string]any) { r.Models = append(r.Models, d.source(where, o, false)) })
		},
		"slices": func(where string, v any) {
			d.tables(where, v, func(where string, o map[string]any) { r.Slices = append(r.Slices, d.slice(where, o)) })
		},
	})
	if out, ok := o["out_dtype"].(string); ok { // mergekit's dtype is that of the arithmetic, too
		r.DType = out
	}
	return r
}

// tables calls f for every table of a list.
func (d *decoder) tables(where string, v any, f func(where string, o map[string]any)) {
	all, ok := list(v)
	if !ok {
		d.bad("%s is %v, want a list of tables", where, v)
	}
	for i, e := range all {
		at := fmt.Sprintf("%s[%d]", where, i)
		if o, ok := e.(map[string]any); ok {
			f(at+".", o)
			continue
		}
		d.bad("%s is %v, want a table", at, e)
	}
}

func (d *decoder) slice(where string, o map[string]any) (s Slice) {
	d.keys(where, o, map[string]func(string, any){
		"parameters": d.parameters(&s.Parameters),
		"sources": func(where string, v any) {
			d.tables(where, v, func(where string, o map[string]any) { s.Sources = append(s.Sources, d.source(where, o, true)) })
		},
	})
	return s
}

func (d *decoder) source(where string, o map[string]any, ranged bool) (s Source) {
	known := map[string]func(string, any){"model": d.text(&s.Model), "parameters": d.parameters(&s.Parameters)}
	if ranged {
		known["layer_range"] = func(where string, v any) {
			all, _ := list(v)
			for i, e := range all {
				n, ok := number(e)
				if len(all) != 2 || !ok || n != float64(int(n)) {
					all = nil
					break
				}
				s.LayerRange[i] = int(n)
			}
			if s.LayerRange[0] < 0 || s.LayerRange[0] >= s.LayerRange[1] || all == nil {
				d.bad("%s is %v, want [from, to] with from below to", where, v)
			}
		}
	}
	d.keys(where, o, known)
	if s.Model == "" {
		d.bad("%smodel is missing", where)
	}
	if ranged && o["layer_range"] == nil {
		d.bad("%slayer_range is missing, want [from, to]", where)
	}
	return s
}

// parameters reads settings by name.
func (d *decoder) parameters(to *map[string]Setting) func(string, any) {
	return func(where string, v any) {
		o, ok := v.(map[string]any)
		if !ok {
			d.bad("%s is %v, want a table", where, v)
			return
		}
		*to = map[string]Setting{}
		for _, k := range slices.Sorted(maps.Keys(o)) {
			s, err := parseSetting(where+"."+k, o[k])
			if err != nil {
				d.errs = append(d.errs, err)
			}
			(*to)[k] = s
		}
	}
}
