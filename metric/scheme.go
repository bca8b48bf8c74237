package metric

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Scheme is a strict convention of tags: seqeval's mode "strict". What does not follow it is no entity.
type Scheme struct {
	Name     string // of the convention: "IOB2"
	prefixes string // that it allows
	start    []transition
	inside   []transition
	end      []transition
}

// transition matches a tag and the one before it.
type transition struct {
	prev, now string // prefixes
	types     relation
}

// relation of the types of two neighbouring tags.
type relation uint8

const (
	either relation = iota
	same
	different
)

// anyPrefix are the prefixes that any scheme knows.
const anyPrefix = "IOBESUL"

// Schemes are the conventions, with the transitions of seqeval 1.2.2.
var Schemes = []*Scheme{
	{
		Name: "IOB1", prefixes: "IOB", // B only where two entities of one type touch
		start:  []transition{{"O", "I", either}, {"I", "I", different}, {"B", "I", either}, {"IB", "B", same}},
		inside: []transition{{"BI", "I", same}},
		end: []transition{{"I", "I", different}, {"IB", "O", either}, {"I", "B", either}, {"B", "I", different},
			{"B", "B", same}},
	},
	{
		Name: "IOE1", prefixes: "IOE", // E only where two entities of one type touch
		start:  []transition{{"OE", "I", either}, {"I", "I", different}, {"E", "E", same}},
		inside: []transition{{"I", "IE", same}},
		end:    []transition{{"I", "IE", different}, {"I", "O", either}, {"E", "IE", same}},
	},
	{
		Name: "IOB2", prefixes: "IOB", // each entity begins with B
		start:  []transition{{anyPrefix, "B", either}},
		inside: []transition{{"BI", "I", same}},
		end:    []transition{{"IB", "OB", either}, {"IB", "I", different}},
	},
	{
		Name: "IOE2", prefixes: "IOE", // each entity ends with E
		start:  []transition{{"OE", "IE", either}, {"I", "IE", different}},
		inside: []transition{{"I", "IE", same}},
		end:    []transition{{"E", anyPrefix, either}},
	},
	{
		Name: "IOBES", prefixes: "IOBES", // begin, inside, end; single
		start:  []transition{{anyPrefix, "BS", either}},
		inside: []transition{{"BI", "IE", same}},
		end:    []transition{{"SE", anyPrefix, either}},
	},
	{
		Name: "BILOU", prefixes: "IOBUL", // begin, inside, last; unit
		start:  []transition{{anyPrefix, "BU", either}},
		inside: []transition{{"BI", "IL", same}},
		end:    []transition{{"UL", anyPrefix, either}},
	},
}

// SchemeNamed finds a scheme.
func SchemeNamed(name string) (*Scheme, error) {
	var names []string
	for _, s := range Schemes {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return nil, fmt.Errorf("metric: scheme is %q, want one of %s", name, strings.Join(names, ", "))
}

// Entities reads the entities of a sentence by the scheme. A prefix that the scheme does not know is an error.
//
//	tags [words]  such as B-PER, I-PER, O
func (s *Scheme) Entities(tags []string) ([]Entity, error) {
	parts := make([]tag, 0, len(tags)+1)
	for i, t := range tags {
		prefix, size := utf8.DecodeRuneInString(t)
		if size == 0 || !strings.ContainsRune(s.prefixes, prefix) {
			return nil, fmt.Errorf("metric: tags: tag of word %d is %q, want O or a prefix of %s (%s)",
				i, t, s.Name, strings.Join(strings.Split(s.prefixes, ""), ", "))
		}
		parts = append(parts, tag{prefix, strictType(t[size:])})
	}
	outside := tag{'O', "_"}
	parts = append(parts, outside)
	var out []Entity
	for i, prev := 0, outside; i < len(parts); prev = parts[i-1] {
		if !match(s.start, prev, parts[i]) {
			i++
			continue
		}
		first := i
		for i++; match(s.inside, parts[i-1], parts[i]); i++ { // no entity begins with or contains the last, an O
		}
		if match(s.end, parts[i-1], parts[i]) {
			out = append(out, Entity{parts[first].kind, first, i})
		}
	}
	return out, nil
}

// strictType is the tag without its prefix and hyphens.
func strictType(s string) string {
	if s = strings.Trim(s, "-"); s == "" {
		return "_"
	}
	return s
}

// match tells whether any of the transitions leads from prev to now.
func match(transitions []transition, prev, now tag) bool {
	for _, t := range transitions {
		if strings.ContainsRune(t.prev, prev.prefix) && strings.ContainsRune(t.now, now.prefix) &&
			(t.types == either || (t.types == same) == (prev.kind == now.kind)) {
			return true
		}
	}
	return false
}
