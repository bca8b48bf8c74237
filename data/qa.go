package data

import (
	"strings"
	"unicode/utf8"

	"github.com/graft-ml/graft/tokenizer"
)

// qa is the shape of questions whose answers stand in a context: SQuAD's.
var qa = Shape{
	Name: "qa", Task: "question-answering",
	Doc: "question, context, answers {text, answer_start}; SQuAD's columns, of either version",
	Columns: []Column{
		{Name: "question", Names: []string{"question"}, Required: true},
		{Name: "context", Names: []string{"context"}, Required: true},
		{Name: "answers", Names: []string{"answers", "answer"}},
		{Name: "impossible", Names: []string{"is_impossible"}},
		{Name: "id", Names: []string{"id"}},
	},
	split:  true,
	encode: (*Encoder).question,
}

// answer is a text and where it stands in the context, in bytes.
type answer struct {
	text       string
	start, end int
}

// question puts the question before as much of the context as sequence_len leaves room for; the rest comes in further
// windows, each of which shares Settings.Stride tokens with the one before. With overlong = "truncate" only the first
// window is used.
//
// A window trains the first token of the answer and the last. Windows without the answer are left out; of a question
// that may have none (version 2: it has is_impossible, or no answers), they train the first row of the sequence.
// Settings.KeepOrigin keeps all windows, for evaluation has to look into each; Set.Training leaves out those again.
func (e *Encoder) question(row *Row) (Encoded, error) {
	s, err := e.texts(row, "question", "context")
	if err != nil {
		return Encoded{}, err
	}
	answers, null, err := e.answers(row, s[1])
	if err != nil {
		return Encoded{}, err
	}
	windows, out, err := e.windows(row, strings.TrimLeft(s[0], " \t\n"), s[1])
	if err != nil || out.Dropped != "" {
		return out, err
	}
	origin := e.origin(row, s[1], answers)
	for i := range windows {
		w := &windows[i]
		x := Example{Place: row.Place, IDs: w.IDs, Types: typesOf(w.TypeIDs), Answer: &[2]int32{}}
		found := false
		if len(answers) > 0 {
			*x.Answer, found = within(w, answers[0])
		}
		if e.settings.KeepOrigin {
			o := *origin
			o.Offsets = contextOffsets(w)
			x.Origin = &o
		}
		x.Unused = !found && !null
		if !x.Unused || e.settings.KeepOrigin {
			out.Examples = append(out.Examples, x)
		}
	}
	if len(out.Examples) == 0 {
		return Encoded{Dropped: "no answer within sequence_len"}, nil
	}
	return out, nil
}

// within finds the tokens of an answer in a window.
func within(w *tokenizer.Encoding, a answer) (at [2]int32, found bool) {
	start, end := -1, -1
	for t, o := range w.Offsets {
		if w.Texts[t] != 1 {
			continue
		}
		if start < 0 && o[0] <= a.start && a.start < o[1] {
			start = t
		}
		if end < 0 && o[0] < a.end && a.end <= o[1] {
			end = t
		}
	}
	if start < 0 || end < start {
		return at, false
	}
	return [2]int32{int32(start), int32(end)}, true
}

// contextOffsets are the bytes of the context that each token covers.
func contextOffsets(w *tokenizer.Encoding) [][2]int32 {
	out := make([][2]int32, len(w.Offsets))
	for t, o := range w.Offsets {
		out[t] = [2]int32{-1, -1}
		if w.Texts[t] == 1 {
			out[t] = [2]int32{int32(o[0]), int32(o[1])}
		}
	}
	return out
}

func (e *Encoder) origin(row *Row, context string, answers []answer) *Origin {
	o := &Origin{Text: context}
	if _, v, _ := e.value(row, "id"); v != nil {
		o.ID, _ = v.(string)
	}
	for _, a := range answers {
		o.Golds = append(o.Golds, a.text)
	}
	return o
}

// answers reads [{text, answer_start}], or {text: […], answer_start: […]}. null tells that the question may have none.
func (e *Encoder) answers(row *Row, context string) (list []answer, null bool, err error) {
	_, impossible, _ := e.value(row, "impossible")
	null = impossible != nil
	name, v, err := e.value(row, "answers")
	if err != nil || v == nil || impossible == true {
		return nil, true, err
	}
	pairs, err := answerPairs(row, name, v)
	if err != nil {
		return nil, null, err
	}
	for _, p := range pairs {
		a, err := locate(row, context, p)
		if err != nil {
			return nil, null, err
		}
		list = append(list, a)
	}
	return list, null || len(list) == 0, nil
}

// answerPair is an answer as the data have it.
type answerPair struct {
	text  string
	start int64 // in characters
}

func answerPairs(row *Row, name string, v any) (pairs []answerPair, err error) {
	var texts, starts []any
	switch v := v.(type) {
	case []any:
		for i, x := range v {
			o, ok := x.(Object)
			if !ok {
				return nil, row.Errorf("%s[%d] is %s, want {text, answer_start}", name, i, kind(x))
			}
			text, _ := o.Get("text")
			start, _ := o.Get("answer_start")
			texts, starts = append(texts, text), append(starts, start)
		}
	case Object:
		t, _ := v.Get("text")
		s, _ := v.Get("answer_start")
		var ok1, ok2 bool
		texts, ok1 = t.([]any)
		starts, ok2 = s.([]any)
		if !ok1 || !ok2 || len(texts) != len(starts) {
			return nil, row.Errorf("field %q is an object, want lists text and answer_start of equal lengths", name)
		}
	default:
		return nil, row.Errorf("field %q is %s, want answers {text, answer_start}", name, kind(v))
	}
	for i := range texts {
		text, ok1 := texts[i].(string)
		start, ok2 := starts[i].(int64)
		if !ok1 || !ok2 || text == "" {
			return nil, row.Errorf("%s[%d] has text %s and answer_start %s, want a text and a whole number", name, i, kind(texts[i]), kind(starts[i]))
		}
		pairs = append(pairs, answerPair{text, start})
	}
	return pairs, nil
}

// locate turns a place in characters into one in bytes, and checks what stands there.
func locate(row *Row, context string, p answerPair) (answer, error) {
	at := 0
	for n := int64(0); n < p.start && at < len(context); n++ {
		_, size := utf8.DecodeRuneInString(context[at:])
		at += size
	}
	if p.start < 0 || !strings.HasPrefix(context[at:], p.text) {
		return answer{}, row.Errorf("answer_start is %d, where the context has %s, want %s", p.start, excerpt(context[at:]), excerpt(p.text))
	}
	return answer{p.text, at, at + len(p.text)}, nil
}
