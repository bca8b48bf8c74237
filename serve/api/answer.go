package api

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/graft-ml/graft/serve"
	"github.com/graft-ml/graft/tokenizer"
)

// piece is what one step adds to a choice: text that is certain now, with the tokens that it took.
type piece struct {
	choice int
	text   string
	tokens []serve.Token
	last   *ending // of the last piece
}

// ending is how a choice ended.
type ending struct {
	result serve.Result
	reason string // stop or length
	halted bool   // by a stop string
	err    error
}

// teller turns the tokens of one choice into text as they come. Bytes that are no whole character yet, and the beginnings of stop
// strings, wait with their tokens until it is clear what they are. Not safe for concurrent use.
type teller struct {
	choice  int
	decoder *tokenizer.Decoder
	ends    []int32 // tokens that are no text
	stop    []string
	held    string
	waiting []serve.Token
	count   int
	halted  bool
}

func (s *Server) newTeller(j *job, choice int) *teller {
	t := &teller{choice: choice, decoder: s.Tokenizer.NewDecoder(!j.special), ends: j.options.EOS, stop: j.stop}
	if j.goesOn {
		s.begin(t.decoder, j.prompts[choice/j.n].ids)
	}
	return t
}

// begin has a decoder know that text comes before, so that the space before a first word is not left out: with a token of the prompt that is
// whole text by itself.
func (s *Server) begin(d *tokenizer.Decoder, prompt []int32) {
	for i := len(prompt) - 1; i >= 0; i-- {
		text := s.Tokenizer.Piece(prompt[i])
		if text != "" && !s.Tokenizer.Special(prompt[i]) && !strings.ContainsRune(text, utf8.RuneError) {
			d.Next(prompt[i])
			return
		}
	}
}

// next takes a token and gives what is certain; false says that a stop string was reached.
func (t *teller) next(tok serve.Token) (piece, bool) {
	t.count++
	t.waiting = append(t.waiting, tok)
	if !slices.Contains(t.ends, tok.ID) {
		t.held += t.decoder.Next(tok.ID)
	}
	return t.give(false), !t.halted
}

// end gives the rest.
func (t *teller) end() piece {
	if !t.halted {
		t.held += t.decoder.Flush()
	}
	return t.give(true)
}

// give cuts what is certain off what is held.
func (t *teller) give(all bool) piece {
	p := piece{choice: t.choice}
	if t.halted {
		if all {
			p.tokens, t.waiting = t.waiting, nil
		}
		return p
	}
	if at := firstOf(t.held, t.stop); at >= 0 {
		t.halted = true
		p.text, t.held = t.held[:at], ""
	} else {
		keep := 0
		if !all {
			keep = begun(t.held, t.stop)
		}
		p.text = t.held[:len(t.held)-keep]
		t.held = t.held[len(p.text):]
	}
	if all || p.text != "" {
		p.tokens, t.waiting = t.waiting, nil
	}
	return p
}

// firstOf is where the first stop string begins; negative if there is none.
func firstOf(text string, stop []string) int {
	first := -1
	for _, w := range stop {
		if i := strings.Index(text, w); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	return first
}

// begun is the length of the longest end of a text with which a stop string may have begun.
func begun(text string, stop []string) (most int) {
	for _, w := range stop {
		for n := min(len(w)-1, len(text)); n > most; n-- {
			if strings.HasSuffix(text, w[:n]) {
				most = n
				break
			}
		}
	}
	return most
}
