package task

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/metric"
)

// outside is the tag of words that no token speaks for.
const outside = "O"

// WordTag is the tag of a word and how probable the model thinks it is.
type WordTag struct {
	Tag         string  `json:"tag"`
	Probability float64 `json:"probability"`
}

// TagWords merges the scores of tokens into tags of words: the first token of a word speaks for it. Words without a token,
// and words that were cut off, are O.
//
//	e               with its Origin
//	scores [T, n]   of the example's tokens
//	names [n]       of the labels
func TagWords(e *data.Example, scores kernel.Mat, names []string) ([]WordTag, error) {
	if e.Origin == nil || len(e.Origin.Word) != scores.Rows || scores.Cols != len(names) {
		return nil, fmt.Errorf("task: %s: scores are [%d, %d], want [%d, %d] for an example that kept its words", e.Place, scores.Rows, scores.Cols, len(e.IDs), len(names))
	}
	tags := make([]WordTag, len(e.Origin.Words))
	for i := range tags {
		tags[i] = WordTag{outside, 1}
	}
	last := int32(-1)
	for t, w := range e.Origin.Word {
		if w >= 0 && w != last {
			p := Softmax(row(scores, t))
			k := best(p)
			tags[w] = WordTag{names[k], p[k]}
		}
		last = w
	}
	return tags, nil
}

// row is row t of m.
func row(m kernel.Mat, t int) []float32 { return m.Data[t*m.Stride : t*m.Stride+m.Cols] }

// EntitySpan is an entity of a text.
type EntitySpan struct {
	Type        string  `json:"type"`
	Text        string  `json:"text"`
	Start       int     `json:"start"` // characters of the text
	End         int     `json:"end"`
	FirstWord   int     `json:"first_word"`
	EndWord     int     `json:"end_word"`    // the word behind the last
	Probability float64 `json:"probability"` // mean of its words
}

// Word is a word of a text, in bytes.
type Word struct{ Start, End int }

// FindEntities joins tagged words to entities, leniently, as metric.Entities does.
//
//	words, tags   one of each word
func FindEntities(text string, words []Word, tags []WordTag) ([]EntitySpan, error) {
	if len(words) != len(tags) {
		return nil, fmt.Errorf("task: %d tags for %d words", len(tags), len(words))
	}
	names := make([]string, len(tags))
	for i, t := range tags {
		names[i] = t.Tag
	}
	found, err := metric.Entities(names)
	if err != nil {
		return nil, err
	}
	var out []EntitySpan
	for _, f := range found {
		from, to := words[f.Start].Start, words[f.End-1].End
		start := utf8.RuneCountInString(text[:from])
		e := EntitySpan{Type: f.Type, Text: text[from:to], Start: start, End: start + utf8.RuneCountInString(text[from:to]), FirstWord: f.Start, EndWord: f.End}
		for _, t := range tags[f.Start:f.End] {
			e.Probability += t.Probability / float64(f.End-f.Start)
		}
		out = append(out, e)
	}
	return out, nil
}

// JoinWords is the text of words with a space between them, and where they stand in it.
func JoinWords(list []string) (text string, words []Word) {
	for i, w := range list {
		if i > 0 {
			text += " "
		}
		words = append(words, Word{len(text), len(text) + len(w)})
		text += w
	}
	return text, words
}

// FindWords finds words in the text that they were cut from, in their order.
func FindWords(text string, list []string) (words []Word, ok bool) {
	at := 0
	for _, w := range list {
		i := strings.Index(text[at:], w)
		if i < 0 {
			return nil, false
		}
		words = append(words, Word{at + i, at + i + len(w)})
		at += i + len(w)
	}
	return words, true
}
