package merge

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Setting is the value of a parameter of a merge recipe: a number, a switch, a gradient of numbers over the layers, or one of
// these for every group of tensors.
//
//	weight = 0.5
//	weight = [0.0, 1.0]                                        # first layer to last
//	weight = [{filter = "mlp", value = 0.2}, {value = 0.9}]    # by parts of names, the first that fits
type Setting struct {
	gradient []float64 // one number: everywhere
	choices  []choice  // or by tensors
}

// choice is a setting for tensors whose name has the filter in it.
type choice struct {
	filter string // empty: all
	value  Setting
}

// at evaluates the setting for a tensor that lies at t, 0 for the first layer and 1 for the last. ok is false where no filter fits.
func (s Setting) at(tensor string, t float64) (v float64, ok bool) {
	if s.choices != nil {
		for _, c := range s.choices {
			if c.filter == "" || c.filter == "*" || strings.Contains(tensor, c.filter) {
				return c.value.at(tensor, t)
			}
		}
		return 0, false
	}
	last := len(s.gradient) - 1
	at := t * float64(last)
	i := min(int(at), last)
	f := at - float64(i)
	return (1-f)*s.gradient[i] + f*s.gradient[min(i+1, last)], true
}

// MarshalJSON writes the setting as a recipe has it.
func (s Setting) MarshalJSON() ([]byte, error) {
	switch {
	case s.choices != nil:
		var list []map[string]any
		for _, c := range s.choices {
			o := map[string]any{"value": c.value}
			if c.filter != "" {
				o["filter"] = c.filter
			}
			list = append(list, o)
		}
		return json.Marshal(list)
	case len(s.gradient) == 1:
		return json.Marshal(s.gradient[0])
	}
	return json.Marshal(s.gradient)
}

// Number is a setting that is the same everywhere.
func Number(v float64) Setting { return Setting{gradient: []float64{v}} }

// values lists every number in the setting.
func (s Setting) values() []float64 {
	list := slices.Clone(s.gradient)
	for _, c := range s.choices {
		list = append(list, c.value.values()...)
	}
	return list
}

// number is a value of a TOML or JSON file as a number; switches are 0 and 1.
func number(v any) (float64, bool) {
	switch x := v.(type) {
	case float64:
		return x, true
	case int64:
		return float64(x), true
	case json.Number:
		f, err := x.Float64()
		return f, err == nil
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// list is an array of a TOML or JSON file, of whatever it holds.
func list(v any) ([]any, bool) {
	switch x := v.(type) {
	case []any:
		return x, true
	case []map[string]any:
		all := make([]any, len(x))
		for i := range x {
			all[i] = x[i]
		}
		return all, true
	}
	return nil, false
}

// parseSetting reads a setting; where is its place in the recipe.
func parseSetting(where string, v any) (Setting, error) {
	if n, ok := number(v); ok {
		return Number(n), nil
	}
	if one, ok := v.(map[string]any); ok {
		v = []any{one}
	}
	all, ok := list(v)
	if !ok || len(all) == 0 {
		return Setting{}, fmt.Errorf("merge: %s is %v, want a number, a list of numbers, or a list of {filter, value}", where, v)
	}
	var s Setting
	for i, e := range all {
		at := fmt.Sprintf("%s[%d]", where, i)
		n, isNumber := number(e)
		one, isChoice := e.(map[string]any)
		if isNumber == isChoice || isNumber && s.choices != nil || isChoice && s.gradient != nil {
			return s, fmt.Errorf("merge: %s is %v, want a number like the others, or {filter, value}", at, e)
		}
		if isNumber {
			s.gradient = append(s.gradient, n)
			continue
		}
		c, err := parseChoice(at, one)
		if err != nil {
			return s, err
		}
		s.choices = append(s.choices, c)
	}
	return s, nil
}

// parseChoice reads {filter = "…", value = …}.
func parseChoice(where string, o map[string]any) (c choice, err error) {
	for _, key := range slices.Sorted(maps.Keys(o)) {
		v := o[key]
		switch key {
		case "filter":
			if v == nil {
				continue
			}
			var ok bool
			if c.filter, ok = v.(string); !ok {
				return c, fmt.Errorf("merge: %s.filter is %v, want a part of tensor names", where, v)
			}
		case "value":
			if c.value, err = parseSetting(where+".value", v); err != nil {
				return c, err
			}
			if c.value.choices != nil {
				return c, fmt.Errorf("merge: %s.value holds filters again, want a number or a list of numbers", where)
			}
		default:
			return c, fmt.Errorf("merge: %s: unknown key %q, want filter and value", where, key)
		}
	}
	if c.value.gradient == nil {
		return c, fmt.Errorf("merge: %s.value is missing", where)
	}
	return c, nil
}
