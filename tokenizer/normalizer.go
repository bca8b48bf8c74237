package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// normalizer rewrites a piece of text before it is cut into words.
type normalizer interface{ normalize(t *text) }

// normalizerJSON holds the keys of every kind of normaliser.
type normalizerJSON struct {
	Type        string            `json:"type"`
	Normalizers []json.RawMessage `json:"normalizers"`

	CleanText          *bool `json:"clean_text"`
	HandleChineseChars *bool `json:"handle_chinese_chars"`
	StripAccents       *bool `json:"strip_accents"`
	Lowercase          *bool `json:"lowercase"`

	StripLeft  *bool        `json:"strip_left"`
	StripRight *bool        `json:"strip_right"`
	Prepend    string       `json:"prepend"`
	Pattern    *patternJSON `json:"pattern"`
	Content    string       `json:"content"`

	PrecompiledCharsmap []byte `json:"precompiled_charsmap"`
}

// normalizers is the table of kinds.
var normalizers = map[string]func(j *normalizerJSON) (normalizer, error){
	"BertNormalizer": newBertNormalizer,
	"NFC":            func(*normalizerJSON) (normalizer, error) { return form{compose: true}, nil },
	"NFD":            func(*normalizerJSON) (normalizer, error) { return form{}, nil },
	"NFKC":           func(*normalizerJSON) (normalizer, error) { return form{compose: true, compat: true}, nil },
	"NFKD":           func(*normalizerJSON) (normalizer, error) { return form{compat: true}, nil },
	"Lowercase":      func(*normalizerJSON) (normalizer, error) { return each(lowercase), nil },
	"StripAccents": func(*normalizerJSON) (normalizer, error) {
		return each(func(t *text) { t.keep(func(r rune) bool { return !unicode.Is(unicode.M, r) }) }), nil
	},
	"Strip": func(j *normalizerJSON) (normalizer, error) {
		return strip{left: isTrue(j.StripLeft, false), right: isTrue(j.StripRight, false)}, nil
	},
	"Prepend": func(j *normalizerJSON) (normalizer, error) {
		return each(func(t *text) { t.prepend(j.Prepend) }), nil
	},
	"Replace": func(j *normalizerJSON) (normalizer, error) {
		p, err := j.Pattern.compile()
		return each(func(t *text) { t.replace(p, j.Content) }), err
	},
	"Precompiled": func(j *normalizerJSON) (normalizer, error) { return newCharsmap(j.PrecompiledCharsmap) },
	"Nmt":         func(*normalizerJSON) (normalizer, error) { return each(nmt), nil },
	"ByteLevel": func(*normalizerJSON) (normalizer, error) {
		return each(func(t *text) { t.rewrite(appendByteLetters) }), nil
	},
}

// newNormalizer builds a normaliser; null means none.
func newNormalizer(raw json.RawMessage, at string) (normalizer, error) {
	if isNull(raw) {
		return nil, nil
	}
	var j normalizerJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if j.Type == "Sequence" {
		var seq normalizerSequence
		for i, raw := range j.Normalizers {
			n, err := newNormalizer(raw, fmt.Sprintf("%s.normalizers[%d]", at, i))
			if err != nil {
				return nil, err
			}
			if n != nil {
				seq = append(seq, n)
			}
		}
		return seq, nil
	}
	build, ok := normalizers[j.Type]
	if !ok {
		return nil, unknownType(at, j.Type, normalizers)
	}
	n, err := build(&j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return n, nil
}

type normalizerSequence []normalizer

func (s normalizerSequence) normalize(t *text) {
	for _, n := range s {
		n.normalize(t)
	}
}

// each is a normaliser without settings of its own.
type each func(t *text)

func (f each) normalize(t *text) { f(t) }

// strip drops white space at the ends.
type strip struct{ left, right bool }

func (n strip) normalize(t *text) {
	a, b := 0, len(t.s)
	if n.left {
		a = b - len(strings.TrimLeftFunc(t.s, unicode.IsSpace))
	}
	if n.right {
		b = a + len(strings.TrimRightFunc(t.s[a:], unicode.IsSpace))
	}
	*t = t.slice(a, b)
}

// lowercase uses the full mapping, where one letter becomes two.
func lowercase(t *text) {
	if lower, ok := lowerASCII(t.s); ok {
		t.s = lower
		return
	}
	t.rewrite(func(out []byte, r rune) []byte {
		if r == 'İ' {
			return append(out, "i̇"...)
		}
		return utf8.AppendRune(out, unicode.ToLower(r))
	})
}

// lowerASCII lower-cases a string of ASCII; ok is false for others.
func lowerASCII(s string) (lower string, ok bool) {
	upper := false
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return "", false
		}
		upper = upper || s[i]-'A' < 26
	}
	if !upper {
		return s, true
	}
	return strings.ToLower(s), true
}

