package recipes

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// Problem is one thing that is wrong with a recipe.
type Problem struct {
	File      string
	Line, Col int    // from 1; 0 = nowhere in particular
	Message   string // names the key
	Excerpt   string // the line of the file
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Col, p.Message)
	if p.Excerpt != "" {
		s += fmt.Sprintf("\n    %s\n    %s^", p.Excerpt, strings.Repeat(" ", p.Col-1))
	}
	return s
}

// Problems is every problem of a recipe, in the order of the file.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Load decodes a recipe. name is what errors call the file; sets are overrides "section.key=value", whose values are TOML or
// plain strings. The error is Problems.
func Load(name string, src []byte, sets []string) (*Recipe, error) {
	d := &decoder{file: name, src: string(src), recipe: New(), order: map[string][]string{}}
	d.recipe.given = map[string]bool{}
	tree := map[string]any{}
	md, err := toml.Decode(d.src, &tree)
	if err != nil {
		return nil, d.syntax(err)
	}
	for _, k := range md.Keys() {
		if n := len(k); n > 1 {
			parent := strings.Join(k[:n-1], ".")
			d.order[parent] = append(d.order[parent], k[n-1])
		}
	}
	d.tree(tree)
	for _, s := range sets {
		d.set(s)
	}
	if len(d.problems) == 0 {
		d.rules()
	}
	if len(d.problems) > 0 {
		slices.SortStableFunc(d.problems, func(a, b Problem) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Col - b.Col
		})
		return nil, d.problems
	}
	return d.recipe, nil
}

// New is a recipe of nothing but defaults.
func New() *Recipe {
	r := &Recipe{}
	v := reflect.ValueOf(r).Elem()
	for _, k := range Keys() {
		f := v.FieldByIndex(k.field)
		if def := k.defaultValue(f.Type()); def != nil {
			f.Set(reflect.ValueOf(def))
		}
	}
	return r
}

type decoder struct {
	file     string
	src      string
	recipe   *Recipe
	order    map[string][]string // of the keys below a table, as the file has them
	problems Problems
	from     map[string]string // keys that --set names, with the flag's text
}

// syntax turns a parse error into a problem.
func (d *decoder) syntax(err error) error {
	var p toml.ParseError
	if !errors.As(err, &p) {
		return Problems{{File: d.file, Message: err.Error()}}
	}
	line, col := p.Position.Line, max(1, p.Position.Col)
	return Problems{{File: d.file, Line: line, Col: col, Message: p.Message, Excerpt: d.line(line)}}
}

func (d *decoder) line(n int) string {
	lines := strings.Split(d.src, "\n")
	if n < 1 || n > len(lines) {
		return ""
	}
	line := strings.TrimRight(lines[n-1], "\r")
	// The caret stands below a column of bytes, and what is no text must not reach the terminal.
	const widest = 160
	if len(line) > widest || strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return ""
	}
	return line
}

// bad notes a problem with a key.
func (d *decoder) bad(key []string, format string, args ...any) {
	p := Problem{File: d.file, Message: fmt.Sprintf(format, args...)}
	if flag, ok := d.from[strings.Join(key, ".")]; ok {
		p.File = "--set " + flag
	} else if p.Line, p.Col = d.where(key); p.Line > 0 {
		p.Excerpt = d.line(p.Line)
	}
	d.problems = append(d.problems, p)
}

// marker stops the decoder at the key it stands for.
type marker struct{}

func (*marker) UnmarshalTOML(any) error { return errors.New("here") }

// where finds line and column of a key: the file is decoded once more into a type that has nothing but this key, with a
// value that refuses to be decoded.
func (d *decoder) where(key []string) (line, col int) {
	t := reflect.TypeFor[marker]()
	for i := len(key) - 1; i >= 0; i-- {
		if strings.ContainsAny(key[i], "\"\\`") {
			return 0, 0
		}
		t = reflect.StructOf([]reflect.StructField{{Name: "F", Type: t, Tag: reflect.StructTag(fmt.Sprintf("toml:%q", key[i]))}})
		if i > 0 && strings.Join(key[:i], ".") == "data.sources" {
			t = reflect.SliceOf(t)
		}
	}
	_, err := toml.Decode(d.src, reflect.New(t).Interface())
	var p toml.ParseError
	if !errors.As(err, &p) || p.Position.Line < 1 {
		return 0, 0
	}
	// The position is the value's; the key stands before it on the same line.
	text := d.line(p.Position.Line)
	end := min(len(text), max(0, p.Position.Col-1)+len(key[len(key)-1]))
	if at := strings.LastIndex(text[:end], key[len(key)-1]); at >= 0 {
		return p.Position.Line, at + 1
	}
	return p.Position.Line, max(1, min(p.Position.Col, len(text)+1))
}

