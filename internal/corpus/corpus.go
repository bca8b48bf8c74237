// Package corpus writes the text that graft's own small base model is pretrained on, and the task that the quickstart
// fine-tunes it for. All words are ours; the same seed gives the same bytes.
//
// A text is made from a pattern: a sentence or more in which {name} stands for a word drawn from the list of that name,
// the same word wherever the same {name} stands again in the text. {name.2} is a second, different draw, and
// {Name} is the word with a capital letter.
//
//	g := corpus.New(1)
//	fmt.Println(g.Text()) // one text of a kind drawn by weight
//
// The kinds of text are rows of the table Kinds.
package corpus

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Generator draws texts. Not safe for concurrent use.
type Generator struct {
	rng   *rand.Rand
	total int
}

// New returns a generator; equal seeds draw equal texts.
func New(seed uint64) *Generator {
	g := &Generator{rng: rand.New(rand.NewPCG(seed, 0x67726166743a2122))}
	for _, k := range Kinds {
		g.total += k.Weight
	}
	return g
}

// Kind is one sort of text.
type Kind struct {
	Name   string
	Weight int // how often it is drawn, relative to the others
	Write  func(g *Generator) string
}

// Text draws a kind by its weight and writes one text of it, without a final line end.
func (g *Generator) Text() string {
	n := g.rng.IntN(g.total)
	for _, k := range Kinds {
		if n -= k.Weight; n < 0 {
			return k.Write(g)
		}
	}
	panic("corpus: weights do not add up")
}

// scene remembers which word each placeholder of one text stands for.
type scene struct {
	g    *Generator
	word map[string]string
}

func (g *Generator) scene() *scene { return &scene{g: g, word: map[string]string{}} }

// pick draws one of the patterns and fills it.
func (s *scene) pick(patterns []string) string { return s.fill(patterns[s.g.rng.IntN(len(patterns))]) }

// fill replaces the placeholders of a pattern.
func (s *scene) fill(pattern string) string {
	var b strings.Builder
	for {
		open := strings.IndexByte(pattern, '{')
		if open < 0 {
			b.WriteString(pattern)
			return b.String()
		}
		end := open + strings.IndexByte(pattern[open:], '}')
		b.WriteString(pattern[:open])
		b.WriteString(s.lookup(pattern[open+1 : end]))
		pattern = pattern[end+1:]
	}
}

// lookup returns the word of a placeholder, drawing it at its first use.
func (s *scene) lookup(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	if unicode.IsUpper(first) {
		w := s.lookup(string(unicode.ToLower(first)) + name[size:])
		r, n := utf8.DecodeRuneInString(w)
		return string(unicode.ToUpper(r)) + w[n:]
	}
	if w, ok := s.word[name]; ok {
		return w
	}
	list, number, _ := strings.Cut(name, ".")
	words, ok := Words[list]
	if !ok {
		panic(fmt.Sprintf("corpus: no list of words %q", list))
	}
	for {
		w := words[s.g.rng.IntN(len(words))]
		if number != "" && s.taken(list, w) {
			continue
		}
		s.word[name] = w
		return w
	}
}

// taken says whether another placeholder of the same list already stands for w.
func (s *scene) taken(list, w string) bool {
	for _, number := range []string{"", ".2", ".3", ".4"} {
		if s.word[list+number] == w {
			return true
		}
	}
	return false
}

// several joins n texts of patterns with blanks.
func (s *scene) several(n int, patterns []string) string {
	order := s.g.rng.Perm(len(patterns))
	parts := make([]string, 0, n)
	for _, i := range order[:min(n, len(order))] {
		parts = append(parts, s.fill(patterns[i]))
	}
	return strings.Join(parts, " ")
}

// chance is true p times in 100.
func (g *Generator) chance(p int) bool { return g.rng.IntN(100) < p }

// between draws a number from lo to hi, both included.
func (g *Generator) between(lo, hi int) int { return lo + g.rng.IntN(hi-lo+1) }
