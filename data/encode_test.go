package data

import (
	"context"
	"slices"
	"strings"
	"testing"
)

func TestShapes(t *testing.T) {
	yes, no := true, false
	const chat = `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}`
	for _, c := range []struct {
		name, row string
		s         Settings
		want      string
	}{
		{"text is trained whole", `{"text":"abc"}`, Settings{}, "<[abc>]"},
		{"a prompt is masked", `{"prompt":"ab","completion":"cd"}`, Settings{}, "<ab[cd>]"},
		{"a prompt is trained if wanted", `{"prompt":"ab","completion":"cd"}`, Settings{TrainOnPrompt: true}, "<[abcd>]"},
		{"a separator belongs to the prompt", `{"question":"ab","answer":"cd"}`, Settings{Separator: "="}, "<ab=[cd>]"},
		{"eos can be left out", `{"prompt":"ab","completion":"cd"}`, Settings{AddEOS: &no}, "<ab[cd]"},
		{"bos can be left out", `{"prompt":"ab","completion":"cd"}`, Settings{AddBOS: &no}, "ab[cd>]"},
		{"bos is not put in twice", `{"prompt":"ab","completion":"cd"}`, Settings{AddBOS: &yes, AddEOS: &yes}, "<ab[cd>]"},
		{"columns can be named", `{"q":"ab","prompt":"xy","a":"cd"}`, Settings{Columns: map[string]string{"prompt": "q", "completion": "a"}}, "<ab[cd>]"},
		{"context||target keeps the separator and strips the target", `{"text":"ab||  cd "}`, Settings{}, "<ab||[cd>]"},
		{"a text with || is a text if it is called so", `{"text":"a||b"}`, Settings{Shape: "text"}, "<[a||b>]"},
		{"instruction without input", `{"instruction":"ab","input":"","output":"cd"}`, Settings{Template: "plain"}, "<ab\n[cd>]"},
		{"instruction with input", `{"instruction":"ab","input":"x","output":"cd"}`, Settings{Template: "plain"}, "<ab\nx\n[cd>]"},
		{"instruction with history and system", `{"instruction":"ab","output":"cd","system":"s","history":[["q","a"]]}`, Settings{Template: "plain"}, "<s\n\nq\n[a]\n\nab\n[cd>]"},
		{"only the last answer", `{"instruction":"ab","output":"cd","history":[["q","a"]]}`, Settings{Template: "plain", TrainOn: "last"}, "<q\na\n\nab\n[cd>]"},
		{"alpaca's text", `{"instruction":"ab","output":"cd"}`, Settings{Template: "alpaca"},
			"<Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nab\n\n### Response:\n[cd>]"},
		{"alpaca's text with input", `{"instruction":"ab","input":"x","output":"cd"}`, Settings{Template: "alpaca"},
			"<Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nab\n\n### Input:\nx\n\n### Response:\n[cd>]"},
		{"instruction as a chat", `{"instruction":"ab","input":"x","output":"cd"}`, Settings{System: "s"}, "system:s;user:ab\nx;assistant:[cd;]"},
		{"assistants are trained", chat, Settings{}, "user:a;assistant:[b;]user:c;assistant:[d;]"},
		{"the last assistant is trained", chat, Settings{TrainOn: "last"}, "user:a;assistant:b;user:c;assistant:[d;]"},
		{"everything is trained if wanted", chat, Settings{TrainOnPrompt: true}, "u[ser:a;assistant:b;user:c;assistant:d;]"},
		{"messages may say whether they are trained", `{"messages":[{"role":"user","content":"a","train":true},{"role":"assistant","content":"b","train":false},{"role":"assistant","content":"c","weight":0},{"role":"assistant","content":"d","train":null}]}`,
			Settings{}, "user:[a;]assistant:b;assistant:c;assistant:[d;]"},
		{"sharegpt", `{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"system":"s"}`, Settings{}, "system:s;user:a;assistant:[b;]"},
		{"sharegpt's function calls", `{"conversations":[{"from":"human","value":"a"},{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{}}"},{"from":"observation","value":"o"},{"from":"gpt","value":"b"}],"tools":"[{\"name\":\"f\"}]"}`,
			Settings{}, "tools1;user:a;assistant:[tool_calls,;]tool:o;assistant:[b;]"},
		{"roles can be mapped", `{"messages":[{"role":"q","content":"a"},{"role":"bot","content":"b"}]}`, Settings{Roles: map[string]string{"q": "user", "bot": "assistant"}}, "user:a;assistant:[b;]"},
		{"content in parts", `{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]},{"role":"assistant","content":"b","name":null}]}`, Settings{}, "user:xy;assistant:[b;]"},
		{"a chat ends with eos only if wanted", `{"messages":[{"role":"assistant","content":"b"}]}`, Settings{AddEOS: &yes}, "assistant:[b;>]"},
		{"truncation is at the end", `{"prompt":"ab","completion":"cdefg"}`, Settings{SequenceLen: 5, Overlong: "truncate"}, "<ab[cd]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, _ := build(t, c.s, c.row)
			if got := show(&set[0]); len(set) != 1 || got != c.want {
				t.Errorf("Build(%s, %+v) = %q (%d examples), want %q", c.row, c.s, got, len(set), c.want)
			}
		})
	}
}

