package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Vocabularies have a hundred thousand entries and more, so they are not decoded by reflection. The file is checked once
// as a whole by encoding/json; the readers here walk over JSON that is known to be well formed.

// fields is a JSON object whose values are still raw.
type fields map[string]json.RawMessage

func (f fields) decodeWithout(to any, skip ...string) error {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, key := range sortedKeys(f) {
		if slices.Contains(skip, key) {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(key)
		if err != nil {
			return err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(f[key])
	}
	b.WriteByte('}')
	return json.Unmarshal(b.Bytes(), to)
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// names lists the keys of a table for messages.
func names[V any](m map[string]V) string { return strings.Join(sortedKeys(m), ", ") }

// unknownType is the error for a component of a kind that is not in its table.
func unknownType[V any](at, got string, table map[string]V) error {
	return fmt.Errorf("%s: type %q is not supported, want one of %s", at, got, names(table))
}

// walker steps over well-formed JSON.
type walker struct {
	b []byte
	i int
	s []byte // scratch for strings with escapes
}

// next skips white space and separators and returns the byte after them, 0 at the end.
func (w *walker) next() byte {
	for w.i < len(w.b) {
		switch c := w.b[w.i]; c {
		case ' ', '\t', '\n', '\r', ',', ':':
			w.i++
		default:
			return c
		}
	}
	return 0
}

// object calls f at the value of each key; f must step over the value.
func (w *walker) object(f func(key []byte) error) error {
	if c := w.next(); c != '{' {
		return fmt.Errorf("%s, want an object", jsonKind(c))
	}
	w.i++
	for w.next() != '}' {
		if err := f(w.str()); err != nil {
			return err
		}
	}
	w.i++
	return nil
}

// array calls f at each element; f must step over it.
func (w *walker) array(f func() error) error {
	if c := w.next(); c != '[' {
		return fmt.Errorf("%s, want an array", jsonKind(c))
	}
	w.i++
	for w.next() != ']' {
		if err := f(); err != nil {
			return err
		}
	}
	w.i++
	return nil
}

func jsonKind(c byte) string {
	switch c {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	case 0:
		return "nothing"
	}
	return "a number"
}

// str reads a string; it is valid until the next call.
func (w *walker) str() []byte {
	w.i++
	start := w.i
	for w.b[w.i] != '"' && w.b[w.i] != '\\' {
		w.i++
	}
	if w.b[w.i] == '"' {
		w.i++
		return toValid(w.b[start : w.i-1])
	}
	w.s = append(w.s[:0], w.b[start:w.i]...)
	for w.b[w.i] != '"' {
		c := w.b[w.i]
		w.i++
		if c != '\\' {
			w.s = append(w.s, c)
			continue
		}
		c = w.b[w.i]
		w.i++
		if c == 'u' {
			w.s = utf8.AppendRune(w.s, w.unicode())
			continue
		}
		if at := strings.IndexByte("bfnrt", c); at >= 0 {
			c = "\b\f\n\r\t"[at]
		}
		w.s = append(w.s, c)
	}
	w.i++
	return toValid(w.s)
}

func toValid(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return bytes.ToValidUTF8(b, []byte("\uFFFD"))
}

// unicode reads the digits after \u, and the second half of a surrogate pair.
func (w *walker) unicode() rune {
	r := w.hex4()
	if r < 0xd800 || r >= 0xe000 {
		return r
	}
	if r < 0xdc00 && w.b[w.i] == '\\' && w.b[w.i+1] == 'u' {
		before := w.i
		w.i += 2
		if low := w.hex4(); low >= 0xdc00 && low < 0xe000 {
			return 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
		}
		w.i = before
	}
	return utf8.RuneError
}

func (w *walker) hex4() rune {
	n, _ := strconv.ParseUint(string(w.b[w.i:w.i+4]), 16, 32)
	w.i += 4
	return rune(n)
}

// number is the text of a number.
func (w *walker) number() ([]byte, error) {
	if c := w.next(); c != '-' && (c < '0' || c > '9') {
		return nil, fmt.Errorf("%s, want a number", jsonKind(c))
	}
	start := w.i
	for w.i < len(w.b) && strings.IndexByte("+-.eE0123456789", w.b[w.i]) >= 0 {
		w.i++
	}
	return w.b[start:w.i], nil
}

// wantString is an error unless a string comes next.
func (w *walker) wantString() error {
	if c := w.next(); c != '"' {
		return fmt.Errorf("%s, want a string", jsonKind(c))
	}
	return nil
}

// vocabulary maps tokens to ids and back.
type vocabulary struct {
	ids    map[string]int32
	tokens []string // by id; "" where an id has no token
}

// maxHoles is how many ids may lie unused in a vocabulary; more is taken for a broken file.
const maxHoles = 1 << 20

func (v *vocabulary) id(s string) int32 {
	if id, ok := v.ids[s]; ok {
		return id
	}
	return noToken
}

// readVocabulary reads {"token": id, …}.
func readVocabulary(raw []byte) (*vocabulary, error) {
	n := bytes.Count(raw, []byte{':'})
	arena := newArena(len(raw))
	v := &vocabulary{ids: make(map[string]int32, n)}
	w := walker{b: raw}
	largest := int32(-1)
	err := w.object(func(key []byte) error {
		s := arena.add(key)
		num, err := w.number()
		if err != nil {
			return fmt.Errorf("%q is %w", s, err)
		}
		id, err := strconv.ParseInt(string(num), 10, 32)
		if err != nil || id < 0 || id > int64(n+maxHoles) {
			return fmt.Errorf("%q has id %s, want at least 0 and at most %d", s, num, n+maxHoles)
		}
		v.ids[s] = int32(id)
		largest = max(largest, int32(id))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("vocab: %w", err)
	}
	v.tokens = make([]string, largest+1)
	for s, id := range v.ids {
		if old := v.tokens[id]; old != "" {
			return nil, fmt.Errorf("vocab: %q and %q both have id %d, want one token per id", min(old, s), max(old, s), id)
		}
		v.tokens[id] = s
	}
	return v, nil
}

// readScores reads [["token", log probability], …], where the place is the id.
func readScores(raw []byte) (*vocabulary, []float64, error) {
	arena := newArena(len(raw))
	v := &vocabulary{ids: map[string]int32{}}
	var scores []float64
	w := walker{b: raw}
	err := w.array(func() error {
		n := 0
		err := w.array(func() error {
			n++
			switch n {
			case 1:
				if err := w.wantString(); err != nil {
					return err
				}
				s := arena.add(w.str())
				if _, twice := v.ids[s]; !twice {
					v.ids[s] = int32(len(v.tokens))
				}
				v.tokens = append(v.tokens, s)
				return nil
			case 2:
				num, err := w.number()
				if err != nil {
					return err
				}
				x, err := strconv.ParseFloat(string(num), 64)
				scores = append(scores, x)
				return err
			}
			return fmt.Errorf("more than two values, want a token and its score")
		})
		if err == nil && n < 2 {
			err = fmt.Errorf("%d values, want a token and its score", n)
		}
		if err != nil {
			return fmt.Errorf("[%d]: %w", len(v.tokens), err)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("vocab: %w", err)
	}
	if len(v.tokens) == 0 {
		return nil, nil, fmt.Errorf("vocab: no tokens, want at least one")
	}
	return v, scores, nil
}

// readMerges reads ["a b", …] or [["a", "b"], …]; the arguments of f are valid during the call.
func readMerges(raw []byte, f func(left, right []byte) error) error {
	if isNull(raw) {
		return nil
	}
	w := walker{b: raw}
	n := 0
	var left []byte
	err := w.array(func() error {
		n++
		if w.next() == '"' {
			a, b, ok := bytes.Cut(w.str(), []byte{' '})
			if !ok || bytes.IndexByte(b, ' ') >= 0 {
				return fmt.Errorf("merges[%d]: want two tokens with one space between", n-1)
			}
			return f(a, b)
		}
		k := 0
		err := w.array(func() error {
			if err := w.wantString(); err != nil {
				return err
			}
			s := w.str()
			k++
			switch k {
			case 1:
				left = append(left[:0], s...)
				return nil
			case 2:
				return f(left, s)
			}
			return fmt.Errorf("more than two values, want two tokens")
		})
		if err == nil && k < 2 {
			err = fmt.Errorf("%d values, want two tokens", k)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "merges[") {
			err = fmt.Errorf("merges[%d]: %w", n-1, err)
		}
		return err
	})
	return err
}

// arena keeps many small strings in few large blocks.
type arena struct{ block strings.Builder }

func newArena(size int) *arena {
	a := &arena{}
	a.block.Grow(min(size, 1<<16))
	return a
}

func (a *arena) add(b []byte) string {
	if a.block.Cap()-a.block.Len() < len(b) {
		a.block = strings.Builder{}
		a.block.Grow(max(1<<16, len(b)))
	}
	start := a.block.Len()
	a.block.Write(b)
	return a.block.String()[start:]
}

// skip steps over the value that comes next.
func (w *walker) skip() {
	depth := 0
	for {
		switch c := w.next(); c {
		case 0:
			return
		case '"':
			w.skipString()
		case '{', '[':
			depth++
			w.i++
			continue
		case '}', ']':
			depth--
			w.i++
		default:
			for w.i < len(w.b) && strings.IndexByte(" \t\n\r,:{}[]\"", w.b[w.i]) < 0 {
				w.i++
			}
		}
		if depth == 0 {
			return
		}
	}
}

func (w *walker) skipString() {
	for w.i++; w.b[w.i] != '"'; w.i++ {
		if w.b[w.i] == '\\' {
			w.i++
		}
	}
	w.i++
}

// collector gathers all that is wrong with one thing.
type collector struct{ all []error }

func (c *collector) check(ok bool, format string, args ...any) {
	if !ok {
		c.all = append(c.all, fmt.Errorf(format, args...))
	}
}

func (c *collector) err() error { return errors.Join(c.all...) }
