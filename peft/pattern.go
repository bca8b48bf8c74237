package peft

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Pattern maps keys, which are regular expressions, to numbers: rank_pattern and alpha_pattern. The first key that matches
// counts, so the order is kept.
type Pattern []PatternEntry

// PatternEntry is one key of a Pattern.
type PatternEntry struct {
	Key   string
	Value json.Number
}

// NewEntry is an entry with a number; whole numbers are written as such.
func NewEntry(key string, v float64) PatternEntry {
	return PatternEntry{key, json.Number(strconv.FormatFloat(v, 'f', -1, 64))}
}

// UnmarshalJSON implements json.Unmarshaler. As in Python, a key that comes again keeps its place and gets the new value.
func (p *Pattern) UnmarshalJSON(b []byte) error {
	*p = nil
	if string(b) == "null" {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("it is %.20s, want an object of numbers", b)
	}
	place := map[string]int{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key := t.(string) // the decoder lets nothing else be a key
		var v any
		if err := d.Decode(&v); err != nil {
			return err
		}
		n, ok := v.(json.Number)
		if !ok {
			return fmt.Errorf("%q is %v, want a number", key, v)
		}
		if i, again := place[key]; again {
			(*p)[i].Value = n
			continue
		}
		place[key] = len(*p)
		*p = append(*p, PatternEntry{key, n})
	}
	return nil
}

// Value is the JSON value.
func (p Pattern) Value() any {
	m := map[string]any{}
	for _, e := range p {
		m[e.Key] = e.Value
	}
	return m
}

// Compile makes the pattern ready for many names. The field is its JSON key, for errors.
func (p Pattern) Compile(field string) (*CompiledPattern, error) {
	c := &CompiledPattern{entries: p, used: make([]bool, len(p))}
	var errs []error
	for _, e := range p {
		re, err := compile(field, `\A(.*\.)?(`, e.Key, `)$`) // as PEFT has it, so that the numbers of groups agree, too
		if err != nil {
			errs = append(errs, err)
		}
		c.keys = append(c.keys, re)
	}
	return c, errors.Join(errs...)
}

// CompiledPattern looks names up in a Pattern and remembers which entries it needed. Not safe for concurrent use.
type CompiledPattern struct {
	entries Pattern
	keys    []*regex
	used    []bool
}

// Lookup returns the value of the first key that matches the name as re.match(rf"(.*\.)?({key})$", name) does.
func (c *CompiledPattern) Lookup(name string) (v json.Number, ok bool, err error) {
	for i, re := range c.keys {
		if ok, err = re.match(name); err != nil {
			return "", false, err
		}
		if ok {
			c.used[i] = true
			return c.entries[i].Value, true, nil
		}
	}
	return "", false, nil
}

// Unused lists the keys that decided no lookup so far: they match none of the names, or others come before them.
func (c *CompiledPattern) Unused() (keys []string) {
	for i, e := range c.entries {
		if !c.used[i] {
			keys = append(keys, e.Key)
		}
	}
	return keys
}