func TestWeights(t *testing.T) {
	set, _ := build(t, Settings{}, `{"messages":[{"role":"assistant","content":"b","weight":0.5},{"role":"assistant","content":"d"}]}`)
	want := []Span{{10, 12, 0.5}, {22, 24, 1}}
	if !slices.Equal(set[0].Loss, want) {
		t.Errorf("Loss = %v, want %v", set[0].Loss, want)
	}
	b := set.Batch([]int32{0})
	for i, w := range []float32{9: 0.5, 10: 0.5, 21: 1, 22: 1, 23: 0} {
		if b.Weights[i] != w || (w > 0) != (b.Targets[i] != NoTarget) {
			t.Errorf("row %d has target %d of weight %g, want weight %g", i, b.Targets[i], b.Weights[i], w)
		}
	}
}

func TestBoundary(t *testing.T) {
	two := toy{width: 2}
	id := func(s string) int32 { return two.Encode(s, false).IDs[0] }
	row := `{"prompt":"abc","completion":"def"}`
	for _, c := range []struct {
		name string
		s    Settings
		ids  []int32
		loss []Span
	}{
		{"a token that reaches into the target belongs to it", Settings{}, []int32{1, id("ab"), id("cd"), id("ef"), 2}, []Span{{2, 5, 1}}},
		{"parts apart begin their tokens anew", Settings{Boundary: "separate"}, []int32{1, id("ab"), id("c"), id("de"), id("f"), 2}, []Span{{3, 6, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, _, err := Build(context.Background(), rowsOf(t, row), two, nil, c.s)
			if err != nil || !slices.Equal(set[0].IDs, c.ids) || !slices.Equal(set[0].Loss, c.loss) {
				t.Errorf("Build = %v, %v; want %v, %v", set, err, c.ids, c.loss)
			}
		})
	}
	t.Run("a token without bytes belongs to the part before it", func(t *testing.T) {
		parts := []Part{{"ab ", 0}, {"cd", 1}, {" e", 0}}
		for _, c := range []struct {
			start, end int
			want       float32
		}{{0, 2, 0}, {3, 3, 0}, {3, 5, 1}, {2, 4, 1}, {5, 5, 1}, {6, 7, 0}, {0, 0, 0}} {
			if got := weightAt(parts, c.start, c.end); got != c.want {
				t.Errorf("weightAt(%d, %d) = %g, want %g", c.start, c.end, got, c.want)
			}
		}
	})
	t.Run("a tokenizer that ends texts itself ends them once", func(t *testing.T) {
		set, _, err := Build(context.Background(), rowsOf(t, row), toy{ends: true}, nil, Settings{})
		if err != nil || show(&set[0]) != "<abc[def>]" {
			t.Errorf("Build = %q, %v, want <abc[def>]", show(&set[0]), err)
		}
	})
}

func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Settings
		want []string
	}{
		{"each window begins with bos", Settings{SequenceLen: 4}, []string{"<[abc]", "<[def]", "<[gh>]", "<[xy>]"}},
		{"windows without bos lose their first target", Settings{SequenceLen: 4, AddBOS: new(bool)}, []string{"a[bcd]", "e[fgh]", "x[y>]"}},
		{"texts end to end", Settings{SequenceLen: 4, Concatenate: true}, []string{"<[abc]", "d[efg]", "h[><x]", "y[>]"}},
		{"truncated", Settings{SequenceLen: 4, Overlong: "truncate"}, []string{"<[abc]", "<[xy>]"}},
		{"dropped", Settings{SequenceLen: 4, Overlong: "drop"}, []string{"<[xy>]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, _ := build(t, c.s, `{"text":"abcdefgh"}`, `{"text":"xy"}`)
			var got []string
			for i := range set {
				got = append(got, show(&set[i]))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("Build(%+v) = %q, want %q", c.s, got, c.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	set, r := build(t, Settings{SequenceLen: 6, Overlong: "truncate"},
		`{"prompt":"ab","completion":"c","id":7}`, `{"prompt":"ab","completion":""}`, `{}`, `{"prompt":"ab","completion":"cdefg"}`,
		`{"prompt":"abcdefgh","completion":"c"}`, `{"prompt":"ab","completion":""}`)
	if r.Rows != 6 || r.Used != 2 || r.Examples != 2 || r.Truncated != 1 {
		t.Errorf("Report = %+v, want 6 rows, 2 used, 1 truncated", r)
	}
	if got, want := r.drops(), "empty completion (2, first t.jsonl:2), empty row (1, first t.jsonl:3), no target within sequence_len (1, first t.jsonl:5)"; got != want {
		t.Errorf("drops = %q, want %q", got, want)
	}
	if want := "shape prompt_completion (prompt, completion); not used: id"; r.Detected != want {
		t.Errorf("Detected = %q, want %q", r.Detected, want)
	}
	st := set.Stats()
	if st.Tokens != 11 || st.Targets != 5 || st.Longest != 6 || st.Shortest != 5 || st.LongestAt.Line != 4 || !slices.Equal(st.Histogram, []Bucket{{8, 2}}) {
		t.Errorf("Stats = %+v", st)
	}
	if p := set[0].Prompt(); len(p) != 3 {
		t.Errorf("Prompt = %v, want <ab", p)
	}
}

func TestUnusedSettingsAreNoted(t *testing.T) {
	_, r := build(t, Settings{Separator: "=", System: "s", Roles: map[string]string{"a": "b"}}, `{"text":"abc"}`)
	want := []string{
		"separator is set, but rows of shape text do not use it",
		"system is set, but rows of shape text do not use it",
		"roles is set, but rows of shape text do not use it",
	}
	if !slices.Equal(r.Notes, want) {
		t.Errorf("Notes = %q, want %q", r.Notes, want)
	}
}

func TestManyWorkersKeepTheOrder(t *testing.T) {
	var rows []string
	for i := range 1000 {
		rows = append(rows, `{"text":"`+strings.Repeat("x", 1+i%17)+`"}`)
	}
	one, _ := build(t, Settings{Workers: 1}, rows...)
	last := Progress{}
	many, _ := build(t, Settings{Workers: 7, Progress: func(p Progress) {
		if p.Rows <= last.Rows {
			t.Errorf("progress goes from %d rows to %d", last.Rows, p.Rows)
		}
		last = p
	}}, rows...)
	if one.Fingerprint() != many.Fingerprint() || last.Rows != 1000 || last.Tokens != many.Stats().Tokens {
		t.Errorf("7 workers give another set than 1, or progress ends at %+v", last)
	}
}

func TestBadRows(t *testing.T) {
	const good = `{"prompt":"a","completion":"b"}`
	const text = `{"text":"a"}`
	for _, c := range []struct {
		name string
		s    Settings
		rows []string
		want string
	}{
		{"no rows", Settings{}, nil, "data: no rows, want at least one"},
		{"only empty rows", Settings{}, []string{`{}`, `{}`}, "data: none of 2 rows can be used: empty row (2, first t.jsonl:1)"},
		{"a number for a string", Settings{}, []string{good, `{"prompt":7,"completion":"b"}`}, `data: t.jsonl:2: field "prompt" is a number, want a string`},
		{"null", Settings{}, []string{good, `{"prompt":"a","completion":null}`}, `data: t.jsonl:2: field "completion" is null`},
		{"a missing column", Settings{}, []string{good, `{"prompt":"a"}`}, `data: t.jsonl:2: no field "completion" (completion); it has "prompt"`},
		{"unknown columns", Settings{}, []string{`{"foo":"a","bar":1}`}, `data: t.jsonl:1: columns "foo", "bar" fit none of the shapes tools, chat, instruction, prompt_completion, context_target, text; name the shape and its columns`},
		{"unknown shape", Settings{Shape: "alpaca"}, []string{good}, `data: shape is "alpaca", want one of auto, tools, chat, instruction, prompt_completion, context_target, text, classification, tokens, qa, seq2seq, masked_text`},
		{"another shape's column", Settings{Shape: "text", Columns: map[string]string{"prompt": "q"}}, []string{text}, `data: columns.prompt: shape "text" has no such column, want one of text`},
		{"a column that no row has", Settings{Shape: "instruction", Template: "plain", Columns: map[string]string{"input": "inptu"}}, []string{`{"instruction":"a","output":"b"}`}, `data: columns.input is "inptu", which no row has; they have "instruction", "output"`},
		{"unknown template", Settings{Template: "vicuna"}, []string{good}, `data: template is "vicuna", want one of chat, alpaca, plain`},
		{"bad settings", Settings{Overlong: "cut", SequenceLen: -1}, []string{good}, "data: overlong is \"cut\", want one of drop, truncate, raise, split\ndata: sequence_len is -1, want 0 (no limit) or at least 2"},
		{"no separator", Settings{Shape: "context_target"}, []string{text}, `data: t.jsonl:1: no "||" in "a"`},
		{"overlong", Settings{SequenceLen: 3, Overlong: "raise"}, []string{good, `{"prompt":"a","completion":"bcd"}`}, "data: t.jsonl:1: 4 tokens, want at most sequence_len 3\ndata: t.jsonl:2: 6 tokens, want at most sequence_len 3"},
		{"all too long", Settings{SequenceLen: 3}, []string{good}, "data: none of 1 rows can be used: longer than sequence_len (1, first t.jsonl:1)"},
		{"windows of what is not text", Settings{SequenceLen: 3, Overlong: "split"}, []string{good}, `data: overlong is "split", which is for shapes "text", "masked_text" and "qa", got "prompt_completion"`},
		{"concatenate without a length", Settings{Concatenate: true}, []string{text}, "data: concatenate needs a sequence_len to cut at"},
		{"concatenate of what is not text", Settings{Concatenate: true, SequenceLen: 4}, []string{good}, `data: t.jsonl:1: concatenate is for shapes "text" and "masked_text", got "prompt_completion"`},
		{"bad JSON", Settings{}, []string{good, `{"prompt":}`, `{"prompt":"a"`}, "data: t.jsonl:2: bad JSON at byte 11: '}', want a value\ndata: t.jsonl:3: bad JSON at byte 14: end of text, want ',' or '}'"},
		{"messages that are none", Settings{}, []string{`{"messages":"hi"}`}, `data: t.jsonl:1: field "messages" is a string, want a list of messages`},
		{"a message that is none", Settings{}, []string{`{"messages":["hi"]}`}, `data: t.jsonl:1: messages[0] is a string, want an object with role and content`},
		{"a message without a role", Settings{}, []string{`{"messages":[{"content":"a"}]}`}, `data: t.jsonl:1: messages[0] has no field "role" (or sharegpt's "from"); it has "content"`},
		{"a role that is none", Settings{}, []string{`{"messages":[{"role":1,"content":"a"}]}`}, `data: t.jsonl:1: messages[0].role is a number, want a string`},
		{"an unknown sharegpt role", Settings{}, []string{`{"conversations":[{"from":"alien","value":"a"}]}`}, `data: t.jsonl:1: conversations[0].from is "alien", want one of human, gpt, system, function_call, observation; or map it with roles`},
		{"a message without content", Settings{}, []string{`{"messages":[{"role":"user"}]}`}, `data: t.jsonl:1: messages[0] has no field "content"`},
		{"an image", Settings{}, []string{`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"x"}]}]}`}, `data: t.jsonl:1: messages[0].content[0].type is "image_url", want "text"`},
		{"a weight that is none", Settings{}, []string{`{"messages":[{"role":"user","content":"a","weight":"1"}]}`}, `data: t.jsonl:1: messages[0].weight is a string, want a number`},
		{"a negative weight", Settings{}, []string{`{"messages":[{"role":"user","content":"a","weight":-1}]}`}, `data: t.jsonl:1: messages[0].weight is -1, want 0 to 1000`},
		{"train that is none", Settings{}, []string{`{"messages":[{"role":"user","content":"a","train":1}]}`}, `data: t.jsonl:1: messages[0].train is a number, want a boolean`},
		{"tools that are none", Settings{}, []string{`{"messages":[{"role":"user","content":"a"}],"tools":"{}"}`}, `data: t.jsonl:1: field "tools" is an object, want a list of tools`},
		{"a call that is not JSON", Settings{}, []string{`{"conversations":[{"from":"function_call","value":"f()"}]}`}, `data: t.jsonl:1: conversations[0].value of a function_call: bad JSON at byte 1: 'f', want a value`},
		{"what the template refuses", Settings{}, []string{`{"messages":[{"role":"bad","content":"a"},{"role":"assistant","content":"a"}]}`}, `data: t.jsonl:1: template: role bad`},
		{"nobody is trained", Settings{}, []string{`{"messages":[{"role":"user","content":"a"}]}`}, `data: none of 1 rows can be used: no message is trained (1, first t.jsonl:1)`},
		{"history that is none", Settings{}, []string{`{"instruction":"a","output":"b","history":[["q"]]}`}, `data: t.jsonl:1: history[0] is a list, want [instruction, output]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Build(context.Background(), rowsOf(t, c.rows...), toy{}, plainChat{}, c.s)
			if err == nil || err.Error() != c.want {
				t.Errorf("Build(%q) = %v, want %s", c.rows, err, c.want)
			}
		})
	}
	t.Run("ten errors are enough", func(t *testing.T) {
		rows := []string{good}
		for range 500 {
			rows = append(rows, `{"prompt":1}`)
		}
		_, _, err := Build(context.Background(), rowsOf(t, rows...), toy{}, nil, Settings{})
		if lines := strings.Split(err.Error(), "\n"); len(lines) != 11 || !strings.HasPrefix(lines[9], "data: t.jsonl:11: ") {
			t.Errorf("Build = %v", err)
		}
	})
	t.Run("a chat needs a template", func(t *testing.T) {
		_, _, err := Build(context.Background(), rowsOf(t, `{"messages":[]}`), toy{}, nil, Settings{})
		if want := `data: t.jsonl:1: shape is "chat", but the model has no chat template`; err == nil || err.Error() != want {
			t.Errorf("Build = %v, want %s", err, want)
		}
	})
	t.Run("a tokenizer without eos is noted, or an error if eos is wanted", func(t *testing.T) {
		set, r, err := Build(context.Background(), rowsOf(t, good), toy{noEOS: true}, nil, Settings{})
		if err != nil || len(r.Notes) != 1 || show(&set[0]) != "<a[b]" {
			t.Errorf("Build = %v, %v", r, err)
		}
		yes := true
		_, _, err = Build(context.Background(), rowsOf(t, good), toy{noEOS: true}, nil, Settings{AddEOS: &yes})
		if err == nil || err.Error() != "data: add_eos is true, but the tokenizer has no eos_token" {
			t.Errorf("Build = %v", err)
		}
	})
	t.Run("a cancelled context ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, err := Build(ctx, rowsOf(t, good), toy{}, nil, Settings{}); err != context.Canceled {
			t.Errorf("Build = %v, want %v", err, context.Canceled)
		}
	})
}

func FuzzBuild(f *testing.F) {
	for _, s := range []string{
		`{"text":"a||b"}`, `{"prompt":"a","completion":"b"}`, `{"instruction":"a","output":"b","history":[["q","a"]],"system":"s"}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"x"}],"weight":2},{"role":"assistant","content":null,"tool_calls":[1]}],"tools":[]}`,
		`{"conversations":[{"from":"function_call","value":"[{\"name\":\"f\"}]"}],"tools":"[]"}`,
	} {
		f.Add(s, 0, true)
	}
	f.Fuzz(func(t *testing.T, row string, length int, flag bool) {
		v, err := ParseJSON([]byte(row))
		fields, ok := v.(Object)
		if err != nil || !ok {
			return
		}
		s := Settings{SequenceLen: 2 + length&15, TrainOnPrompt: flag}
		for _, s.Overlong = range []string{"", "truncate"} {
			set, _, err := Build(context.Background(), func(yield func(Row, error) bool) {
				yield(Row{Place: Place{File: "f", Line: 1, Row: 1}, Fields: fields}, nil)
			}, toy{width: 3}, plainChat{}, s)
			if err != nil && !strings.HasPrefix(err.Error(), "data: ") {
				t.Fatalf("%v does not begin with the package", err)
			}
			for i := range set {
				if n := len(set[i].IDs); n > s.SequenceLen || set[i].Targets() == 0 || set[i].Targets() >= n {
					t.Fatalf("an example has %d tokens, %d targets, want at most %d", n, set[i].Targets(), s.SequenceLen)
				}
			}
		}
	})
}
