package metric

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
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

// lower is str.lower(): the full mapping, with the final sigma and the dotted I.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return cases.Lower(language.Und).String(s) // a Caser has state, so each call makes its own
		}
	}
	return strings.ToLower(s)
}

// isWord is \w of Python's re without the underscore.
func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }
