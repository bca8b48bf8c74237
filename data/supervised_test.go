package data

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/tokenizer"
)

// letters makes a token of every letter but spaces: id = the byte. [ is put before a text, ] behind each.
type letters struct{ toy }

func (letters) EncodeWith(o tokenizer.Options, texts ...string) (tokenizer.Encoding, error) {
	room := 1 << 20
	if o.Truncation != nil {
		room = o.Truncation.MaxLength - 1 - len(texts)
	}
	parts := make([]tokenizer.Encoding, len(texts))
	for i, text := range texts {
		parts[i] = spelled(text, int32(i))
	}
	last := &parts[len(parts)-1]
	if len(texts) == 2 {
		if room -= parts[0].Len(); room < 1 {
			return tokenizer.Encoding{}, fmt.Errorf("no room")
		}
	}
	var windows []tokenizer.Encoding
	for from := 0; ; from += room - stride(o) {
		w := put(nil, '[', 0)
		if len(texts) == 2 {
			w = put(appendPart(w, &parts[0], 0, parts[0].Len()), ']', 0)
		}
		end := min(from+room, last.Len())
		w = put(appendPart(w, last, from, end), ']', int32(len(texts)-1))
		windows = append(windows, *w)
		if end == last.Len() {
			break
		}
	}
	windows[0].Overflowing = windows[1:]
	return windows[0], nil
}

func stride(o tokenizer.Options) int {
	if o.Truncation == nil {
		return 0
	}
	return o.Truncation.Stride
}

func spelled(text string, which int32) (e tokenizer.Encoding) {
	for i := range len(text) {
		if text[i] != ' ' {
			e.IDs, e.Offsets = append(e.IDs, int32(text[i])), append(e.Offsets, [2]int{i, i + 1})
			e.TypeIDs, e.Texts, e.Words = append(e.TypeIDs, which), append(e.Texts, which), append(e.Words, 0)
		}
	}
	return e
}

func appendPart(e, p *tokenizer.Encoding, from, to int) *tokenizer.Encoding {
	e.IDs, e.Offsets = append(e.IDs, p.IDs[from:to]...), append(e.Offsets, p.Offsets[from:to]...)
	e.TypeIDs, e.Texts, e.Words = append(e.TypeIDs, p.TypeIDs[from:to]...), append(e.Texts, p.Texts[from:to]...), append(e.Words, p.Words[from:to]...)
	return e
}

func put(e *tokenizer.Encoding, id, typeID int32) *tokenizer.Encoding {
	if e == nil {
		e = &tokenizer.Encoding{}
	}
	e.IDs, e.Offsets = append(e.IDs, id), append(e.Offsets, [2]int{})
	e.TypeIDs, e.Texts, e.Words = append(e.TypeIDs, typeID), append(e.Texts, -1), append(e.Words, -1)
	return e
}

func (letters) EncodeWords(words []string, special bool) tokenizer.Encoding {
	e := put(nil, '[', 0)
	for i, w := range words {
		p := spelled(w, 0)
		for k := range p.Words {
			p.Words[k] = int32(i)
		}
		e = appendPart(e, &p, 0, p.Len())
	}
	return *put(e, ']', 0)
}

func (letters) Encode(text string, special bool) tokenizer.Encoding {
	p := spelled(text, 0)
	if special {
		return *put(appendPart(put(nil, '[', 0), &p, 0, p.Len()), ']', 0)
	}
	return p
}

func supervised(t *testing.T, s Settings, lines ...string) (Set, *Report, error) {
	t.Helper()
	return Build(context.Background(), rowsOf(t, lines...), letters{}, nil, s)
}

// told writes an example as its letters and what is wanted of it.
func told(e *Example) string {
	var b strings.Builder
	for t, id := range e.IDs {
		b.WriteByte(byte(id))
		if e.Tags != nil && e.Tags[t] != NoTarget {
			fmt.Fprint(&b, e.Tags[t])
		}
	}
	if e.Types != nil {
		fmt.Fprint(&b, " ", e.Types)
	}
	if e.Labels != nil {
		fmt.Fprint(&b, " ", e.Labels)
	}
	if e.Answer != nil {
		fmt.Fprint(&b, " ", *e.Answer)
	}
	return b.String()
}

