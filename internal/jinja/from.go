package jinja

import (
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Object is what becomes a dict that keeps its order.
type Object interface{ All() iter.Seq2[string, any] }

// From makes a value for templates of nil, bool, int, int64, float64, string, []any, Object, map[string]any (in the order
// of its keys) or what From has made.
func From(v any) (any, error) {
	x, err := from(v, 0)
	if err != nil {
		return nil, err
	}
	if size, _ := measure(x); size > maxSize {
		return nil, fmt.Errorf("jinja: value of size %d, want at most %d", size, maxSize)
	}
	return x, nil
}

func from(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("jinja: value nested deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case nil, bool, int64, float64, string, *List, *Dict:
		return v, nil
	case int:
		return int64(v), nil
	case []any:
		l := &List{Items: make([]any, len(v))}
		for i := range v {
			var err error
			if l.Items[i], err = from(v[i], depth+1); err != nil {
				return nil, err
			}
		}
		return l, nil
	case Object:
		return fromPairs(v.All(), depth)
	case map[string]any:
		return fromPairs(func(yield func(string, any) bool) {
			for _, k := range slices.Sorted(maps.Keys(v)) {
				if !yield(k, v[k]) {
					return
				}
			}
		}, depth)
	}
	return nil, fmt.Errorf("jinja: %T is no value for templates", v)
}

func fromPairs(pairs iter.Seq2[string, any], depth int) (any, error) {
	d := newDict()
	for k, v := range pairs {
		x, err := from(v, depth+1)
		if err != nil {
			return nil, err
		}
		d.name(k, x)
	}
	return d, nil
}

// AppendText is a dict with s behind the text of a key, or behind the last "text" in its list of parts; false if there
// is no such text.
func AppendText(dict any, key, s string) (any, bool) {
	d, ok := dict.(*Dict)
	if !ok {
		return nil, false
	}
	v, _ := d.get(key)
	switch v := v.(type) {
	case string:
		return d.with(key, v+s), true
	case *List:
		for i, part := range slices.Backward(v.Items) {
			if changed, ok := AppendText(part, "text", s); ok {
				items := slices.Clone(v.Items)
				items[i] = changed
				return d.with(key, &List{Items: items}), true
			}
		}
	}
	return nil, false
}

// with is a copy of d with another value of a key.
func (d *Dict) with(key string, v any) *Dict {
	c := &Dict{keys: slices.Clone(d.keys), values: slices.Clone(d.values), index: maps.Clone(d.index)}
	c.name(key, v)
	return c
}
