package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// preTokenizer cuts a piece into smaller ones and appends them to dst, never an empty one.
type preTokenizer interface {
	split(t *text, dst []text) []text
}

// preTokenizerJSON holds the keys of every kind of pre-tokeniser.
type preTokenizerJSON struct {
	Type          string            `json:"type"`
	PreTokenizers []json.RawMessage `json:"pretokenizers"`

	AddPrefixSpace *bool  `json:"add_prefix_space"`
	UseRegex       *bool  `json:"use_regex"`
	Replacement    string `json:"replacement"`
	PrependScheme  string `json:"prepend_scheme"`
	Split          *bool  `json:"split"`

	Pattern          *patternJSON `json:"pattern"`
	Behavior         string       `json:"behavior"`
	Invert           bool         `json:"invert"`
	IndividualDigits bool         `json:"individual_digits"`
	Delimiter        string       `json:"delimiter"`
	Length           int          `json:"length"`
}

// preTokenizers is the table of kinds.
var preTokenizers = map[string]func(j *preTokenizerJSON) (preTokenizer, error){
	"BertPreTokenizer": func(*preTokenizerJSON) (preTokenizer, error) { return bertWords{}, nil },
	"ByteLevel": func(j *preTokenizerJSON) (preTokenizer, error) {
		return byteLevel{prefix: isTrue(j.AddPrefixSpace, true), regex: isTrue(j.UseRegex, true)}, nil
	},
	"Split": func(j *preTokenizerJSON) (preTokenizer, error) {
		p, err := j.Pattern.compile()
		if err != nil {
			return nil, err
		}
		how, err := behaviorOf(j.Behavior)
		return cut{p, how, j.Invert}, err
	},
	"Metaspace":       newMetaspace,
	"Whitespace":      func(*preTokenizerJSON) (preTokenizer, error) { return cut{words{}, removed, true}, nil },
	"WhitespaceSplit": func(*preTokenizerJSON) (preTokenizer, error) { return cut{class(unicode.IsSpace), removed, false}, nil },
	"Punctuation": func(j *preTokenizerJSON) (preTokenizer, error) {
		if j.Behavior == "" {
			j.Behavior = "Isolated"
		}
		how, err := behaviorOf(j.Behavior)
		return cut{class(isPunctuation), how, false}, err
	},
	"Digits": func(j *preTokenizerJSON) (preTokenizer, error) {
		how := contiguous
		if j.IndividualDigits {
			how = isolated
		}
		return cut{class(unicode.IsNumber), how, false}, nil
	},
	"CharDelimiterSplit": func(j *preTokenizerJSON) (preTokenizer, error) {
		if utf8.RuneCountInString(j.Delimiter) != 1 {
			return nil, fmt.Errorf("delimiter: %q, want one character", j.Delimiter)
		}
		return cut{literal(j.Delimiter), removed, false}, nil
	},
	"UnicodeScripts": func(*preTokenizerJSON) (preTokenizer, error) { return scripts{}, nil },
	"FixedLength": func(j *preTokenizerJSON) (preTokenizer, error) {
		if j.Length < 1 {
			return nil, fmt.Errorf("length: %d, want at least 1", j.Length)
		}
		return fixedLength(j.Length), nil
	},
}

