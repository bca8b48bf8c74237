package data

import (
	"slices"
	"strings"
)

// blank stands where a model is to write; it is cut off again.
const blank = "."

// Prompt is what a model is given to continue a row: all that stands before the last target, or a whole text. The encoder's
// settings must say Predict. Of a row with a source it is what the encoder reads. Empty rows have no prompt.
func (e *Encoder) Prompt(row *Row) ([]int32, error) {
	if e.shape.Name == seq2seq.Name {
		got, err := e.source(row)
		if err != nil || got.Dropped != "" {
			return nil, err
		}
		return got.Examples[0].Source, nil
	}
	if e.shape.Name == "text" {
		text, err := e.textOf(row, "text")
		return append(slices.Clone(e.prefix), e.tok.Encode(text, false).IDs...), err
	}
	r := e.withBlank(row)
	d, err := e.draft(&r)
	if err != nil || d.dropped != "" {
		return nil, err
	}
	var ids []int32
	var weights []float32
	if d.chat != nil {
		ids, weights, err = e.conversation(&r, d.chat)
	} else {
		ids, weights = e.parts(d.parts)
	}
	list := spans(weights)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return ids[:list[len(list)-1].Start], nil
}

// Wanted is what a model should write for a row, where the row says it in a column of its own.
func (e *Encoder) Wanted(row *Row) (text string, ok bool) {
	for i := range e.shape.Columns {
		if c := &e.shape.Columns[i]; c.Target {
			_, v, _ := e.find(row, c)
			text, ok = v.(string)
		}
	}
	return text, ok && strings.TrimSpace(text) != ""
}

// withBlank is the row with something where the model is to write, if there is nothing.
func (e *Encoder) withBlank(row *Row) Row {
	r := *row
	r.Fields = slices.Clone(row.Fields)
	for i := range e.shape.Columns {
		c := &e.shape.Columns[i]
		name, v, ok := e.find(&r, c)
		switch {
		case c.Target && (!ok || v == ""):
			r.Fields = slices.DeleteFunc(r.Fields, func(f Field) bool { return f.Name == name })
			r.Fields = append(r.Fields, Field{name, blank})
		case c.Name == "messages" && ok:
			r.Fields.set(name, answered(v))
		case c.Name == "text" && ok:
			if s, is := v.(string); is && !strings.Contains(s, pairSeparator) {
				r.Fields.set(name, s+pairSeparator+blank)
			}
		}
	}
	return r
}

// set replaces the value of a field.
func (o Object) set(name string, v any) {
	for i := range o {
		if o[i].Name == name {
			o[i].Value = v
		}
	}
}

// answered ends a list of messages with one of the assistant.
func answered(v any) any {
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return v
	}
	last, _ := list[len(list)-1].(Object)
	for _, key := range []string{"role", "from"} {
		switch who, _ := last.Get(key); who {
		case "assistant", "gpt":
			return v
		}
	}
	if _, sharegpt := last.Get("from"); sharegpt {
		return append(slices.Clone(list), Object{{"from", "gpt"}, {"value", blank}})
	}
	return append(slices.Clone(list), Object{{"role", "assistant"}, {"content", blank}})
}
