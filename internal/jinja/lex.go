package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind of a token.
type kind int

const (
	eof kind = iota
	data
	blockBegin
	blockEnd
	printBegin
	printEnd
	name
	integer
	float
	text
	operator
)

type token struct {
	kind kind
	s    string
	line int
}

func (t token) String() string {
	switch t.kind {
	case eof:
		return "end of template"
	case blockEnd:
		return "end of statement block"
	case printEnd:
		return "end of print statement"
	}
	return strconv.Quote(t.s)
}

// lexer cuts a template into tokens, with the settings of chat templates: the first line end after a block goes
// (trim_blocks), and so does the white space before a block on its line (lstrip_blocks).
type lexer struct {
	src       string
	i, line   int
	lineStart bool
	tokens    []token
}

func lex(src string) ([]token, error) {
	src = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(src)
	src = strings.TrimSuffix(src, "\n")
	l := &lexer{src: src, line: 1, lineStart: true}
	for l.i < len(l.src) {
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	return append(l.tokens, token{eof, "", l.line}), nil
}

func (l *lexer) errorf(format string, a ...any) error {
	return fmt.Errorf("line %d: %w", l.line, fmt.Errorf(format, a...))
}

func (l *lexer) add(k kind, s string) { l.tokens = append(l.tokens, token{k, s, l.line}) }

// skip moves on by n bytes and counts the lines.
func (l *lexer) skip(n int) {
	l.line += strings.Count(l.src[l.i:l.i+n], "\n")
	l.i += n
}

// next reads text up to a tag, and the tag.
func (l *lexer) next() error {
	rest := l.src[l.i:]
	at := -1
	for k := 0; k+1 < len(rest); k++ {
		if rest[k] == '{' && strings.IndexByte("{%#", rest[k+1]) >= 0 {
			at = k
			break
		}
	}
	if at < 0 {
		l.add(data, rest)
		l.skip(len(rest))
		return nil
	}
	before, open := rest[:at], rest[at+1]
	sign := byte(0)
	if at+2 < len(rest) && (rest[at+2] == '-' || rest[at+2] == '+') {
		sign = rest[at+2]
	}
	switch {
	case sign == '-':
		before = strings.TrimRightFunc(before, unicode.IsSpace)
	case sign != '+' && open != '{':
		line := strings.LastIndexByte(before, '\n') + 1
		if (line > 0 || l.lineStart) && strings.TrimSpace(before[line:]) == "" {
			before = before[:line]
		}
	}
	if before != "" {
		l.add(data, before)
	}
	l.skip(at + 2)
	if sign != 0 {
		l.skip(1)
	}
	switch open {
	case '#':
		return l.comment()
	case '%':
		if l.raw() {
			return l.rawText()
		}
		l.add(blockBegin, "{%")
		return l.tag("%}", blockEnd)
	}
	l.add(printBegin, "{{")
	return l.tag("}}", printEnd)
}

// end steps over what follows a tag's end: all white space after a minus, else one line end after blocks.
func (l *lexer) end(sign byte, block bool) {
	start := l.i
	switch {
	case sign == '-':
		l.skip(len(l.src[l.i:]) - len(strings.TrimLeftFunc(l.src[l.i:], unicode.IsSpace)))
	case sign != '+' && block && strings.HasPrefix(l.src[l.i:], "\n"):
		l.skip(1)
	}
	l.lineStart = l.i > start && l.src[l.i-1] == '\n'
}

func (l *lexer) comment() error {
	n := strings.Index(l.src[l.i:], "#}")
	if n < 0 {
		return l.errorf("missing end of comment tag")
	}
	sign := byte(0)
	if n > 0 {
		sign = l.src[l.i+n-1]
	}
	l.skip(n + 2)
	l.end(sign, true)
	return nil
}

// raw reports whether the tag at hand is {% raw %}, and steps over it.
func (l *lexer) raw() bool {
	rest := l.src[l.i:]
	s := strings.TrimLeftFunc(rest, unicode.IsSpace)
	s, ok := strings.CutPrefix(s, "raw")
	if !ok {
		return false
	}
	s = strings.TrimLeftFunc(s, unicode.IsSpace)
	sign := byte(0)
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[0], s[1:]
	}
	if s, ok = strings.CutPrefix(s, "%}"); !ok {
		return false
	}
	l.skip(len(rest) - len(s))
	l.end(sign, true)
	return true
}

