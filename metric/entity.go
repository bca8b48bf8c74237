package metric

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Entity is a span of words of one type.
type Entity struct {
	Type       string // "_" where the tags have none
	Start, End int    // words Start to End of the sentence, End excluded
}

// Entities reads the entities of a sentence as seqeval's default mode does (and conlleval before it): leniently. An I
// that continues nothing begins an entity, tags may mix IOB1, IOB2 and IOBES, and unknown prefixes count as inside.
//
//	tags [words]  such as B-PER, I-PER, O
func Entities(tags []string) ([]Entity, error) {
	var out []Entity
	prev, start := tag{prefix: 'O'}, 0
	for i := 0; i <= len(tags); i++ {
		t := tag{prefix: 'O', kind: "_"} // ends the sentence
		if i < len(tags) {
			prefix, size := utf8.DecodeRuneInString(tags[i])
			if size == 0 {
				return nil, fmt.Errorf("metric: tags: tag of word %d is empty, want O or a prefix and a type", i)
			}
			t = tag{prefix, lenientType(tags[i][size:])}
		}
		if t.ends(prev) {
			out = append(out, Entity{prev.kind, start, i})
		}
		if t.starts(prev) {
			start = i
		}
		prev = t
	}
	return out, nil
}

// lenientType is what stands behind the first hyphen, or all of it without one.
func lenientType(s string) string {
	if _, after, found := strings.Cut(s, "-"); found {
		s = after
	}
	if s == "" {
		return "_"
	}
	return s
}

// tag is a tag taken apart.
type tag struct {
	prefix rune
	kind   string
}

// ends tells whether an entity ends before t.
func (t tag) ends(prev tag) bool {
	switch {
	case prev.prefix == 'E' || prev.prefix == 'S':
		return true
	case prev.prefix == 'B' || prev.prefix == 'I':
		if t.prefix == 'B' || t.prefix == 'S' || t.prefix == 'O' {
			return true
		}
	}
	return prev.labels() && prev.kind != t.kind
}

// starts tells whether an entity starts with t.
func (t tag) starts(prev tag) bool {
	switch {
	case t.prefix == 'B' || t.prefix == 'S':
		return true
	case t.prefix == 'E' || t.prefix == 'I':
		if prev.prefix == 'E' || prev.prefix == 'S' || prev.prefix == 'O' {
			return true
		}
	}
	return t.labels() && prev.kind != t.kind
}

// labels tells whether the tag is of an entity; conlleval wrote "." for outside, too.
func (t tag) labels() bool { return t.prefix != 'O' && t.prefix != '.' }
