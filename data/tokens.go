package data

import (
	"slices"
	"strings"
)

// tokens is the shape of words with a tag each.
var tokens = Shape{
	Name: "tokens", Task: "token-cls",
	Doc: "tokens and tags, one tag a word; a text instead of tokens is parted at its spaces",
	Columns: []Column{
		{Name: "tokens", Names: []string{"tokens", "words", "text"}, Required: true},
		{Name: "tags", Names: []string{"tags", "ner_tags", "labels", "pos_tags", "chunk_tags"}, Required: true, Target: true},
	},
	encode: (*Encoder).tagged,
}

// tagged tokenizes the words one by one. The first token of a word carries its tag, the others and the special tokens
// none. Words behind sequence_len are cut off, whatever is said about overlong, unless rows are to be dropped or refused.
func (e *Encoder) tagged(row *Row) (Encoded, error) {
	words, tags, err := e.words(row)
	if err != nil {
		return Encoded{}, err
	}
	if len(words) == 0 {
		return Encoded{Dropped: "no words"}, nil
	}
	enc := e.pairs.EncodeWords(words, true)
	x := Example{Place: row.Place, IDs: enc.IDs, Types: typesOf(enc.TypeIDs), Tags: make([]int32, len(enc.IDs))}
	names, last, any := []string(nil), int32(-1), false
	for t, w := range enc.Words {
		x.Tags[t] = NoTarget
		if w >= 0 && w != last {
			i := slices.Index(names, tags[w])
			if i < 0 {
				i, names = len(names), append(names, tags[w])
			}
			x.Tags[t], any = int32(i), true
		}
		last = w
	}
	if !any {
		return Encoded{Dropped: "no target"}, nil
	}
	if e.settings.KeepOrigin {
		x.Origin = &Origin{Words: words, Tags: tags, Word: enc.Words}
	}
	return e.fitWords(x, names)
}

// fitWords shortens an example between its special tokens.
func (e *Encoder) fitWords(x Example, names []string) (Encoded, error) {
	out := Encoded{names: names}
	most := e.settings.SequenceLen
	if over := len(x.IDs) - most; most > 0 && over > 0 {
		switch e.overlong {
		case "raise":
			return Encoded{}, x.Errorf("%d tokens, want at most sequence_len %d", len(x.IDs), most)
		case "drop":
			return Encoded{Dropped: "longer than sequence_len"}, nil
		}
		end := len(x.IDs) - e.after // of what may be cut
		if end-over <= 0 {
			return Encoded{}, x.Errorf("sequence_len is %d, want more than the special tokens around a text", most)
		}
		x.IDs, x.Tags = slices.Delete(x.IDs, end-over, end), slices.Delete(x.Tags, end-over, end)
		if x.Types != nil {
			x.Types = slices.Delete(x.Types, end-over, end)
		}
		if x.Origin != nil {
			x.Origin.Word = slices.Delete(slices.Clone(x.Origin.Word), end-over, end)
		}
		if x.Targets() == 0 {
			return Encoded{Dropped: "no target within sequence_len"}, nil
		}
		out.Truncated = true
	}
	out.Examples = []Example{x}
	return out, nil
}

// words reads the columns.
func (e *Encoder) words(row *Row) (words, tags []string, err error) {
	name, v, err := e.value(row, "tokens")
	if err != nil {
		return nil, nil, err
	}
	list, ok := v.([]any)
	if text, whole := v.(string); whole && (name == "text" || e.settings.Predict) {
		words, ok = strings.Fields(text), true
	}
	if !ok {
		return nil, nil, row.Errorf("field %q is %s, want a list of words", name, kind(v))
	}
	for i, w := range list {
		s, ok := w.(string)
		if !ok {
			return nil, nil, row.Errorf("%s[%d] is %s, want a string", name, i, kind(w))
		}
		words = append(words, s)
	}
	if e.settings.Predict {
		return words, slices.Repeat([]string{outside}, len(words)), nil
	}
	column, v, err := e.value(row, "tags")
	if err != nil {
		return nil, nil, err
	}
	if list, ok = v.([]any); !ok {
		return nil, nil, row.Errorf("field %q is %s, want a list of tags", column, kind(v))
	}
	if len(list) != len(words) {
		return nil, nil, row.Errorf("field %q has %d tags, want %d as there are %s", column, len(list), len(words), name)
	}
	for _, v := range list {
		tag, err := e.labelName(row, column, v)
		if err != nil {
			return nil, nil, err
		}
		tags = append(tags, tag)
	}
	return words, tags, nil
}
