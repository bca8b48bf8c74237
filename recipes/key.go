package recipes

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Key is one row of the table of keys, as the tags of Recipe's fields make it.
type Key struct {
	Path     string   `json:"path"` // "train.learning_rate"
	Kind     string   `json:"type"` // in words
	Default  string   `json:"default,omitempty"`
	Choices  []string `json:"choices,omitempty"`
	Min      string   `json:"min,omitempty"`
	Max      string   `json:"max,omitempty"`
	Above    string   `json:"above,omitempty"` // larger than
	Below    string   `json:"below,omitempty"` // smaller than
	Example  string   `json:"example,omitempty"`
	Doc      string   `json:"doc"`
	Synonyms []string `json:"synonyms,omitempty"` // in other tools
	For      []string `json:"for,omitempty"`      // of [method]: see Options; empty for all

	field []int // of Recipe; of Source for keys of data.sources
}

// schedules are the choices of train.lr_scheduler.
var schedules = strings.Fields("linear cosine constant constant_with_warmup cosine_with_restarts cosine_with_min_lr cosine_warmup_with_min_lr inverse_sqrt polynomial warmup_stable_decay reduce_lr_on_plateau")

// Section is one table of a recipe.
type Section struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
	Keys []Key  `json:"keys"`
}

// Sections is the table of all keys in the order of the structs.
var Sections = func() (list []Section) {
	t := reflect.TypeFor[Recipe]()
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := f.Tag.Lookup("toml")
		if !ok {
			continue
		}
		list = append(list, Section{Name: name, Doc: f.Tag.Get("doc"), Keys: keysOf(f.Type, name+".", []int{i})})
	}
	return list
}()

// sourceKeys are the keys of one element of data.sources.
var sourceKeys = keysOf(reflect.TypeFor[Source](), "data.sources.", nil)

func keysOf(t reflect.Type, prefix string, at []int) (keys []Key) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			keys = append(keys, keysOf(f.Type, prefix, append(slices.Clone(at), i))...)
			continue
		}
		tag := f.Tag.Get
		k := Key{Path: prefix + tag("toml"), Kind: kindOf(reflect.Zero(f.Type).Interface()), Default: tag("default"), Choices: strings.Fields(tag("choice")),
			Min: tag("min"), Max: tag("max"), Above: tag("above"), Below: tag("below"), Example: tag("example"), Doc: tag("doc"),
			Synonyms: strings.Fields(tag("syn")), For: strings.Fields(tag("for")), field: append(slices.Clone(at), i)}
		if len(k.For) == 0 {
			k.For = nil
		}
		if len(k.Choices) == 1 && k.Choices[0] == "@schedules" {
			k.Choices = schedules
		}
		keys = append(keys, k)
	}
	return keys
}

// Keys yields all keys.
func Keys() (all []Key) {
	for _, s := range Sections {
		all = append(all, s.Keys...)
	}
	return all
}

func keyAt(keys []Key, path string) (Key, bool) {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Path == path })
	if i < 0 {
		return Key{}, false
	}
	return keys[i], true
}

// defaultValue is the default as a Go value of the field's type; nil for the zero value.
func (k Key) defaultValue(t reflect.Type) any {
	if k.Default == "" {
		return nil
	}
	src := k.Default
	zero := reflect.Zero(t).Interface()
	if _, isString := zero.(string); isString {
		return src
	}
	var m map[string]any
	if _, err := toml.Decode("x = "+src, &m); err != nil {
		panic(fmt.Sprintf("recipes: default of %s: %v", k.Path, err))
	}
	v, ok := assign(zero, m["x"], nil)
	if !ok {
		panic(fmt.Sprintf("recipes: default of %s is no %s", k.Path, k.Kind))
	}
	return v
}

// check reports a value that is out of the key's range, in words; "" if it is fine.
func (k Key) check(v any) string {
	if s, ok := v.(string); ok && len(k.Choices) > 0 && !slices.ContainsFunc(k.Choices, func(c string) bool { return choice(c, s) }) {
		return fmt.Sprintf("%s is %q, want one of %s%s", k.Path, clip(s), strings.Join(k.Choices, ", "), didYouMean(nearest(s, k.Choices)))
	}
	var f float64
	switch n := v.(type) {
	case int:
		f = float64(n)
	case uint64:
		f = float64(n)
	case float64:
		f = n
	default:
		return ""
	}
	bound := func(tag string) float64 { b, _ := strconv.ParseFloat(tag, 64); return b }
	if k.Min != "" && f < bound(k.Min) || k.Max != "" && f > bound(k.Max) || k.Above != "" && f <= bound(k.Above) || k.Below != "" && f >= bound(k.Below) {
		return fmt.Sprintf("%s is %v, want %s", k.Path, v, k.Range())
	}
	return ""
}

// anyNumber ends a choice that goes on with any whole number.
const anyNumber = "_N"

// choice says whether a value is the choice.
func choice(c, value string) bool {
	before, numbered := strings.CutSuffix(c, anyNumber)
	if !numbered {
		return value == c
	}
	digits, ok := strings.CutPrefix(value, before+"_")
	n, err := strconv.Atoi(digits)
	return ok && err == nil && n >= 0
}

// Range is the allowed range in words, "" if any value is.
func (k Key) Range() string {
	var parts []string
	for _, p := range []struct{ tag, words string }{{k.Min, "at least "}, {k.Above, "above "}, {k.Max, "at most "}, {k.Below, "below "}} {
		if p.tag != "" {
			parts = append(parts, p.words+p.tag)
		}
	}
	if len(k.Choices) > 0 {
		parts = append(parts, "one of "+strings.Join(k.Choices, ", "))
	}
	return strings.Join(parts, " and ")
}

func didYouMean(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", s)
}

// suggest finds what an unknown key may have meant: a synonym of another tool, the same key in another section, or the
// nearest name.
func suggest(path string) string {
	name := path[strings.LastIndexByte(path, '.')+1:]
	section, _, nested := strings.Cut(path, ".")
	all := Keys()
	last := func(k Key) string { return k.Path[strings.LastIndexByte(k.Path, '.')+1:] }
	plain := strings.ReplaceAll(name, "-", "_")
	for _, same := range []bool{true, false} { // the own section first
		for _, k := range all {
			if strings.EqualFold(last(k), plain) && (strings.HasPrefix(k.Path, section+".") == same) {
				return k.Path
			}
		}
		for _, k := range all {
			if slices.Contains(k.Synonyms, strings.ToLower(plain)) && (strings.HasPrefix(k.Path, section+".") == same) {
				return k.Path
			}
		}
	}
	var near []string
	for _, k := range all {
		if !nested || strings.HasPrefix(k.Path, section+".") {
			near = append(near, last(k))
		}
	}
	if n := nearest(name, near); n != "" {
		for _, k := range all {
			if last(k) == n && (!nested || strings.HasPrefix(k.Path, section+".")) {
				return k.Path
			}
		}
	}
	return ""
}

// nearest is the name within a small edit distance of got, or "".
func nearest(got string, names []string) string {
	best, at := max(2, len(got)/3)+1, ""
	for _, n := range names {
		if d := distance(strings.ToLower(got), n); d < best {
			best, at = d, n
		}
	}
	return at
}

// distance counts insertions, deletions, substitutions and swaps of neighbours between a and b.
func distance(a, b string) int {
	rows := [3][]int{}
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, above, row := rows[i%3], rows[(i+1)%3], rows[(i+2)%3]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above[j]+cost, row[j]+1, above[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