// nmt drops controls and makes a space of everything that looks like one.
func nmt(t *text) {
	t.keep(func(r rune) bool {
		return !(r >= 1 && r <= 8 || r == 0x0b || r >= 0x0e && r <= 0x1f || r == 0x7f || r == 0x8f || r == 0x9f)
	})
	t.rewrite(func(out []byte, r rune) []byte {
		switch {
		case r == 9, r == 10, r == 12, r == 13, r == 0x1680, r >= 0x200b && r <= 0x200f, r == 0x2028, r == 0x2029,
			r == 0x2581, r == 0xfeff, r == 0xfffd:
			r = ' '
		}
		return utf8.AppendRune(out, r)
	})
}

// bertNormalizer is the first half of Google's BasicTokenizer.
type bertNormalizer struct{ clean, chinese, stripAccents, lower bool }

func newBertNormalizer(j *normalizerJSON) (normalizer, error) {
	n := bertNormalizer{clean: isTrue(j.CleanText, true), chinese: isTrue(j.HandleChineseChars, true), lower: isTrue(j.Lowercase, true)}
	n.stripAccents = isTrue(j.StripAccents, n.lower)
	return n, nil
}

func (n bertNormalizer) normalize(t *text) {
	if n.plain(t) {
		return
	}
	if n.clean {
		t.keep(func(r rune) bool { return r != 0 && r != utf8.RuneError && !isBertControl(r) })
		t.rewrite(func(out []byte, r rune) []byte {
			if isBertSpace(r) {
				r = ' '
			}
			return utf8.AppendRune(out, r)
		})
	}
	if n.chinese {
		t.rewrite(func(out []byte, r rune) []byte {
			if !isChinese(r) {
				return utf8.AppendRune(out, r)
			}
			return append(utf8.AppendRune(append(out, ' '), r), ' ')
		})
	}
	if n.stripAccents {
		form{}.normalize(t)
		t.keep(func(r rune) bool { return !unicode.Is(unicode.Mn, r) })
	}
	if n.lower {
		lowercase(t)
	}
}

// plain does all the work for ASCII without controls, where nothing moves.
func (n bertNormalizer) plain(t *text) bool {
	for i := range len(t.s) {
		if c := t.s[i]; c >= 0x7f || c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	if n.lower {
		t.s, _ = lowerASCII(t.s)
	}
	return true
}

func isBertControl(r rune) bool {
	return r != '\t' && r != '\n' && r != '\r' && unicode.Is(unicode.C, r)
}

func isBertSpace(r rune) bool { return r == '\t' || r == '\n' || r == '\r' || unicode.IsSpace(r) }

// isChinese is the list of ranges of the reference, its gap at U+2B820 included.
func isChinese(r rune) bool {
	switch {
	case r >= 0x4e00 && r <= 0x9fff, r >= 0x3400 && r <= 0x4dbf, r >= 0x20000 && r <= 0x2a6df, r >= 0x2a700 && r <= 0x2b73f,
		r >= 0x2b740 && r <= 0x2b81f, r >= 0x2b920 && r <= 0x2ceaf, r >= 0xf900 && r <= 0xfaff, r >= 0x2f800 && r <= 0x2fa1f:
		return true
	}
	return false
}

func isTrue(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}
