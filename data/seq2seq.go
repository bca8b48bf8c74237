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
		{Name: "target", Names: []string{"target", "tgt", "target_text", "summary", "highlights", "completion", "answer", "output", "response"}, Required: true, Target: true},
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
// With Settings.Predict the target is not looked at.
func (e *Encoder) sourceAndTarget(row *Row) (Encoded, error) {
	got, err := e.source(row)
	if err != nil || got.Dropped != "" || e.settings.Predict {
		return got, err
	}
	text, err := e.textOf(row, "target")
	switch {
	case err != nil:
		return Encoded{}, err
	case strings.TrimSpace(text) == "":
		return Encoded{Dropped: "empty target"}, nil
	}
	most := e.settings.TargetLen
	if most == 0 {
		most = e.settings.SequenceLen
	}
	target, cut, err := e.ended(row, "target_len", most, text)
	if err != nil || target == nil {
		return Encoded{Dropped: "target longer than target_len"}, err
	}
	x := &got.Examples[0]
	x.IDs = append(x.IDs, target...)
	x.Loss = []Span{{Start: 1, End: int32(len(x.IDs)), Weight: 1}}
	if x.Origin != nil {
		x.Origin.Golds = []string{text}
	}
	got.Truncated = got.Truncated || cut
	return got, nil
}

// source is an example of which only the source is known, and the token with which every target begins.
func (e *Encoder) source(row *Row) (Encoded, error) {
	text, err := e.textOf(row, "source")
	switch {
	case err != nil:
		return Encoded{}, err
	case strings.TrimSpace(text) == "":
		return Encoded{Dropped: "empty source"}, nil
	}
	ids, cut, err := e.ended(row, "sequence_len", e.settings.SequenceLen, e.settings.SourcePrefix+text)
	if err != nil || ids == nil {
		return Encoded{Dropped: "longer than sequence_len"}, err
	}
	x := Example{Place: row.Place, Source: ids, IDs: []int32{*e.settings.DecoderStart}}
	if e.settings.KeepOrigin {
		x.Origin = &Origin{Text: text}
	}
	return Encoded{Examples: []Example{x}, Truncated: cut}, nil
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