func TestSupervisedShapes(t *testing.T) {
	long := func(s Settings, n int) Settings { s.SequenceLen = n; return s }
	cls, ner, ask := Settings{Task: "seq-cls"}, Settings{Task: "token-cls"}, Settings{Task: "question-answering"}
	with := func(s Settings, change func(*Settings)) Settings { change(&s); return s }
	for _, c := range []struct {
		name   string
		s      Settings
		rows   []string
		want   []string
		labels []string
	}{
		{"names of classes are sorted", cls, []string{`{"text":"ab","label":"x"}`, `{"text":"c","label":"b"}`}, []string{"[ab] [1]", "[c] [0]"}, []string{"b", "x"}},
		{"given names keep their order", with(cls, func(s *Settings) { s.Labels = []string{"x", "b", "z"} }),
			[]string{`{"text":"ab","label":"b"}`, `{"text":"c","label":2}`}, []string{"[ab] [1]", "[c] [2]"}, []string{"x", "b", "z"}},
		{"numbers are sorted as numbers", cls, []string{`{"text":"a","label":10}`, `{"text":"b","label":9}`}, []string{"[a] [1]", "[b] [0]"}, []string{"9", "10"}},
		{"several labels", cls, []string{`{"text":"a","label":["y","x"]}`, `{"text":"b","label":[]}`}, []string{"[a] [1 1]", "[b] [0 0]"}, []string{"x", "y"}},
		{"a number is regressed", cls, []string{`{"text":"a","label":2.5}`, `{"text":"b","label":3}`}, []string{"[a] [2.5]", "[b] [3]"}, nil},
		{"numbers of a table are regressed if wanted", with(cls, func(s *Settings) { s.ProblemType = Regression }), []string{`{"text":"a","label":" 2 "}`}, []string{"[a] [2]"}, nil},
		{"a pair has types", cls, []string{`{"text_a":"ab","text_b":"c","label":1}`}, []string{"[ab]c] [0 0 0 0 1 1] [0]"}, []string{"1"}},
		{"long texts are cut", long(cls, 4), []string{`{"text":"abcdef","label":1}`}, []string{"[ab] [0]"}, []string{"1"}},
		{"tags begin with O and are complete", ner, []string{`{"tokens":["ab","c","d"],"tags":["B-X","O","I-Y"]}`}, []string{"[a1bc0d4]"}, []string{"O", "B-X", "I-X", "B-Y", "I-Y"}},
		{"tags of IOBES", ner, []string{`{"tokens":["a","c"],"ner_tags":["S-X","E-Y"]}`}, []string{"[a2c3]"}, []string{"O", "E-X", "S-X", "E-Y", "S-Y"}},
		{"tags of no entities", ner, []string{`{"tokens":["a","c"],"tags":["VB","DT"]}`}, []string{"[a1c0]"}, []string{"DT", "VB"}},
		{"a word without a token has no tag", ner, []string{`{"tokens":["a"," ","b"],"tags":["O","B-X","B-X"]}`}, []string{"[a0b1]"}, []string{"O", "B-X"}},
		{"words are cut off before the end", long(ner, 4), []string{`{"tokens":["ab","cd"],"tags":["O","B-X"]}`}, []string{"[a0b]"}, []string{"O", "B-X"}},
		{"an answer", ask, []string{`{"question":"q","context":"ab cd e","answers":[{"text":"cd","answer_start":3}]}`}, []string{"[q]abcde] [0 0 0 1 1 1 1 1 1] [5 6]"}, nil},
		{"answers of the other form, in characters", ask, []string{`{"question":"q","context":"é b","answers":{"text":["b"],"answer_start":[2]}}`},
			[]string{"[q]\xc3\xa9b] [0 0 0 1 1 1 1] [5 5]"}, nil},
		{"no answer", ask, []string{`{"question":"q","context":"a","answers":[],"is_impossible":true}`}, []string{"[q]a] [0 0 0 1 1] [0 0]"}, nil},
		{"windows without the answer are left out", with(long(ask, 7), func(s *Settings) { s.Stride = 1 }),
			[]string{`{"question":"q","context":"abcdefg","answers":[{"text":"ef","answer_start":4}]}`}, []string{"[q]efg] [0 0 0 1 1 1 1] [3 4]"}, nil},
		{"windows without the answer train its absence in version 2", with(long(ask, 7), func(s *Settings) { s.Stride = 1 }),
			[]string{`{"question":"q","context":"abcde","answers":[{"text":"d","answer_start":3}],"is_impossible":false}`},
			[]string{"[q]abc] [0 0 0 1 1 1 1] [0 0]", "[q]cde] [0 0 0 1 1 1 1] [4 4]"}, nil},
		{"only the first window", with(long(ask, 7), func(s *Settings) { s.Overlong = "truncate" }),
			[]string{`{"question":"q","context":"abcdefg","answers":[{"text":"b","answer_start":1}]}`, `{"question":"q","context":"abcdefg","answers":[{"text":"g","answer_start":6}]}`},
			[]string{"[q]abc] [0 0 0 1 1 1 1] [4 4]"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, report, err := supervised(t, c.s, c.rows...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range set {
				got = append(got, told(&set[i]))
			}
			if !slices.Equal(got, c.want) || !slices.Equal(report.Labels, c.labels) {
				t.Errorf("examples %q with labels %q, want %q with %q", got, report.Labels, c.want, c.labels)
			}
		})
	}
}

func TestBadSupervision(t *testing.T) {
	cls, ner, ask := Settings{Task: "seq-cls"}, Settings{Task: "token-cls"}, Settings{Task: "question-answering"}
	given := Settings{Task: "seq-cls", Labels: []string{"x", "y"}}
	for _, c := range []struct {
		name string
		s    Settings
		row  string
		want string
	}{
		{"a label that was not given", given, `{"text":"a","label":"z"}`, `data: t.jsonl:1: label "z" is none of the labels x, y`},
		{"a number above the given labels", given, `{"text":"a","label":2}`, `data: t.jsonl:1: field "label" is label 2, want 0 to 1, as there are 2 labels`},
		{"an empty label", cls, `{"text":"a","label":" "}`, `data: t.jsonl:1: field "label" is empty, want a label`},
		{"a label twice", Settings{Task: "seq-cls", Labels: []string{"x", "x"}}, `{"text":"a","label":"x"}`, `data: labels[1] is "x", want another name than those before it`},
		{"a text for a number", Settings{Task: "seq-cls", ProblemType: Regression}, `{"text":"a","label":"b"}`, `data: t.jsonl:1: field "label" is "b", want a number (problem_type is regression)`},
		{"an unknown problem", Settings{ProblemType: "guess"}, `{}`, `data: problem_type is "guess", want one of single_label_classification, multi_label_classification, regression`},
		{"a tag too few", ner, `{"tokens":["a","b"],"tags":["O"]}`, `data: t.jsonl:1: field "tags" has 1 tags, want 2 as there are tokens`},
		{"words that are a text", ner, `{"tokens":"a b","tags":["O"]}`, `data: t.jsonl:1: field "tokens" is a string, want a list of words`},
		{"an answer elsewhere", ask, `{"question":"q","context":"abc","answers":[{"text":"b","answer_start":2}]}`, `data: t.jsonl:1: answer_start is 2, where the context has "c", want "b"`},
		{"an answer behind the end", ask, `{"question":"q","context":"abc","answers":[{"text":"b","answer_start":9}]}`, `data: t.jsonl:1: answer_start is 9, where the context has "", want "b"`},
		{"answers that are a text", ask, `{"question":"q","context":"abc","answers":"b"}`, `data: t.jsonl:1: field "answers" is a string, want answers {text, answer_start}`},
		{"no shape for the task", ner, `{"text":"a","label":"z"}`, `data: t.jsonl:1: columns "text", "label" fit none of the shapes tokens; name the shape and its columns`},
		{"a stride below 0", Settings{Stride: -1}, `{}`, "data: stride is -1, want at least 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := supervised(t, c.s, c.row); err == nil || err.Error() != c.want {
				t.Errorf("Build(%s) = %v, want %s", c.row, err, c.want)
			}
		})
	}
	if _, _, err := Build(context.Background(), rowsOf(t, `{"text":"a","label":1}`), toy{}, nil, cls); err == nil || !strings.Contains(err.Error(), "which this tokenizer cannot encode") {
		t.Errorf("Build with a plain tokenizer = %v", err)
	}
}