// tree decodes the sections.
func (d *decoder) tree(tree map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		i := slices.IndexFunc(Sections, func(s Section) bool { return s.Name == name })
		if i < 0 {
			d.unknown([]string{name})
			continue
		}
		section, ok := tree[name].(map[string]any)
		if !ok {
			d.bad([]string{name}, "%s is %s, want a table [%s]", name, describe(tree[name]), name)
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(section)) {
			d.key([]string{name, key}, section[key])
		}
	}
}

// unknown reports a key that there is not.
func (d *decoder) unknown(key []string) {
	path := strings.Join(key, ".")
	if len(key) == 1 {
		var names []string
		for _, s := range Sections {
			names = append(names, s.Name)
		}
		if near := nearest(path, names); near != "" {
			d.bad(key, "unknown section %q (did you mean [%s]?)", path, near)
			return
		}
	}
	if s := suggest(path); s != "" {
		d.bad(key, "unknown key %q (did you mean %s?)", path, s)
		return
	}
	d.bad(key, "unknown key %q", path)
}

// key decodes one value.
func (d *decoder) key(key []string, v any) {
	path := strings.Join(key, ".")
	k, ok := keyAt(Keys(), path)
	if !ok {
		d.unknown(key)
		return
	}
	f := reflect.ValueOf(d.recipe).Elem().FieldByIndex(k.field)
	d.recipe.given[path] = true
	if path == "data.sources" {
		d.sources(key, v)
		return
	}
	if b, isBool := v.(bool); isBool && (path == "method.init_lora_weights" || path == "train.gradient_checkpointing") { // PEFT's file has a boolean here
		v = fmt.Sprint(b)
	}
	value, ok := assign(f.Interface(), v, d.order[path])
	if !ok {
		d.bad(key, "%s is %s, want %s", path, describe(v), k.Kind)
		return
	}
	if msg := k.check(value); msg != "" {
		d.bad(key, "%s", msg)
		return
	}
	f.Set(reflect.ValueOf(value))
}

// sources decodes [[data.sources]].
func (d *decoder) sources(key []string, v any) {
	list, ok := v.([]map[string]any)
	if !ok {
		d.bad(key, "data.sources is %s, want an array of tables [[data.sources]]", describe(v))
		return
	}
	for _, m := range list {
		s := Source{Weight: 1, Shape: "auto"}
		at := reflect.ValueOf(&s).Elem()
		for _, name := range slices.Sorted(maps.Keys(m)) {
			full := append(slices.Clone(key), name)
			k, ok := keyAt(sourceKeys, strings.Join(full, "."))
			if !ok {
				var names []string
				for _, k := range sourceKeys {
					names = append(names, k.Path[len("data.sources."):])
				}
				d.bad(full, "unknown key %q%s", strings.Join(full, "."), didYouMean(nearest(name, names)))
				continue
			}
			f := at.FieldByIndex(k.field)
			value, ok := assign(f.Interface(), m[name], nil)
			if !ok {
				d.bad(full, "%s is %s, want %s", k.Path, describe(m[name]), k.Kind)
				continue
			}
			if msg := k.check(value); msg != "" {
				d.bad(full, "%s", msg)
				continue
			}
			f.Set(reflect.ValueOf(value))
		}
		if s.Path == "" {
			d.bad(key, "data.sources: an element has no path")
		}
		d.recipe.Data.Sources = append(d.recipe.Data.Sources, s)
	}
}

// set applies one override.
func (d *decoder) set(text string) {
	path, value, ok := strings.Cut(text, "=")
	path = strings.TrimSpace(path)
	if !ok || path == "" {
		d.problems = append(d.problems, Problem{File: "--set " + text, Message: "it has no value, want section.key=value"})
		return
	}
	key := strings.Split(path, ".")
	if d.from == nil {
		d.from = map[string]string{}
	}
	d.from[path] = text
	var m map[string]any
	if _, err := toml.Decode("x = "+value, &m); err != nil || len(m) != 1 {
		m = map[string]any{"x": value} // a plain string
	}
	if k, ok := keyAt(Keys(), path); ok && k.Kind == "a string" {
		if _, isString := m["x"].(string); !isString {
			m["x"] = value
		}
	}
	if len(key) == 1 {
		d.unknown(key)
		return
	}
	if path == "data.sources" {
		d.recipe.Data.Sources = nil
	}
	d.key(key, m["x"])
}
