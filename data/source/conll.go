package source

import (
	"bytes"
	"io"
	"regexp"
	"strings"

	"github.com/graft-ml/graft/data"
)

// documentStart is a line of CoNLL 2003 that is no sentence.
const documentStart = "-DOCSTART-"

// readCoNLL reads sentences of a word a line, parted by blank lines: the first column is the word, the last its tag.
// Columns are parted by tabs where a line has one, else by spaces. A word of two letters and a colon before every word of
// the first sentence, as WikiANN has its language (en:Paris), is taken off. Reading goes on after a bad sentence.
func readCoNLL(x *file, yield func(data.Row, error) bool) {
	s := sentences{file: x}
	var buf []byte
	for {
		line, err := x.next(buf)
		if err != nil && err != io.EOF {
			yield(data.Row{}, x.errorf(x.line+1, "%w", cause(err)))
			return
		}
		if err == io.EOF {
			s.flush(yield)
			return
		}
		buf = line
		text := strings.TrimPrefix(string(line), byteOrderMark)
		if strings.TrimSpace(text) == "" {
			if !s.flush(yield) {
				return
			}
			continue
		}
		s.add(line, text)
	}
}

// sentences collects the lines of a sentence.
type sentences struct {
	*file
	words, tags []any
	start, row  int
	bad         error // the first of the sentence
	begun       bool  // the first sentence is through
	prefix      string
}

func (s *sentences) add(line []byte, text string) {
	if len(s.words) == 0 && s.bad == nil {
		s.start = s.line
	}
	fields := strings.Fields(text)
	if strings.Contains(text, "\t") {
		fields = strings.Split(text, "\t")
	}
	last := strings.TrimSpace(fields[len(fields)-1])
	switch {
	case s.bad != nil:
	case firstBad(line) >= 0:
		s.bad = s.errorf(s.line, "%w", checkUTF8(line))
	case fields[0] == documentStart:
	case len(fields) < 2 || last == "" || strings.TrimSpace(fields[0]) == "":
		s.bad = s.errorf(s.line, "%d columns in %q, want a word and its tag", len(strings.Fields(text)), text)
	default:
		s.words, s.tags = append(s.words, fields[0]), append(s.tags, last)
	}
}

// flush gives the sentence.
func (s *sentences) flush(yield func(data.Row, error) bool) bool {
	words, tags, bad := s.words, s.tags, s.bad
	s.words, s.tags, s.bad = nil, nil, nil
	if bad != nil {
		s.row++
		return yield(data.Row{Place: s.place(s.start, s.row)}, bad)
	}
	if len(words) == 0 {
		return true
	}
	if !s.begun {
		s.begun, s.prefix = true, languageOf(words)
	}
	for i, w := range words {
		words[i] = strings.TrimPrefix(w.(string), s.prefix)
	}
	s.row++
	return yield(data.Row{Place: s.place(s.start, s.row), Fields: data.Object{{Name: "tokens", Value: words}, {Name: "tags", Value: tags}}}, nil)
}

var languagePrefix = regexp.MustCompile(`^[a-z]{2,3}(-[a-z]+)?:`)

// languageOf is the prefix that all words share, or "".
func languageOf(words []any) string {
	prefix := languagePrefix.FindString(words[0].(string))
	for _, w := range words {
		if !strings.HasPrefix(w.(string), prefix) {
			return ""
		}
	}
	return prefix
}

var tagged = regexp.MustCompile(`^\S+(\t|\s.*\s| )(O|[BIELSU]-\S+)\s*$`)

// looksTagged tells whether all whole lines of a text's beginning are of words and tags.
func looksTagged(head []byte) bool {
	lines := bytes.Split(head, []byte("\n"))
	n := 0
	for _, line := range lines[:len(lines)-1] {
		switch line = bytes.TrimSpace(line); {
		case len(line) == 0:
		case !tagged.Match(line):
			return false
		default:
			n++
		}
	}
	return n >= 2
}