// newPreTokenizer builds a list of pre-tokenisers that work one after the other; null means none.
func newPreTokenizer(raw json.RawMessage, at string) ([]preTokenizer, error) {
	if isNull(raw) {
		return nil, nil
	}
	var j preTokenizerJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if j.Type == "Sequence" {
		var all []preTokenizer
		for i, raw := range j.PreTokenizers {
			p, err := newPreTokenizer(raw, fmt.Sprintf("%s.pretokenizers[%d]", at, i))
			if err != nil {
				return nil, err
			}
			all = append(all, p...)
		}
		return all, nil
	}
	build, ok := preTokenizers[j.Type]
	if !ok {
		return nil, unknownType(at, j.Type, preTokenizers)
	}
	p, err := build(&j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return []preTokenizer{p}, nil
}

// behavior says what becomes of the matches of a split.
type behavior int

const (
	isolated behavior = iota
	removed
	contiguous
	mergedWithPrevious
	mergedWithNext
)

var behaviors = map[string]behavior{
	"Isolated": isolated, "Removed": removed, "Contiguous": contiguous,
	"MergedWithPrevious": mergedWithPrevious, "MergedWithNext": mergedWithNext,
}

func behaviorOf(name string) (behavior, error) {
	b, ok := behaviors[name]
	if !ok {
		return 0, fmt.Errorf("behavior: %q, want one of %s", name, names(behaviors))
	}
	return b, nil
}

// cut splits at the matches of a pattern; invert takes what is between them for the matches.
type cut struct {
	pattern pattern
	how     behavior
	invert  bool
}

func (c cut) split(t *text, dst []text) []text {
	found := c.pattern.find(t.s, make([]match, 0, len(t.s)/bytesPerToken+1))
	if c.how == isolated || c.how == removed && c.invert {
		return c.simple(t, found, dst)
	}
	type part struct {
		match
		hit bool
	}
	parts := make([]part, 0, 2*len(found)+1)
	last := 0
	for _, m := range found {
		if m.start > last {
			parts = append(parts, part{match{last, m.start}, c.invert})
		}
		parts = append(parts, part{m, !c.invert})
		last = m.end
	}
	if last < len(t.s) {
		parts = append(parts, part{match{last, len(t.s)}, c.invert})
	}
	merged := make([]part, 0, len(parts))
	switch c.how {
	case removed:
		for _, p := range parts {
			if !p.hit {
				merged = append(merged, p)
			}
		}
	case contiguous, mergedWithPrevious:
		before := false
		for _, p := range parts {
			joins := p.hit == before
			if c.how == mergedWithPrevious {
				joins = p.hit && !before
			}
			if joins && len(merged) > 0 {
				merged[len(merged)-1].end = p.end
			} else {
				merged = append(merged, p)
			}
			before = p.hit
		}
	case mergedWithNext:
		after := false
		for i := len(parts) - 1; i >= 0; i-- {
			p := parts[i]
			if p.hit && !after && len(merged) > 0 {
				merged[len(merged)-1].start = p.start
			} else {
				merged = append(merged, p)
			}
			after = p.hit
		}
		for i, j := 0, len(merged)-1; i < j; i, j = i+1, j-1 {
			merged[i], merged[j] = merged[j], merged[i]
		}
	}
	for _, p := range merged {
		dst = appendPiece(dst, t, p.start, p.end)
	}
	return dst
}

// simple keeps every match a piece of its own, and with Isolated also what lies between.
func (c cut) simple(t *text, found []match, dst []text) []text {
	last := 0
	for _, m := range found {
		if c.how == isolated {
			dst = appendPiece(dst, t, last, m.start)
		}
		dst = appendPiece(dst, t, m.start, m.end)
		last = m.end
	}
	if c.how == isolated {
		dst = appendPiece(dst, t, last, len(t.s))
	}
	return dst
}

func appendPiece(dst []text, t *text, a, b int) []text {
	if a >= b {
		return dst
	}
	return append(dst, t.slice(a, b))
}

// bertWords drops white space and makes each punctuation mark a word.
type bertWords struct{}

func (bertWords) split(t *text, dst []text) []text {
	start := 0
	for i, r := range t.s {
		space := isSpace(r)
		if !space && !isPunctuation(r) {
			continue
		}
		dst = appendPiece(dst, t, start, i)
		start = i + utf8.RuneLen(r)
		if !space {
			dst = appendPiece(dst, t, i, start)
		}
	}
	return appendPiece(dst, t, start, len(t.s))
}

func isSpace(r rune) bool {
	if r < utf8.RuneSelf {
		return r == ' ' || r >= '\t' && r <= '\r'
	}
	return unicode.IsSpace(r)
}

func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= '!' && r <= '/' || r >= ':' && r <= '@' || r >= '[' && r <= '`' || r >= '{' && r <= '~'
	}
	return unicode.IsPunct(r)
}

