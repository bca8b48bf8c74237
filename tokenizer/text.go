package tokenizer

import (
	"unicode/utf8"
)

// span is a range of bytes of the original text.
type span struct{ start, end int32 }

// text is a piece of the input on its way through normaliser and pre-tokeniser. Each byte of s knows which bytes of the
// original it came from: align[i] is the range of the whole original character behind byte i. While nothing has
// changed, align is nil and byte i is byte base+i of the original.
type text struct {
	s     string
	align []span
	base  int32
	id    int32 // the added token that this piece is, or noToken
	bytes bool  // s still holds raw bytes that the model reads as their byte-level letters
}

const noToken = -1

// at is the range of the original character behind byte i.
func (t *text) at(i int) span {
	if t.align != nil {
		return t.align[i]
	}
	a := i
	for a > 0 && !utf8.RuneStart(t.s[a]) {
		a--
	}
	_, n := utf8.DecodeRuneInString(t.s[a:])
	return span{t.base + int32(a), t.base + int32(a+n)}
}

// slice is the piece s[a:b]; it shares memory with t.
func (t *text) slice(a, b int) text {
	p := text{s: t.s[a:b], base: t.base + int32(a), id: noToken, bytes: t.bytes}
	if t.align != nil {
		p.align = t.align[a:b]
		if a < b {
			p.base = t.align[a].start
		}
	}
	return p
}

// original is the range of the original text behind s[a:b].
func (t *text) original(a, b int) (start, end int32) {
	if a >= b {
		return t.base + int32(a), t.base + int32(a)
	}
	if t.align == nil {
		return t.base + int32(a), t.base + int32(b)
	}
	return t.align[a].start, t.align[b-1].end
}

// change is one character of a rewritten text. delta says how it lines up with the characters it replaces: 0 stands
// for the next one, +1 is new and shares the place of the one before, -n stands for the next one and swallows n more.
type change struct {
	r     rune
	delta int
}

// transform replaces s by the characters of dest, after dropping the first skip characters.
func (t *text) transform(dest []change, skip int) {
	src, offset := t.s, 0
	next := func() {
		if offset < len(src) {
			_, n := utf8.DecodeRuneInString(src[offset:])
			offset += n
		}
	}
	for range skip {
		next()
	}
	out := make([]byte, 0, len(src)+len(dest)/4)
	align := make([]span, 0, len(src)+len(dest)/4)
	for _, c := range dest {
		sp := span{t.base, t.base}
		switch {
		case c.delta > 0 && offset > 0:
			sp = t.at(offset - 1)
		case c.delta <= 0 && offset < len(src):
			sp = t.at(offset)
		case c.delta <= 0 && len(src) > 0:
			sp = t.at(len(src) - 1)
		}
		n := len(out)
		out = utf8.AppendRune(out, c.r)
		for ; n < len(out); n++ {
			align = append(align, sp)
		}
		if c.delta <= 0 {
			for range 1 - c.delta {
				next()
			}
		}
	}
	t.s, t.align = string(out), align
}

// keep drops the characters that f refuses.
func (t *text) keep(f func(rune) bool) {
	drop := false
	for _, r := range t.s {
		if !f(r) {
			drop = true
			break
		}
	}
	if !drop {
		return
	}
	out := make([]byte, 0, len(t.s))
	align := make([]span, 0, len(t.s))
	for i, r := range t.s {
		if !f(r) {
			continue
		}
		sp := t.at(i)
		for range utf8.RuneLen(r) {
			align = append(align, sp)
		}
		out = utf8.AppendRune(out, r)
	}
	t.s, t.align = string(out), align
}

// rewrite replaces each character by what f appends for it, all of it at the place of the character.
func (t *text) rewrite(f func(out []byte, r rune) []byte) {
	out := make([]byte, 0, len(t.s)+len(t.s)/4)
	align := make([]span, 0, len(t.s)+len(t.s)/4)
	for i, r := range t.s {
		sp := t.at(i)
		out = f(out, r)
		for len(align) < len(out) {
			align = append(align, sp)
		}
	}
	t.s, t.align = string(out), align
}

// prepend puts p before a text that is not empty; it takes the place of the first character.
func (t *text) prepend(p string) {
	if t.s != "" {
		t.prependAt(p, t.at(0))
	}
}

// prependAt puts p before a text, at a given place.
func (t *text) prependAt(p string, first span) {
	align := make([]span, 0, len(p)+len(t.s))
	for range len(p) {
		align = append(align, first)
	}
	for i := range len(t.s) {
		align = append(align, t.at(i))
	}
	t.s, t.align = p+t.s, align
}

// replace puts content in the place of each match; its letters take the place of the last character matched.
func (t *text) replace(p pattern, content string) {
	var buf [64]match
	found := p.find(t.s, buf[:0])
	if len(found) == 0 {
		return
	}
	if len(content) == 1 && t.align == nil && singleBytes(found) {
		t.swap(found, content[0])
		return
	}
	out := make([]byte, 0, len(t.s)+len(found)*len(content))
	align := make([]span, 0, len(t.s)+len(found)*len(content))
	last := 0
	copyTo := func(end int) {
		for i := last; i < end; i++ {
			align = append(align, t.at(i))
		}
		out = append(out, t.s[last:end]...)
	}
	for _, m := range found {
		copyTo(m.start)
		sp := span{t.base, t.base}
		if m.end > 0 {
			sp = t.at(m.end - 1)
		}
		for range len(content) {
			align = append(align, sp)
		}
		out = append(out, content...)
		last = m.end
	}
	copyTo(len(t.s))
	t.s, t.align = string(out), align
}

// singleBytes reports whether every match is one byte long.
func singleBytes(found []match) bool {
	for _, m := range found {
		if m.end-m.start != 1 {
			return false
		}
	}
	return true
}

// swap puts the byte c at each match of one byte; nothing moves.
func (t *text) swap(found []match, c byte) {
	out := []byte(t.s)
	for _, m := range found {
		out[m.start] = c
	}
	t.s = string(out)
}
