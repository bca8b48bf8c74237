package metric

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// A bleuTokenizer splits text by setting spaces into it.
type bleuTokenizer struct {
	name string
	cut  func(line string) string
}

// bleuTokenizers are sacrebleu's that need no model.
var bleuTokenizers = []bleuTokenizer{
	{"13a", tokenize13a},
	{"none", func(line string) string { return line }},
	{"zh", tokenizeZh},
	{"char", tokenizeChar},
	{"intl", func(line string) string { return intl.apply(line) }},
}

// bleuTokenizerNamed finds a tokenizer.
func bleuTokenizerNamed(name string) (bleuTokenizer, error) {
	var names []string
	for _, t := range bleuTokenizers {
		if t.name == name {
			return t, nil
		}
		names = append(names, t.name)
	}
	return bleuTokenizer{}, fmt.Errorf("metric: BLEU: tokenize is %q, want one of %s", name, strings.Join(names, ", "))
}

// rewriting is a list of replacements, done one after the other.
type rewriting []rewrite

type rewrite struct {
	from *regexp.Regexp
	to   string
}

// western cuts off punctuation and symbols of ASCII, but leaves periods, commas and dashes within numbers and words.
var western = rewriting{
	{regexp.MustCompile("([{-~\\[-` -&(-+:-@/])"), " $1 "},
	{regexp.MustCompile(`([^0-9])([.,])`), "$1 $2 "},
	{regexp.MustCompile(`([.,])([^0-9])`), " $1 $2"},
	{regexp.MustCompile(`([0-9])(-)`), "$1 $2 "},
}

// intl cuts off punctuation that is not between digits, and all symbols: mteval-v14's international tokenisation.
var intl = rewriting{
	{regexp.MustCompile(`(\P{N})(\p{P})`), "$1 $2 "},
	{regexp.MustCompile(`(\p{P})(\P{N})`), " $1 $2"},
	{regexp.MustCompile(`(\p{S})`), " $1 "},
}

func (r rewriting) apply(line string) string {
	for _, w := range r {
		line = w.from.ReplaceAllString(line, w.to)
	}
	return squeeze(line)
}

// tokenize13a is the tokenisation of mteval-v13a, which WMT used.
func tokenize13a(line string) string {
	for _, w := range [...][2]string{{"<skipped>", ""}, {"-\n", ""}, {"\n", " "},
		{"&quot;", `"`}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}} { // in this order: "&amp;lt;" becomes "<"
		line = strings.ReplaceAll(line, w[0], w[1])
	}
	return western.apply(" " + line + " ")
}

// tokenizeChar sets a space between all characters.
func tokenizeChar(line string) string {
	var b strings.Builder
	b.Grow(2 * len(line))
	for i, r := range line {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// tokenizeZh makes each Chinese character a word, and cuts the rest as Western text.
func tokenizeZh(line string) string {
	var b strings.Builder
	for _, r := range strings.TrimFunc(line, isSpace) {
		if unicode.Is(chinese, r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		} else {
			b.WriteRune(r)
		}
	}
	return western.apply(b.String())
}

// chinese is what sacrebleu takes for Chinese. It means extension B (20000 to 2A6D6) and the compatibility supplement
// (2F800 to 2FA1D), but writes their bounds with too few digits, which makes them 2001 to 2A6D, with the dashes and
// quotation marks in them, and 2F81 to 2FA1. Scores are comparable only if we do, too.
var chinese = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x2001, Hi: 0x2a6d, Stride: 1}, // see above; has 2600 to 27bf, symbols, in it
	{Lo: 0x2e80, Hi: 0x2eff, Stride: 1}, // radicals supplement
	{Lo: 0x2f00, Hi: 0x2fdf, Stride: 1}, // Kangxi radicals
	{Lo: 0x2ff0, Hi: 0x303f, Stride: 1}, // description characters, punctuation
	{Lo: 0x3100, Hi: 0x312f, Stride: 1}, // Bopomofo
	{Lo: 0x31a0, Hi: 0x31bf, Stride: 1}, // Bopomofo extended
	{Lo: 0x31c0, Hi: 0x31ef, Stride: 1}, // strokes
	{Lo: 0x3200, Hi: 0x33ff, Stride: 1}, // enclosed letters, compatibility
	{Lo: 0x3400, Hi: 0x4db5, Stride: 1}, // extension A
	{Lo: 0x4e00, Hi: 0x9fbb, Stride: 1}, // unified ideographs
	{Lo: 0xf900, Hi: 0xfa2d, Stride: 1}, // compatibility ideographs
	{Lo: 0xfa30, Hi: 0xfa6a, Stride: 1},
	{Lo: 0xfa70, Hi: 0xfad9, Stride: 1},
	{Lo: 0xfe10, Hi: 0xfe1f, Stride: 1}, // vertical forms
	{Lo: 0xfe30, Hi: 0xfe4f, Stride: 1}, // compatibility forms
	{Lo: 0xff00, Hi: 0xffef, Stride: 1}, // full and half width forms
}}
