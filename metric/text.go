package metric

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The references are Python programs, and what a word is depends on what Python takes for white space, lower case and
// a letter. These are its notions.

// isSpace is Python's str.isspace of one character: Go's notion and the four information separators.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// fields is str.split().
func fields(s string) []string { return strings.FieldsFunc(s, isSpace) }

// squeeze is ' '.join(s.split()).
func squeeze(s string) string { return strings.Join(fields(s), " ") }

// trimRight is str.rstrip().
func trimRight(s string) string { return strings.TrimRightFunc(s, isSpace) }

// lower is str.lower(): the full mapping of Unicode, in which a dotted İ becomes two characters, and a sigma at the end
// of a word another than within.
func lower(s string) string {
	if !strings.ContainsAny(s, "İΣ") {
		return strings.ToLower(s)
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == 'İ':
			b.WriteString("i\u0307")
		case r == 'Σ' && endsWord(s[:i], s[i+len("Σ"):]):
			b.WriteRune('ς')
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// endsWord is Unicode's condition Final_Sigma: a letter with case before and none after, marks and such aside.
func endsWord(before, after string) bool {
	r, _ := utf8.DecodeLastRuneInString(strings.TrimRightFunc(before, ignorable))
	next, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(after, ignorable))
	return cased(r) && !cased(next)
}

// cased is Unicode's property Cased.
func cased(r rune) bool {
	return unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r) ||
		unicode.In(r, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

// ignorable is Unicode's property Case_Ignorable; the marks are those within words, such as apostrophes.
func ignorable(r rune) bool {
	const marks = "'.:·\u0387\u055f\u05f4‘’\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a"
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) || strings.ContainsRune(marks, r)
}

// isWord is \w of Python's re without the underscore.
func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }
