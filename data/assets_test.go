package data_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/data/source"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/tokenizer"
)

func openTokenizer(t testing.TB, dir string) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Open(os.DirFS(filepath.Join(golden.Assets(t), dir)))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestE2EAsPEFTSawIt compares with the baseline in PEFT, which saw 36,045 target tokens in the first 500 lines of valid.txt.
func TestE2EAsPEFTSawIt(t *testing.T) {
	tok := openTokenizer(t, "models/stories260K-hf")
	set, report, err := data.Build(context.Background(), source.Files{
		FS: os.DirFS(golden.Assets(t)), Path: "datasets/e2e-lora-format/valid.txt", MaxRows: 500,
	}.Rows(), tok, nil, data.Settings{SequenceLen: 256, Overlong: "truncate"})
	if err != nil {
		t.Fatal(err)
	}
	if st := set.Stats(); report.Shape != "context_target" || st.Examples != 500 || st.Targets != 36045 {
		t.Errorf("shape %s, %d examples, %d target tokens; want context_target, 500, 36045", report.Shape, st.Examples, st.Targets)
	}
	x := &set[0]
	if got, want := tok.Decode(x.Prompt(), true), "name : Alimentum | area : city centre | family friendly : no||"; got != want {
		t.Errorf("the first prompt is %q, want %q", got, want)
	}
	answer := x.IDs[len(x.Prompt()):]
	if got, want := tok.Decode(answer, false), "There is a place in the city centre , Alimentum , that is not family - friendly .</s>"; got != want {
		t.Errorf("the first target is %q, want %q", got, want)
	}
	if first, _ := tok.Token(answer[0]); x.IDs[0] != 1 || !strings.HasPrefix(first, "▁") {
		t.Errorf("the example begins with %d, the target with %q; want <s> and a word mark", x.IDs[0], first)
	}
}

// turns renders a conversation without any frame.
type turns struct{ tok *tokenizer.Tokenizer }

func (c turns) Render(conversation *data.Conversation) (ids []int32, weights []float32, err error) {
	for _, m := range conversation.Messages {
		for _, id := range c.tok.Encode(m.Role+" "+m.Content, false).IDs {
			ids, weights = append(ids, id), append(weights, m.Weight)
		}
	}
	return ids, weights, nil
}

func TestRealFilesAreRecognised(t *testing.T) {
	tok := openTokenizer(t, "models/stories260K-hf")
	for _, c := range []struct {
		path     string
		detected string
		rows     int
	}{
		{"datasets/gsm8k/test.jsonl", `shape prompt_completion (prompt = "question", completion = "answer")`, 1319},
		{"datasets/llama-factory-demo/alpaca_zh_demo.json", "shape instruction (instruction, input, output), template alpaca", 1000},
		{"datasets/llama-factory-demo/identity.json", "shape instruction (instruction, input, output), template alpaca", 91},
		{"datasets/llama-factory-demo/c4_demo.jsonl", "shape text (text)", 300},
		{"datasets/llama-factory-demo/wiki_demo.txt", "shape text (text)", 30},
		{"datasets/llama-factory-demo/glaive_toolcall_en_demo.json", `shape tools (messages = "conversations", tools)`, 300},
	} {
		var chat data.Chat
		if strings.HasPrefix(c.detected, "shape tools") {
			chat = turns{tok}
		}
		set, r, err := data.Build(context.Background(), source.Files{FS: os.DirFS(golden.Assets(t)), Path: c.path}.Rows(), tok, chat, data.Settings{SequenceLen: 512})
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if r.Detected != c.detected || r.Rows != c.rows || len(set) == 0 {
			t.Errorf("%s: %q, %d rows, want %q, %d", c.path, r.Detected, r.Rows, c.detected, c.rows)
		}
		if st := set.Stats(); st.Longest > 512 {
			t.Errorf("%s: an example has %d tokens, want at most 512", c.path, st.Longest)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	tok := openTokenizer(b, "models/stories260K-hf")
	var rows int
	var tokens int64
	for b.Loop() {
		set, _, err := data.Build(context.Background(), source.Files{
			FS: os.DirFS(golden.Assets(b)), Path: "datasets/e2e-lora-format/train.txt", MaxRows: 10000,
		}.Rows(), tok, nil, data.Settings{SequenceLen: 256, Overlong: "truncate"})
		if err != nil {
			b.Fatal(err)
		}
		rows += len(set)
		tokens += set.Stats().Tokens
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
}

// TestToolsInQwensTemplate renders real conversations with tools in Qwen2's own template, which has no generation blocks.
func TestToolsInQwensTemplate(t *testing.T) {
	tok := openTokenizer(t, "tokenizers/qwen2")
	template, err := tok.ChatTemplate()
	if err != nil {
		t.Fatal(err)
	}
	set, report, err := data.Build(context.Background(), source.Files{
		FS: os.DirFS(golden.Assets(t)), Path: "datasets/llama-factory-demo/glaive_toolcall_en_demo.json",
	}.Rows(), tok, data.NewDialogue(template), data.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	if report.Rows != len(set) || len(set) != 300 {
		t.Errorf("Build = %d examples of %d rows, want all 300", len(set), report.Rows)
	}
	end, _ := tok.TokenID("<|im_end|>")
	for i := range set {
		ids := set[i].IDs
		for _, s := range set[i].Loss {
			before := tok.Decode(ids[:s.Start], false)
			if !strings.HasSuffix(before, "<|im_start|>assistant\n") || ids[s.End-1] != end {
				t.Fatalf("%s: target %q after %q, want a turn of the assistant with its end",
					set[i].Place, tok.Decode(ids[s.Start:s.End], false), before[max(0, len(before)-40):])
			}
		}
	}
}
