package tokenizer

import "unicode/utf8"

// Byte-level tokenizers write each byte as a printable letter: printable Latin-1 stands for itself, the other 68 bytes
// are U+0100 and up, in order ("Ġ" is a space).
var (
	byteLetters = makeByteLetters() // byte -> letter
	letterBytes = makeLetterBytes() // letter -> byte + 1, 0 for letters that stand for no byte
)

const maxByteLetter = 0x100 + 68

func makeByteLetters() (table [256]rune) {
	next := rune(0x100)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			table[b] = b
			continue
		}
		table[b] = next
		next++
	}
	return table
}

func makeLetterBytes() (table [maxByteLetter]uint16) {
	for b, r := range makeByteLetters() {
		table[r] = uint16(b) + 1
	}
	return table
}

// appendByteLetters writes the bytes of r as letters.
func appendByteLetters(out []byte, r rune) []byte {
	var b [utf8.UTFMax]byte
	for _, c := range b[:utf8.EncodeRune(b[:], r)] {
		out = utf8.AppendRune(out, byteLetters[c])
	}
	return out
}

// appendLetterBytes undoes appendByteLetters for a whole token; ok is false if some letter stands for no byte.
func appendLetterBytes(out []byte, token string) (_ []byte, ok bool) {
	for _, r := range token {
		if int(r) >= len(letterBytes) || letterBytes[r] == 0 {
			return out, false
		}
		out = append(out, byte(letterBytes[r]-1))
	}
	return out, true
}

// byteLevel is GPT-2's pre-tokeniser. The pieces keep their raw bytes and are marked; a model that does not know bytes
// has them written as letters first (text.letters).
type byteLevel struct{ prefix, regex bool }

func (p byteLevel) split(t *text, dst []text) []text {
	piece := *t
	piece.letters() // bytes that were made letters before are letters now
	if p.prefix && piece.s != "" && piece.s[0] != ' ' {
		start := piece.at(0).start
		piece.prependAt(" ", span{start, start}) // unlike other prefixes, it stands for nothing
	}
	piece.bytes = true
	if !p.regex {
		return appendPiece(dst, &piece, 0, len(piece.s))
	}
	return cut{gpt2Words, isolated, false}.split(&piece, dst)
}

// letters writes the bytes of a marked piece as letters.
func (t *text) letters() {
	if t.bytes {
		t.bytes = false
		t.rewrite(appendByteLetters)
	}
}