func TestBatchesOfSupervision(t *testing.T) {
	set := Set{
		{IDs: []int32{1, 2, 3}, Types: []int32{0, 0, 1}, Labels: []float32{2}, Answer: &[2]int32{1, 2}, Tags: []int32{NoTarget, 4, NoTarget}},
		{IDs: []int32{5, 6}, Labels: []float32{0}, Answer: &[2]int32{0, 0}, Tags: []int32{7, NoTarget}},
		{IDs: []int32{8}, Types: []int32{1}, Labels: []float32{1}, Answer: &[2]int32{0, 0}, Tags: []int32{9}},
	}
	b := set.Batch([]int32{1, 0, 2})
	want := Batch{
		Tokens: []int32{5, 6, 1, 2, 3, 8}, Positions: []int32{0, 1, 0, 1, 2, 0}, Segments: []Segment{{Start: 0, End: 2}, {Start: 2, End: 5}, {Start: 5, End: 6}},
		Targets: []int32{7, NoTarget, NoTarget, 4, NoTarget, 9},
		Types:   []int32{0, 0, 0, 0, 1, 1}, Labels: [][]float32{{0}, {2}, {1}}, Spans: [][2]int32{{0, 0}, {3, 4}, {5, 5}},
	}
	if !reflect.DeepEqual(*b, want) {
		t.Errorf("Batch() = %+v, want %+v", *b, want)
	}
}