// metaspace writes spaces as a visible mark, puts one before the text, and cuts before each.
type metaspace struct {
	mark   string
	scheme string // always, first, never
	cut    bool
}

func newMetaspace(j *preTokenizerJSON) (preTokenizer, error) {
	m := metaspace{mark: j.Replacement, scheme: j.PrependScheme, cut: isTrue(j.Split, true)}
	if utf8.RuneCountInString(m.mark) != 1 {
		return nil, fmt.Errorf("replacement: %q, want one character", m.mark)
	}
	if m.scheme == "" {
		m.scheme = "always"
	}
	if !isTrue(j.AddPrefixSpace, true) {
		m.scheme = "never"
	}
	switch m.scheme {
	case "always", "first", "never":
		return m, nil
	}
	return nil, fmt.Errorf("prepend_scheme: %q, want always, first or never", m.scheme)
}

func (m metaspace) split(t *text, dst []text) []text {
	piece := *t
	piece.replace(literal(" "), m.mark)
	if !strings.HasPrefix(piece.s, m.mark) && (m.scheme == "always" || m.scheme == "first" && t.base == 0) {
		piece.prepend(m.mark)
	}
	if !m.cut {
		return appendPiece(dst, &piece, 0, len(piece.s))
	}
	return cut{literal(m.mark), mergedWithNext, false}.split(&piece, dst)
}

// words matches `\w+|[^\w\s]+`.
type words struct{}

func (words) find(s string, dst []match) []match {
	const space, word, other = 0, 1, 2
	kind, start := space, 0
	for i, r := range s {
		k := other
		switch {
		case isWordRune(r):
			k = word
		case unicode.IsSpace(r):
			k = space
		}
		if k == kind {
			continue
		}
		if kind != space {
			dst = append(dst, match{start, i})
		}
		kind, start = k, i
	}
	if kind != space {
		dst = append(dst, match{start, len(s)})
	}
	return dst
}

// isWordRune is \w of Unicode Technical Standard 18.
func isWordRune(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_'
	}
	return unicode.IsOneOf(wordTables, r) || r == 0x200c || r == 0x200d
}

var wordTables = []*unicode.RangeTable{unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic}

// scripts cuts where the script changes; a space belongs to whatever is around it.
type scripts struct{}

func (scripts) split(t *text, dst []text) []text {
	last, start := "", 0
	for i, r := range t.s {
		script := scriptOf(r)
		if script == anyScript {
			continue
		}
		if last != "" && script != last {
			dst = appendPiece(dst, t, start, i)
			start = i
		}
		last = script
	}
	return appendPiece(dst, t, start, len(t.s))
}

const anyScript = "Any"

// scriptOf takes kana for Han, so that Japanese is not cut inside words.
func scriptOf(r rune) string {
	switch {
	case r == ' ':
		return anyScript
	case r == 0x30fc, unicode.Is(unicode.Hiragana, r), unicode.Is(unicode.Katakana, r), unicode.Is(unicode.Han, r):
		return "Han"
	case unicode.Is(unicode.Latin, r):
		return "Latin"
	case unicode.Is(unicode.Common, r):
		return "Common"
	}
	for _, name := range scriptNames {
		if unicode.Is(unicode.Scripts[name], r) {
			return name
		}
	}
	return "Unknown"
}

// scriptNames fixes an order; a character has one script only, so that any order would do.
var scriptNames = sortedKeys(unicode.Scripts)

// fixedLength cuts after every n characters.
type fixedLength int

func (n fixedLength) split(t *text, dst []text) []text {
	start, count := 0, 0
	for i := range t.s {
		if count == int(n) {
			dst = appendPiece(dst, t, start, i)
			start, count = i, 0
		}
		count++
	}
	return appendPiece(dst, t, start, len(t.s))
}