// rawText copies everything up to {% endraw %}.
func (l *lexer) rawText() error {
	for k := l.i; ; {
		n := strings.Index(l.src[k:], "{%")
		if n < 0 {
			return l.errorf("missing end of raw directive")
		}
		at := k + n
		s, minus := strings.CutPrefix(l.src[at+2:], "-")
		s, ok := strings.CutPrefix(strings.TrimLeftFunc(s, unicode.IsSpace), "endraw")
		s = strings.TrimLeftFunc(s, unicode.IsSpace)
		sign := byte(0)
		if s != "" && (s[0] == '-' || s[0] == '+') {
			sign, s = s[0], s[1:]
		}
		s, closed := strings.CutPrefix(s, "%}")
		if !ok || !closed {
			k = at + 2
			continue
		}
		body := l.src[l.i:at]
		if minus {
			body = strings.TrimRightFunc(body, unicode.IsSpace)
		}
		l.add(data, body)
		l.skip(len(l.src) - len(s) - l.i)
		l.end(sign, true)
		return nil
	}
}

// operators, longest first.
var operators = []string{"//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "[", "]", "(", ")", "{", "}", "<", ">", "=", ".", ":", "|", ",", ";"}

// maxTag bounds the tokens of a tag, and thereby how deep its expressions nest.
const maxTag = 4096

// tag reads the tokens of a tag up to its end.
func (l *lexer) tag(end string, k kind) error {
	from := len(l.tokens)
	var open []byte // brackets
	for {
		l.skip(len(l.src[l.i:]) - len(strings.TrimLeftFunc(l.src[l.i:], unicode.IsSpace)))
		rest := l.src[l.i:]
		if rest == "" {
			return l.errorf("unexpected end of template, want %q", end)
		}
		if len(open) == 0 {
			sign := byte(0)
			if rest[0] == '-' || rest[0] == '+' && k == blockEnd {
				sign = rest[0]
			}
			if sign != 0 && strings.HasPrefix(rest[1:], end) {
				l.add(k, end)
				l.skip(3)
				l.end(sign, k == blockEnd)
				return nil
			}
			if strings.HasPrefix(rest, end) {
				l.add(k, end)
				l.skip(2)
				l.end(0, k == blockEnd)
				return nil
			}
		}
		if len(l.tokens)-from > maxTag {
			return l.errorf("tag of more than %d tokens", maxTag)
		}
		n, err := l.one(rest, &open)
		if err != nil {
			return err
		}
		l.skip(n)
	}
}

// one reads one token and returns its length.
func (l *lexer) one(s string, open *[]byte) (int, error) {
	r, _ := utf8.DecodeRuneInString(s)
	switch {
	case r == '_' || unicode.IsLetter(r):
		n := len(s) - len(strings.TrimLeftFunc(s, func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }))
		l.add(name, s[:n])
		return n, nil
	case r >= '0' && r <= '9':
		n, k := numberLength(s)
		l.add(k, strings.ReplaceAll(s[:n], "_", ""))
		return n, nil
	case r == '"' || r == '\'':
		for n := 1; n < len(s); n++ {
			switch s[n] {
			case '\\':
				n++
			case byte(r):
				l.add(text, unescape(s[1:n]))
				return n + 1, nil
			}
		}
		return 0, l.errorf("string without an end")
	}
	for _, op := range operators {
		if !strings.HasPrefix(s, op) {
			continue
		}
		switch op {
		case "(", "[", "{":
			*open = append(*open, op[0])
		case ")", "]", "}":
			want := map[string]byte{")": '(', "]": '[', "}": '{'}[op]
			if n := len(*open); n == 0 || (*open)[n-1] != want {
				return 0, l.errorf("unexpected %q", op)
			}
			*open = (*open)[:len(*open)-1]
		}
		l.add(operator, op)
		return len(op), nil
	}
	return 0, l.errorf("unexpected char %q", r)
}

func numberLength(s string) (int, kind) {
	digits := func(i int) int {
		for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '_') {
			i++
		}
		return i
	}
	n, k := digits(0), integer
	if n+1 < len(s) && s[n] == '.' && s[n+1] >= '0' && s[n+1] <= '9' {
		n, k = digits(n+1), float
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if end := digits(m); end > m {
			n, k = end, float
		}
	}
	return n, k
}

// unescape resolves Python's escapes; unknown ones stay as they are.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	const plain, meaning = `ntrbfav0\'"`, "\n\t\r\b\f\a\v\x00\\'\""
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if s[i] == '\n' {
			continue
		}
		if at := strings.IndexByte(plain, s[i]); at >= 0 {
			b.WriteByte(meaning[at])
			continue
		}
		if n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]; n > 0 && i+n < len(s) {
			if r, err := strconv.ParseUint(s[i+1:i+1+n], 16, 32); err == nil {
				b.WriteRune(rune(r))
				i += n
				continue
			}
		}
		b.WriteByte('\\')
		b.WriteByte(s[i])
	}
	return b.String()
}
