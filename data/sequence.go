package data

import (
	"fmt"

	"github.com/graft-ml/graft/tokenizer"
)

// PairTokenizer is what the shapes of encoders need of a tokenizer beside Tokenizer. Safe for concurrent use.
type PairTokenizer interface {
	EncodeWith(o tokenizer.Options, texts ...string) (tokenizer.Encoding, error)
	EncodeWords(words []string, special bool) tokenizer.Encoding
}

// Origin is where the tokens of an example come from, for reading predictions back. Which fields are set depends on the
// shape.
type Origin struct {
	ID      string     // of a question; its windows share it
	Text    string     // that was classified, or the context of a question, or the source
	Words   []string   // that were tagged
	Tags    []string   // of Words, as the data have them
	Golds   []string   // right answers; none where there is none; the target of a source
	Word    []int32    // [tokens]: index into Words; −1 = none
	Offsets [][2]int32 // [tokens]: bytes of Text that the token covers; {−1, −1} outside the context
}

// whole encodes a text or a pair for a model that reads all of it at once. enc is nil if it is too long and is to be
// dropped; cut tells that its end was cut off.
func (e *Encoder) whole(row *Row, texts ...string) (enc *tokenizer.Encoding, cut bool, err error) {
	return e.within(row, "sequence_len", e.settings.SequenceLen, texts...)
}

// within is whole for at most so many tokens, 0 = any number.
func (e *Encoder) within(row *Row, key string, most int, texts ...string) (enc *tokenizer.Encoding, cut bool, err error) {
	got, err := e.pairs.EncodeWith(tokenizer.Options{Special: true}, texts...)
	if err != nil {
		return nil, false, row.Errorf("%w", err)
	}
	if most == 0 || got.Len() <= most {
		return &got, false, nil
	}
	switch e.overlong {
	case "drop":
		return nil, false, nil
	case "raise":
		return nil, false, row.Errorf("%d tokens, want at most %s %d", got.Len(), key, most)
	}
	got, err = e.pairs.EncodeWith(tokenizer.Options{Special: true, Truncation: &tokenizer.Truncation{MaxLength: most}}, texts...)
	if err != nil {
		return nil, false, row.Errorf("%w", err)
	}
	return &got, true, nil
}

// windows are the encodings of a text, or of a question with parts of its context, that fit: several where what does not fit
// is split. out is what became of the row so far.
func (e *Encoder) windows(row *Row, texts ...string) (list []tokenizer.Encoding, out Encoded, err error) {
	o := tokenizer.Options{Special: true}
	if most := e.settings.SequenceLen; most > 0 && !e.settings.Concatenate {
		o.Truncation = &tokenizer.Truncation{MaxLength: most, Stride: e.settings.Stride}
		if len(texts) == 2 {
			o.Truncation.Strategy = "OnlySecond"
		}
	}
	first, err := e.pairs.EncodeWith(o, texts...)
	if err != nil { // the settings are in order, so what comes before is too long
		return nil, Encoded{Dropped: "question leaves no room for the context"}, nil
	}
	list = append([]tokenizer.Encoding{first}, first.Overflowing...)
	if len(list) > 1 {
		switch e.overlong {
		case "drop":
			return nil, Encoded{Dropped: "longer than sequence_len"}, nil
		case "raise":
			return nil, out, row.Errorf("more than sequence_len %d tokens", e.settings.SequenceLen)
		case "truncate":
			list, out.Truncated = list[:1], true
		}
	}
	return list, out, nil
}

// typesOf are the token types, nil if all are 0.
func typesOf(types []int32) []int32 {
	for _, t := range types {
		if t != 0 {
			return types
		}
	}
	return nil
}

// prepareSequence finds what shapes of encoders need.
func (e *Encoder) prepareSequence(first *Row) error {
	var ok bool
	if e.pairs, ok = e.tok.(PairTokenizer); !ok {
		return fmt.Errorf("data: shape is %q, which this tokenizer cannot encode", e.shape.Name)
	}
	if e.shape.Name == seq2seq.Name {
		return e.prepareTargets()
	}
	if e.shape.Name == classification.Name {
		e.setProblem(first)
	}
	return nil
}

// setProblem finds what kind of labels the rows have.
func (e *Encoder) setProblem(first *Row) {
	if e.problem = e.settings.ProblemType; e.problem == "" {
		e.problem = problemOf(e.drafter, first)
	}
}
