package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// scanner is a hand-written form of one of the regular expressions that most byte-level tokenizers use; a test holds
// each to its expression. end returns where the word that starts at i ends: these expressions leave no gaps.
type scanner struct{ end func(s string, i int) int }

func (p scanner) find(s string, dst []match) []match {
	for i := 0; i < len(s); {
		j := p.end(s, i)
		dst = append(dst, match{i, j})
		i = j
	}
	return dst
}

const (
	gpt2Expression   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Expression = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Expression  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

var gpt2Words = scanner{endGPT2}

var scanners = map[string]scanner{
	gpt2Expression:   gpt2Words,
	llama3Expression: {func(s string, i int) int { return endLlama3(s, i, 3) }},
	qwen2Expression:  {func(s string, i int) int { return endLlama3(s, i, 1) }},
}

// kind is the class of a character.
type kind uint8

const (
	other kind = iota
	letter
	number
	space
)

var asciiKinds = makeASCIIKinds()

func makeASCIIKinds() (table [utf8.RuneSelf]kind) {
	for r := range rune(utf8.RuneSelf) {
		table[r] = kindOf(r)
	}
	return table
}

func kindOf(r rune) kind {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// kindAt is the class of the character at s[i] and its length.
func kindAt(s string, i int) (kind, int) {
	if c := s[i]; c < utf8.RuneSelf {
		return asciiKinds[c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return kindOf(r), n
}

// run is the end of the run of class k at i, at most limit characters long.
func run(s string, i int, k kind, limit int) int {
	for ; i < len(s) && limit > 0; limit-- {
		if c := s[i]; c < utf8.RuneSelf {
			if asciiKinds[c] != k {
				return i
			}
			i++
			continue
		}
		got, n := kindAt(s, i)
		if got != k {
			return i
		}
		i += n
	}
	return i
}

const noLimit = 1 << 62

// contraction is the length of 's, 't, 're, 've, 'm, 'll or 'd at s[i], or 0. Folding takes capitals too, and the long
// s, which folds to s.
func contraction(s string, i int, fold bool) int {
	if s[i] != '\'' || i+1 >= len(s) {
		return 0
	}
	lower := func(c byte) byte {
		if fold && c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	c := lower(s[i+1])
	switch c {
	case 's', 't', 'm', 'd':
		return 2
	case 0xc5:
		if fold && i+2 < len(s) && s[i+2] == 0xbf {
			return 3
		}
	}
	if i+2 < len(s) {
		switch d := lower(s[i+2]); {
		case c == 'r' && d == 'e', c == 'v' && d == 'e', c == 'l' && d == 'l':
			return 3
		}
	}
	return 0
}

// endSpaces is `\s+(?!\S)|\s+`: a run of spaces leaves its last one to the word that follows.
func endSpaces(s string, i int) int {
	end := run(s, i, space, noLimit)
	if end == len(s) {
		return end
	}
	_, n := utf8.DecodeLastRuneInString(s[i:end])
	if end-n > i {
		return end - n
	}
	return end
}

func endGPT2(s string, i int) int {
	if n := contraction(s, i, false); n > 0 {
		return i + n
	}
	j := i
	if s[j] == ' ' && j+1 < len(s) {
		j++
	}
	if k, n := kindAt(s, j); k != space {
		return run(s, j+n, k, noLimit)
	}
	return endSpaces(s, i)
}

func endLlama3(s string, i, digits int) int {
	if n := contraction(s, i, true); n > 0 {
		return i + n
	}
	k, n := kindAt(s, i)
	if k == letter {
		return run(s, i+n, letter, noLimit)
	}
	if k != number && s[i] != '\r' && s[i] != '\n' && i+n < len(s) {
		if next, m := kindAt(s, i+n); next == letter {
			return run(s, i+n+m, letter, noLimit)
		}
	}
	if k == number {
		return run(s, i+n, number, digits-1)
	}
	j := i
	if s[i] == ' ' && i+1 < len(s) {
		j++
	}
	if k, m := kindAt(s, j); k == other {
		j = run(s, j+m, other, noLimit)
		for j < len(s) && (s[j] == '\r' || s[j] == '\n') {
			j++
		}
		return j
	}
	end := run(s, i, space, noLimit)
	for j := end - 1; j >= i; j-- {
		if s[j] == '\r' || s[j] == '\n' {
			return j + 1
		}
	}
	return endSpaces(s, i)
}
