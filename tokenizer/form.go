package tokenizer

import (
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// form is a Unicode normalisation form. x/text/unicode/norm has the tables, but does not say where a character came
// from; here each character of the result keeps its place, in the way of the reference: a decomposed character shares
// the place of its source, a composed one takes the place of its first part.
type form struct{ compose, compat bool }

func (f form) norm() norm.Form {
	switch {
	case f.compose && f.compat:
		return norm.NFKC
	case f.compose:
		return norm.NFC
	case f.compat:
		return norm.NFKD
	}
	return norm.NFD
}

func (f form) normalize(t *text) {
	if f.norm().IsNormalString(t.s) {
		return
	}
	parts := f.decompose(t.s)
	if f.compose {
		parts = recompose(parts)
	}
	dest := make([]change, len(parts))
	for i, p := range parts {
		dest[i] = p.change
	}
	t.transform(dest, 0)
}

// part is a character of a decomposed text with its combining class.
type part struct {
	change
	class uint8
}

// decompose replaces each character by its full decomposition and puts the marks into canonical order.
func (f form) decompose(s string) []part {
	table := norm.NFD
	if f.compat {
		table = norm.NFKD
	}
	out := make([]part, 0, len(s))
	for i, r := range s {
		n := utf8.RuneLen(r)
		d := table.PropertiesString(s[i : i+n]).Decomposition()
		switch {
		case r >= hangulBase && r < hangulBase+11172:
			out = appendHangul(out, r)
		case len(d) == 0:
			out = append(out, newPart(r, 0))
		default:
			for j, r := range string(d) {
				out = append(out, newPart(r, min(j, 1)))
			}
		}
	}
	sortMarks(out)
	return out
}

func newPart(r rune, delta int) part {
	if r < 0x300 {
		return part{change: change{r, delta}}
	}
	var b [utf8.UTFMax]byte
	n := utf8.EncodeRune(b[:], r)
	return part{change: change{r, delta}, class: norm.NFD.Properties(b[:n]).CCC()}
}

// sortMarks orders each run of marks by class; equal classes keep their order.
func sortMarks(p []part) {
	for i := 1; i < len(p); i++ {
		for j := i; j > 0 && p[j].class != 0 && p[j-1].class > p[j].class; j-- {
			p[j], p[j-1] = p[j-1], p[j]
		}
	}
}

// The Hangul syllables are composed by arithmetic (Unicode, section 3.12).
const (
	hangulBase = 0xac00
	leadBase   = 0x1100
	vowelBase  = 0x1161
	tailBase   = 0x11a7
	numVowel   = 21
	numTail    = 28
	numLead    = 19
)

func appendHangul(out []part, r rune) []part {
	i := r - hangulBase
	out = append(out, newPart(leadBase+i/(numVowel*numTail), 0), newPart(vowelBase+i%(numVowel*numTail)/numTail, 1))
	if tail := i % numTail; tail > 0 {
		out = append(out, newPart(tailBase+tail, 1))
	}
	return out
}

// recompose joins each starter with the marks after it that are not blocked.
func recompose(parts []part) []part {
	out := make([]part, 0, len(parts))
	starter := -1 // index in out of the character that others may join
	last := -1    // class of the last mark kept since the starter, -1 if none
	for _, p := range parts {
		if starter >= 0 && last < int(p.class) {
			if r, ok := composePair(out[starter].r, p.r); ok {
				out[starter].r = r
				out[starter].delta += p.delta - 1
				continue
			}
		}
		out = append(out, p)
		if p.class == 0 {
			starter, last = len(out)-1, -1
			continue
		}
		last = int(p.class)
	}
	return out
}

// composePair is the primary composite of two characters.
func composePair(a, b rune) (rune, bool) {
	if a >= leadBase && a < leadBase+numLead && b >= vowelBase && b < vowelBase+numVowel {
		return hangulBase + ((a-leadBase)*numVowel+(b-vowelBase))*numTail, true
	}
	if a >= hangulBase && a < hangulBase+11172 && (a-hangulBase)%numTail == 0 && b > tailBase && b < tailBase+numTail {
		return a + b - tailBase, true
	}
	s := norm.NFC.String(string([]rune{a, b}))
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s)
}
