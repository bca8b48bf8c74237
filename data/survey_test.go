package data

import (
	"context"
	"slices"
	"testing"
)

func TestLook(t *testing.T) {
	for _, c := range []struct {
		name    string
		s       Settings
		rows    []string
		problem string
		labels  []string
		values  int
	}{
		{"classes are sorted", Settings{Task: "seq-cls"}, []string{`{"text":"a","label":"y"}`, `{"text":"b","label":"n"}`, `{"text":"c","label":"y"}`}, SingleLabel, []string{"n", "y"}, 1},
		{"numbers are sorted by value", Settings{Task: "seq-cls"}, []string{`{"text":"a","label":10}`, `{"text":"b","label":9}`}, SingleLabel, []string{"9", "10"}, 1},
		{"sets", Settings{Task: "seq-cls"}, []string{`{"text":"a","label":["y","x"]}`, `{"text":"b","label":[]}`}, MultiLabel, []string{"x", "y"}, 2},
		{"values", Settings{Task: "seq-cls"}, []string{`{"text":"a","label":1.5}`}, Regression, nil, 1},
		{"tags are completed", Settings{Task: "token-cls"}, []string{`{"tokens":["a","b"],"tags":["I-PER","B-LOC"]}`}, "", []string{"O", "B-LOC", "I-LOC", "B-PER", "I-PER"}, 0},
		{"bad rows are left to Build", Settings{Task: "seq-cls"}, []string{`{"text":"a","label":"y"}`, `{"text":"b"}`, `{"text":"c","label":"n"}`}, SingleLabel, []string{"n", "y"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Look(rowsOf(t, c.rows...), c.s)
			if err != nil || got.Problem != c.problem || !slices.Equal(got.Labels, c.labels) || got.Values != c.values {
				t.Errorf("Look() = %+v, %v; want %s, %q, %d values", got, err, c.problem, c.labels, c.values)
			}
		})
	}
	if _, err := Look(rowsOf(t, `{"foo":1}`), Settings{Task: "seq-cls"}); err == nil {
		t.Error("rows of no shape are no error")
	}
}

func TestTaskOf(t *testing.T) {
	for text, want := range map[string]string{
		`{"text":"a","label":1}`: "seq-cls", `{"tokens":["a"],"tags":["O"]}`: "token-cls", `{"question":"a","context":"b","answers":[]}`: "question-answering",
		`{"text":"a"}`: "masked-lm", `{"prompt":"a","completion":"b"}`: "seq2seq-lm", `{"foo":1}`: "",
	} {
		for row := range rowsOf(t, text) {
			if got := TaskOf(&row, nil); got != want {
				t.Errorf("TaskOf(%s) = %q, want %q", text, got, want)
			}
		}
	}
	for _, s := range Shapes {
		if got := ShapeTask(s.Name); got != s.Task {
			t.Errorf("ShapeTask(%q) = %q, want %q", s.Name, got, s.Task)
		}
		if s.Task != "" && !slices.Contains(ShapesFor(s.Task), s.Name) {
			t.Errorf("ShapesFor(%q) lacks %q", s.Task, s.Name)
		}
	}
}

func TestEveryNthRowOrParagraph(t *testing.T) {
	rows := setOf(1, 1, 1, 1, 1, 1, 1)
	for i := range rows {
		rows[i].Ordinal = i
	}
	ordinals := func(s Set) (list []int) {
		for i := range s {
			list = append(list, s[i].Ordinal)
		}
		return list
	}
	if train, eval := rows.Every(3); !slices.Equal(ordinals(eval), []int{2, 5}) || !slices.Equal(ordinals(train), []int{0, 1, 3, 4, 6}) {
		t.Errorf("Every(3) = %v, %v", ordinals(train), ordinals(eval))
	}
	for i := range rows {
		rows[i].Part = 1 + i/2 // two questions a paragraph
	}
	if _, eval := rows.Every(2); !slices.Equal(ordinals(eval), []int{2, 3, 6}) {
		t.Errorf("Every(2) by paragraphs = %v", ordinals(eval))
	}
}

// TestPrompts gives rows of every shape without what is to be predicted.
func TestPrompts(t *testing.T) {
	for _, c := range []struct {
		name, shape, row, want string
	}{
		{"a prompt", "", `{"prompt":"ab"}`, "<ab"},
		{"a prompt whose completion is known", "", `{"prompt":"ab","completion":"xyz"}`, "<ab"},
		{"an instruction", "instruction", `{"instruction":"ab"}`, "<ab\n"},
		{"a context", "context_target", `{"text":"ab"}`, "<ab||"},
		{"a context with its target", "", `{"text":"ab||cd"}`, "<ab||"},
		{"a text", "text", `{"text":"ab"}`, "<ab"},
		{"a chat", "", `{"messages":[{"role":"user","content":"hi"}]}`, "user:hi;assistant:"},
		{"a chat that was answered", "", `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"},{"role":"user","content":"so"}]}`, "user:hi;assistant:yo;user:so;assistant:"},
		{"sharegpt", "", `{"conversations":[{"from":"human","value":"hi"}]}`, "user:hi;assistant:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for row := range rowsOf(t, c.row) {
				e, err := NewEncoder(toy{}, plainChat{}, Settings{Shape: c.shape, Template: "plain", Predict: true}, &row)
				if err != nil {
					t.Fatal(err)
				}
				ids, err := e.Prompt(&row)
				if got := show(&Example{IDs: ids}); err != nil || got != c.want {
					t.Errorf("Prompt(%s) = %q, %v; want %q", c.row, got, err, c.want)
				}
			}
		})
	}
}

// TestPredictNeedsNoLabels encodes rows that only a model reads.
func TestPredictNeedsNoLabels(t *testing.T) {
	for task, row := range map[string]string{"seq-cls": `{"text":"ab"}`, "token-cls": `{"text":"a b"}`, "question-answering": `{"question":"a","context":"b"}`} {
		set, _, err := Build(context.Background(), rowsOf(t, row), letters{}, nil, Settings{Task: task, Predict: true, KeepOrigin: true})
		if err != nil || len(set) != 1 || set[0].Labels != nil {
			t.Errorf("%s: Build(%s) = %+v, %v; want an example without labels", task, row, set, err)
		}
		if task == "token-cls" && !slices.Equal(set[0].Origin.Words, []string{"a", "b"}) {
			t.Errorf("words are %q, want the text's", set[0].Origin.Words)
		}
	}
}
