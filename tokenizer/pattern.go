package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// match is a range of bytes.
type match struct{ start, end int }

// pattern finds its matches, in order and without overlap; it appends them to dst.
type pattern interface {
	find(s string, dst []match) []match
}

// literal matches a fixed string.
type literal string

func (p literal) find(s string, dst []match) []match {
	if p == "" {
		return dst
	}
	for at := 0; ; {
		i := strings.Index(s[at:], string(p))
		if i < 0 {
			return dst
		}
		dst = append(dst, match{at + i, at + i + len(p)})
		at += i + len(p)
	}
}

// class matches single characters.
type class func(rune) bool

func (p class) find(s string, dst []match) []match {
	for i, r := range s {
		if p(r) {
			dst = append(dst, match{i, i + utf8.RuneLen(r)})
		}
	}
	return dst
}

// runs matches the longest runs of characters of a class.
type runs func(rune) bool

func (p runs) find(s string, dst []match) []match {
	start := -1
	for i, r := range s {
		if in := p(r); in && start < 0 {
			start = i
		} else if !in && start >= 0 {
			dst = append(dst, match{start, i})
			start = -1
		}
	}
	if start >= 0 {
		dst = append(dst, match{start, len(s)})
	}
	return dst
}

// expression is a regular expression with look-around. It counts in runes, so the text is widened first.
type expression struct{ re *regexp2.Regexp }

func (p expression) find(s string, dst []match) []match {
	runes := make([]rune, 0, len(s))
	starts := make([]int, 0, len(s)+1)
	for i, r := range s {
		runes = append(runes, r)
		starts = append(starts, i)
	}
	starts = append(starts, len(s))
	// The only errors are time-outs, and no time limit is set.
	_ = p.re.FindRunesMatches(runes, 0, func(m regexp2.MatchView) bool {
		a, n, _ := m.GroupRange(0)
		dst = append(dst, match{starts[a], starts[a+n]})
		return true
	})
	return dst
}

// patternJSON is {"String": "x"} or {"Regex": "x"}; old files hold the bare string.
type patternJSON struct{ literal, regex *string }

func (p *patternJSON) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		p.literal = &s
		return nil
	}
	var o struct{ String, Regex *string }
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	p.literal, p.regex = o.String, o.Regex
	return nil
}

// compile makes the pattern; regular expressions that have a hand-written scanner get it.
func (p *patternJSON) compile() (pattern, error) {
	switch {
	case p == nil || p.literal == nil && p.regex == nil:
		return nil, fmt.Errorf("pattern: none, want String or Regex")
	case p.literal != nil:
		return literal(*p.literal), nil
	}
	if f, ok := scanners[*p.regex]; ok {
		return f, nil
	}
	return compileExpression(*p.regex)
}

func compileExpression(src string) (pattern, error) {
	re, err := regexp2.Compile(src, regexp2.Multiline) // the reference's engine takes ^ and $ at every line
	if err != nil {
		return nil, fmt.Errorf("pattern: regular expression %q: %w", src, err)
	}
	return expression{re}, nil
}