func TestFingerprintSeesSupervision(t *testing.T) {
	plain := Example{IDs: []int32{1, 2}}
	seen := map[string]string{Set{plain}.Fingerprint(): "plain"}
	for name, change := range map[string]func(*Example){
		"types":    func(e *Example) { e.Types = []int32{0, 1} },
		"tags":     func(e *Example) { e.Tags = []int32{0, 1} },
		"labels":   func(e *Example) { e.Labels = []float32{0, 1} },
		"answer":   func(e *Example) { e.Answer = &[2]int32{0, 1} },
		"no label": func(e *Example) { e.Labels = []float32{} },
	} {
		e := plain
		change(&e)
		print := Set{e}.Fingerprint()
		if other, is := seen[print]; is {
			t.Errorf("%s and %s have one fingerprint", name, other)
		}
		seen[print] = name
	}
	e := plain
	e.Origin = &Origin{Text: "x"}
	if seen[Set{e}.Fingerprint()] != "plain" {
		t.Error("where an example comes from changes its fingerprint")
	}
}

func TestLabelsOfSeveralSources(t *testing.T) {
	if all := JoinLabels([]string{"b", "y"}, []string{"c", "y"}); !slices.Equal(all, []string{"b", "c", "y"}) {
		t.Errorf("JoinLabels() = %q", all)
	}
	if all := JoinLabels([]string{"O", "B-PER"}, []string{"O", "I-LOC"}); !slices.Equal(all, []string{"O", "B-LOC", "I-LOC", "B-PER", "I-PER"}) {
		t.Errorf("JoinLabels() of tags = %q", all)
	}
}

func TestOriginIsKeptForEvaluation(t *testing.T) {
	set, _, err := supervised(t, Settings{Task: "question-answering", KeepOrigin: true, SequenceLen: 7},
		`{"id":"7","question":"q","context":"abcde","answers":[{"text":"e","answer_start":4},{"text":"de","answer_start":3}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if o := set[0].Origin; len(set) != 2 || o.ID != "7" || o.Text != "abcde" || !slices.Equal(o.Golds, []string{"e", "de"}) ||
		!slices.Equal(o.Offsets, [][2]int32{{-1, -1}, {-1, -1}, {-1, -1}, {0, 1}, {1, 2}, {2, 3}, {-1, -1}}) {
		t.Errorf("%d windows, origin %+v", len(set), set[0].Origin)
	}
	if train := set.Training(); len(train) != 1 || *train[0].Answer != [2]int32{4, 4} {
		t.Errorf("Training() = %+v, want the window with the answer", train)
	}
}
