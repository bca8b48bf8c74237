package recipes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
)

// Builtin begins a path that means something inside the program.
const Builtin = "builtin:"

// Resolve makes relative paths relative to the folder of the recipe, and gives output.dir its default.
func (r *Recipe) Resolve(dir, name string) {
	fix := func(p *string) {
		if *p != "" && !strings.HasPrefix(*p, Builtin) && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for _, p := range []*string{&r.Model.Path, &r.Model.Tokenizer, &r.Model.ChatTemplate, &r.Method.Adapter, &r.Method.InitValues, &r.Data.Path, &r.Data.EvalPath} {
		fix(p)
	}
	for i := range r.Data.Sources {
		fix(&r.Data.Sources[i].Path)
	}
	if r.Output.Dir == "" {
		r.Output.Dir = filepath.Join("runs", name)
	}
}

// Marshal writes the recipe as TOML with every key that is not empty; loading it gives the same recipe.
func (r *Recipe) Marshal() []byte {
	var b bytes.Buffer
	v := reflect.ValueOf(r).Elem()
	for _, s := range Sections {
		fmt.Fprintf(&b, "[%s]\n", s.Name)
		for _, k := range s.Keys {
			f := v.FieldByIndex(k.field)
			name := k.Path[len(s.Name)+1:]
			if k.Path == "data.sources" || k.skip(f, r) {
				continue
			}
			fmt.Fprintf(&b, "%s = %s\n", name, literal(f.Interface()))
		}
		b.WriteByte('\n')
		if s.Name == "data" {
			for _, src := range r.Data.Sources {
				fmt.Fprintf(&b, "[[data.sources]]\npath = %s\nweight = %s\nshape = %s\n\n", literal(src.Path), literal(src.Weight), literal(src.Shape))
			}
		}
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// skip leaves out what is empty, and keys that would contradict the ones that count.
func (k Key) skip(f reflect.Value, r *Recipe) bool {
	switch {
	case f.IsZero() && k.Default == "":
		return true
	case k.Path == "train.epochs" && r.Train.MaxSteps > 0, k.Path == "train.batch_size" && r.Data.BatchTokens > 0:
		return true
	case k.For != nil && (k.CalledBy(r.Method.Type) == "" || r.Method.Type != "lora" && !r.given[k.Path]):
		return true
	}
	return false
}

// incidental are sections and keys that do not change what a run computes.
var incidental = []string{"output.", "generate.", "eval.samples", "eval.generate", "eval.prompts", "data.workers", "train.save_", "train.max_tokens"}

// Hash identifies what decides the result of a run: a run can be resumed by a recipe of the same hash.
func (r *Recipe) Hash() string {
	h := sha256.New()
	section := ""
	for _, line := range strings.Split(string(r.Marshal()), "\n") {
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
		}
		key := section + "." + line
		keep := true
		for _, p := range incidental {
			keep = keep && !strings.HasPrefix(key, p)
		}
		if keep {
			fmt.Fprintln(h, key)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Explain describes a key, a section, or everything for "". It is what graft explain prints.
func Explain(path string) (string, error) {
	var b strings.Builder
	path = strings.TrimSuffix(path, ".")
	for _, s := range Sections {
		if path != "" && path != s.Name && !strings.HasPrefix(path, s.Name+".") {
			continue
		}
		if path == "" || path == s.Name {
			fmt.Fprintf(&b, "[%s]  %s\n", s.Name, s.Doc)
			for _, k := range s.Keys {
				fmt.Fprintf(&b, "  %-30s %s\n", k.Path, k.Doc)
			}
			if path == "" {
				b.WriteByte('\n')
			}
			continue
		}
		if k, ok := keyAt(s.Keys, path); ok {
			explainKey(&b, k)
		}
		if path == "data.sources" || strings.HasPrefix(path, "data.sources.") {
			for _, k := range sourceKeys {
				if path == "data.sources" || path == k.Path {
					b.WriteByte('\n')
					explainKey(&b, k)
				}
			}
		}
	}
	if b.Len() == 0 {
		if s := suggest(path); s != "" {
			return "", fmt.Errorf("recipes: no key %q, did you mean %s?", path, s)
		}
		return "", fmt.Errorf("recipes: no key %q (graft explain lists all)", path)
	}
	return strings.TrimRight(b.String(), "\n") + "\n", nil
}

func explainKey(b *strings.Builder, k Key) {
	fmt.Fprintf(b, "%s\n  %s\n", k.Path, k.Doc)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(b, "  %-9s %s\n", name, text)
		}
	}
	row("type", k.Kind)
	row("default", k.Default)
	row("range", k.Range())
	row("example", k.Example)
	row("for", k.methods())
	row("elsewhere", strings.Join(k.Synonyms, ", "))
}

// methods says in words which methods have the key.
func (k Key) methods() string {
	var names, not []string
	all := false
	for _, f := range k.For {
		kind, as, renamed := strings.Cut(f, "=")
		switch {
		case kind == "*":
			all = true
		case strings.HasPrefix(kind, "-"):
			not = append(not, kind[1:])
		case renamed:
			names = append(names, kind+" ("+as+")")
		default:
			names = append(names, kind)
		}
	}
	if !all {
		return strings.Join(names, ", ")
	}
	return "all but " + strings.Join(append(not, "full"), ", ")
}

// Markdown is docs/recipe.md.
func Markdown() []byte {
	var b bytes.Buffer
	b.WriteString("# Recipe keys\n\nMade from the table in package `recipes` by `go test ./recipes -update`; `graft explain KEY` prints the same.\n")
	table := func(keys []Key) {
		b.WriteString("\n| key | type | default | range | meaning | elsewhere called |\n|---|---|---|---|---|---|\n")
		for _, k := range keys {
			doc := k.Doc
			if len(k.For) > 0 {
				doc += " (for " + k.methods() + ")"
			}
			if k.Example != "" {
				doc += ", e.g. `" + k.Example + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", k.Path, k.Kind, code(k.Default), k.Range(), strings.ReplaceAll(doc, "|", "\\|"), strings.Join(k.Synonyms, ", "))
		}
	}
	for _, s := range Sections {
		fmt.Fprintf(&b, "\n## [%s]\n\n%s\n", s.Name, s.Doc)
		table(s.Keys)
	}
	b.WriteString("\n## [[data.sources]]\n")
	table(sourceKeys)
	return b.Bytes()
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// Schema is a JSON schema of recipes, for editors that check TOML by one.
func Schema() []byte {
	property := func(k Key) map[string]any {
		p := map[string]any{"description": k.Doc}
		for kind, t := range map[string]any{"a string": "string", "true or false": "boolean", "a whole number": "integer", "a number": "number",
			"a list of strings": "array", "a list of whole numbers": "array", "a table of numbers": "object", "a table of strings": "object", "a table": "object",
			"a string or a list of strings": []string{"string", "array"}, "an array of tables": "array",
			"a list of whole numbers or a table of such lists": []string{"array", "object"}} {
			if kind == k.Kind {
				p["type"] = t
			}
		}
		if all := strings.Join(k.Choices, "|"); strings.Contains(all, anyNumber) {
			p["pattern"] = "^(" + strings.ReplaceAll(all, anyNumber, "_[0-9]+") + ")$"
		} else if len(k.Choices) > 0 {
			p["enum"] = k.Choices
		}
		for name, tag := range map[string]string{"minimum": k.Min, "maximum": k.Max, "exclusiveMinimum": k.Above, "exclusiveMaximum": k.Below} {
			if tag != "" {
				p[name] = json.Number(tag)
			}
		}
		if k.Default != "" {
			p["default"] = strings.Trim(k.Default, "\"")
		}
		return p
	}
	object := func(keys []Key, cut int) map[string]any {
		props := map[string]any{}
		for _, k := range keys {
			props[k.Path[cut:]] = property(k)
		}
		return map[string]any{"type": "object", "additionalProperties": false, "properties": props}
	}
	sections := map[string]any{}
	for _, s := range Sections {
		o := object(s.Keys, len(s.Name)+1)
		o["description"] = s.Doc
		if s.Name == "data" {
			o["properties"].(map[string]any)["sources"].(map[string]any)["items"] = object(sourceKeys, len("data.sources."))
		}
		sections[s.Name] = o
	}
	b, err := json.MarshalIndent(map[string]any{"$schema": "http://json-schema.org/draft-07/schema#", "title": "graft recipe",
		"type": "object", "additionalProperties": false, "properties": sections}, "", "  ")
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return append(b, '\n')
}
