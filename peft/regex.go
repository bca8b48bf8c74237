package peft

import (
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// Patterns in adapter_config.json are Python's regular expressions, look-ahead included, which backtrack: one that somebody
// else wrote may take forever, so its length and the time of one match are bounded.
const (
	maxPattern = 1 << 16
	matchTime  = time.Second
)

// regex is a compiled pattern of one key of adapter_config.json. Safe for concurrent use.
type regex struct {
	key, pattern string
	re           *regexp2.Regexp
}

// compile compiles a pattern between what stands before and after it.
func compile(key, before, pattern, after string) (*regex, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("peft: %s: the pattern has %d bytes, want at most %d", key, len(pattern), maxPattern)
	}
	re, err := regexp2.Compile(before + fromPython(pattern) + after)
	if err != nil {
		return nil, fmt.Errorf("peft: %s: pattern %q: %s", key, pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	re.MatchTimeout = matchTime
	return &regex{key, pattern, re}, nil
}

// fullMatch compiles a pattern that must match the whole of a name: re.fullmatch.
func fullMatch(key, pattern string) (*regex, error) { return compile(key, `\A(?:`, pattern, `)\z`) }

// find returns the n-th group of the first match in the name; ok is false if there is none.
func (r *regex) find(name string, n int) (group string, ok bool, err error) {
	m, err := r.re.FindStringMatch(name)
	if err != nil {
		return "", false, fmt.Errorf("peft: %s: pattern %q takes longer than %v on %q", r.key, r.pattern, matchTime, name)
	}
	if m == nil || m.GroupByNumber(n) == nil {
		return "", false, nil
	}
	return m.GroupByNumber(n).String(), true, nil
}

// match says whether the pattern matches.
func (r *regex) match(name string) (bool, error) {
	_, ok, err := r.find(name, 0)
	return ok, err
}

// fromPython writes a Python pattern in the words of .NET, which the engine speaks, where the two differ: (?P<name>…) is
// (?<name>…), (?P=name) is \k<name>, {,3} is {0,3}, \Z is \z, and [ has no meaning inside a class.
func fromPython(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); {
		from, to := p[i:i+1], p[i:i+1]
		switch rest := p[i:]; {
		case rest[0] == '\\' && len(rest) > 1:
			from, to = rest[:2], rest[:2]
			if from == `\Z` {
				to = `\z`
			}
		case rest[0] == '[':
			from = class(rest)
			to = from[:1] + escapeOpen(from[1:])
		case strings.HasPrefix(rest, "(?P<"):
			from, to = "(?P<", "(?<"
		case strings.HasPrefix(rest, "(?P=") && strings.Contains(rest, ")"):
			from = rest[:strings.IndexByte(rest, ')')+1]
			to = `\k<` + from[4:len(from)-1] + ">"
		case strings.HasPrefix(rest, "{,"):
			if end := strings.IndexByte(rest, '}'); end > 0 && strings.Trim(rest[2:end], "0123456789") == "" {
				from, to = "{,", "{0,"
			}
		}
		b.WriteString(to)
		i += len(from)
	}
	return b.String()
}

// class is the character class that p begins with, brackets included; all of p if it does not end.
func class(p string) string {
	i := 1
	if i < len(p) && p[i] == '^' {
		i++
	}
	if i < len(p) && p[i] == ']' { // the first one is a member
		i++
	}
	for ; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case ']':
			return p[:i+1]
		}
	}
	return p
}

// escapeOpen escapes every [ that is not escaped yet.
func escapeOpen(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p):
			b.WriteByte(p[i])
			i++
		case p[i] == '[':
			b.WriteByte('\\')
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// FullMatch says whether the pattern of a key of adapter_config.json matches the whole of a name, as re.fullmatch does.
func FullMatch(key, pattern, name string) (bool, error) {
	re, err := fullMatch(key, pattern)
	if err != nil {
		return false, err
	}
	return re.match(name)
}
