package data

import (
	"errors"
	"strings"
)

// seq2seq is the shape of texts of which another is told: translations, summaries, answers.
var seq2seq = Shape{
	Name: "seq2seq", Task: "seq2seq-lm",
	Doc: "source, which an encoder reads, and target, which is told of it",
	Columns: []Column{
		{Name: "source", Names: []string{"source", "src", "input_text", "document", "article", "dialogue", "prompt", "question", "input", "text"}, Required: true},
		{Name: "target", Names: []string{"target", "tgt", "target_text", "summary", "highlights", "completion", "answer", "output", "response"}, Required: true},
	},
	encode: (*Encoder).sourceAndTarget,
}

// prepareTargets finds how texts end and begin.
func (e *Encoder) prepareTargets() error {
	if e.settings.DecoderStart == nil {
		return errors.New("data: shape \"seq2seq\" wants a model that reads a source: config.json has no decoder_start_token_id")
	}
	eos, ok := e.tok.EOS()
	probe := e.tok.Encode("a", true).IDs
	switch want := e.settings.AddEOS; {
	case want != nil && *want && !ok:
		return errors.New("data: add_eos is true, but the tokenizer has no eos_token")
	case !ok:
		e.notes = append(e.notes, "the tokenizer has no eos_token: targets end without one, so the model does not learn to stop")
	case want == nil || *want:
		if len(probe) == 0 || probe[len(probe)-1] != eos {
			e.eos = eos
		}
	}
	return nil
}

// sourceAndTarget tokenizes both as the tokenizer does by itself, with its special tokens. Source and target have lengths of their own.
func (e *Encoder) sourceAndTarget(row *Row) (Encoded, error) {
	s, err := e.texts(row, "source", "target")
	if err != nil {
		return Encoded{}, err
	}
	switch {
	case strings.TrimSpace(s[0]) == "":
		return Encoded{Dropped: "empty source"}, nil
	case strings.TrimSpace(s[1]) == "":
		return Encoded{Dropped: "empty target"}, nil
	}
	most := e.settings.TargetLen
	if most == 0 {
		most = e.settings.SequenceLen
	}
	x := Example{Place: row.Place}
	source, cutSource, err := e.ended(row, "sequence_len", e.settings.SequenceLen, e.settings.SourcePrefix+s[0])
	if err != nil || source == nil {
		return Encoded{Dropped: "longer than sequence_len"}, err
	}
	target, cutTarget, err := e.ended(row, "target_len", most, s[1])
	if err != nil || target == nil {
		return Encoded{Dropped: "target longer than target_len"}, err
	}
	x.Source = source
	x.IDs = append([]int32{*e.settings.DecoderStart}, target...)
	x.Loss = []Span{{Start: 1, End: int32(len(x.IDs)), Weight: 1}}
	if e.settings.KeepOrigin {
		x.Origin = &Origin{Text: s[0], Golds: s[1:]}
	}
	return Encoded{Examples: []Example{x}, Truncated: cutSource || cutTarget}, nil
}

// ended are the tokens of a text, at most so many (0 = any number), with the end that the tokenizer does not put there itself; nil if
// they are too many and rows of that kind are dropped.
func (e *Encoder) ended(row *Row, key string, most int, text string) (ids []int32, cut bool, err error) {
	if e.eos >= 0 && most > 0 {
		most--
	}
	enc, cut, err := e.within(row, key, most, text)
	if err != nil || enc == nil {
		return nil, false, err
	}
	ids = enc.IDs
	if e.eos >= 0 {
		ids = append(ids, e.eos)
	}
	return ids, cut, nil
}
