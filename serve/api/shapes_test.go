package api

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/serve"
)

// step is a request of a session with what its answer has to be.
type step struct {
	method, path, body string
	status             int
	way                []any // nil: want is the whole body
	want               any
}

// TestRequestShapes goes through sessions as clients of other servers have them, in their order.
func TestRequestShapes(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"vLLM", []step{
			{"GET", "/v1/models", "", 200, []any{"data", 0, "parent"}, nil},
			{"GET", "/v1/models", "", 200, []any{"data", 1, "id"}, "en"},
			{"GET", "/v1/models", "", 200, []any{"data", 1, "parent"}, "base"},
			{"GET", "/v1/models", "", 200, []any{"data", 1, "root"}, "en"},
			{"POST", loadPath, `{"lora_name": "sql", "lora_path": "good"}`, 200, nil, "Success: LoRA adapter 'sql' added successfully."},
			{"POST", loadPath, `{"lora_name": "sql", "lora_path": "good"}`, 400, []any{"error", "message"},
				"The lora adapter 'sql' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True."},
			{"POST", loadPath, `{"lora_name": "sql", "lora_path": "good"}`, 400, []any{"error", "type"}, "InvalidUserInput"},
			{"POST", loadPath, `{"lora_name": "sql", "lora_path": "good", "load_inplace": true}`, 200, nil, "Success: LoRA adapter 'sql' added successfully."},
			{"POST", loadPath, `{"lora_name": "x", "lora_path": "none"}`, 404, []any{"error", "type"}, "NotFoundError"},
			{"POST", loadPath, `{"lora_name": "", "lora_path": "good"}`, 400, []any{"error", "type"}, "InvalidUserInput"},
			{"POST", completionsPath, `{"model": "sql", "prompt": "a"}`, 200, []any{"choices", 0, "text"}, "[sql]a"},
			{"POST", completionsPath, `{"model": "x", "prompt": "a"}`, 404, []any{"error", "message"}, "The model `x` does not exist."},
			{"POST", unloadPath, `{"lora_name": "sql", "lora_int_id": 3}`, 200, nil, "Success: LoRA adapter 'sql' removed successfully."},
			{"POST", unloadPath, `{"lora_name": "sql"}`, 404, []any{"error", "type"}, "NotFoundError"},
			{"POST", completionsPath, `{"model": "sql", "prompt": "a"}`, 404, []any{"error", "code"}, "model_not_found"},
			{"POST", "/tokenize", `{"model": "base", "prompt": "a", "add_special_tokens": false, "return_token_strs": true}`, 200, []any{"token_strs", 0}, "a"},
			{"POST", "/tokenize", `{"messages": [{"role": "user", "content": "a"}]}`, 200, []any{"max_model_len"}, 512.0},
			{"POST", "/detokenize", `{"model": "base", "tokens": []}`, 200, []any{"prompt"}, ""},
		}},
		{"SGLang's pinned", []step{
			{"POST", loadPath, `{"lora_name": "p", "lora_path": "good", "pinned": true}`, 200, nil, "Success: LoRA adapter 'p' added successfully."},
			{"GET", "/v1/models/p", "", 200, []any{"adapter", "pinned"}, true},
		}},
		{"LoRAX", []step{
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"max_new_tokens": 64, "adapter_id": "zh"}}`, 200, []any{"generated_text"}, "[zh]hi"},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"adapter_id": "zh", "adapter_source": "local", "api_token": "t"}}`, 200, []any{"generated_text"}, "[zh]hi"},
			{"POST", "/generate", `{"inputs": "hi"}`, 200, []any{"generated_text"}, "[]hi"},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"adapter_id": ""}}`, 200, []any{"generated_text"}, "[]hi"},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"return_full_text": true}}`, 200, []any{"generated_text"}, "hi[]hi"},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"merged_adapters": {"ids": ["en", "zh"], "weights": [0.5, 2], "merge_strategy": "linear", "density": 0.5}}}`, 200,
				[]any{"generated_text"}, "[en:0.5 zh:2]hi"},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"details": true, "max_new_tokens": 2, "do_sample": true, "seed": 5}}`, 200, []any{"details", "finish_reason"}, "length"},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"details": true, "max_new_tokens": 2, "do_sample": true, "seed": 5}}`, 200, []any{"details", "seed"}, 5.0},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"details": true}}`, 200, []any{"details", "finish_reason"}, "eos_token"},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"details": true, "stop": ["]"]}}`, 200, []any{"details", "finish_reason"}, "stop_sequence"},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"details": true, "max_new_tokens": 2}}`, 200, []any{"details", "generated_tokens"}, 2.0},
			{"POST", "/generate", `{"inputs": "hi", "parameters": {"details": true, "max_new_tokens": 2}}`, 200, []any{"details", "tokens", 0, "logprob"}, -0.5},
			{"POST", "/classify", `{"inputs": "some text", "parameters": {"adapter_id": "en"}}`, 200, []any{"data", 0, "label"}, "long"},
		}},
		{"llama-server", []step{
			{"GET", "/lora-adapters", "", 200, []any{1, "path"}, "zh"},
			{"GET", "/lora-adapters", "", 200, []any{1, "scale"}, 0.0},
			{"POST", completionsPath, `{"prompt": "a", "lora": [{"id": 1, "scale": 0.5}]}`, 200, []any{"choices", 0, "text"}, "[zh:0.5]a"},
			{"POST", "/lora-adapters", `[{"id": 0, "scale": 1.0}]`, 200, []any{"success"}, true},
			{"GET", "/lora-adapters", "", 200, []any{0, "scale"}, 1.0},
			{"POST", completionsPath, `{"prompt": "a"}`, 200, []any{"choices", 0, "text"}, "[en]a"},
			{"POST", completionsPath, `{"prompt": "a", "model": "base"}`, 200, []any{"choices", 0, "text"}, "[]a"},
			{"POST", completionsPath, `{"prompt": "a", "lora": []}`, 200, []any{"choices", 0, "text"}, "[]a"},
			{"POST", "/lora-adapters", `[]`, 200, []any{"success"}, true},
			{"POST", completionsPath, `{"prompt": "a"}`, 200, []any{"choices", 0, "text"}, "[]a"},
			{"POST", "/tokenize", `{"content": "a"}`, 200, []any{"count"}, 1.0},
			{"POST", "/detokenize", `{"tokens": []}`, 200, []any{"content"}, ""},
		}},
		{"labels", []step{
			{"POST", "/classify", `{"model": "base", "input": ["some text", "more"]}`, 200, []any{"data", 1, "label"}, "long"},
			{"POST", "/classify", `{"input": "some text", "text_pair": "its pair"}`, 200, []any{"data", 0, "num_classes"}, 2.0},
			{"POST", "/ner", `{"input": "we met Q today"}`, 200, []any{"data", 0, "entities", 0, "text"}, "Q"},
			{"POST", "/ner", `{"input": "we met Q today"}`, 200, []any{"data", 0, "entities", 0, "start"}, 7.0},
			{"POST", "/ner", `{"input": "nobody"}`, 200, []any{"data", 0, "index"}, 0.0},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			w := newWorld(t, func(c *Config) { c.Folder, c.Runtime = dir, true })
			for _, s := range c.steps {
				r := w.do(s.method, s.path, s.body)
				if r.status != s.status {
					t.Fatalf("%s %s %s = %d, want %d\n%s", s.method, s.path, s.body, r.status, s.status, r.body)
				}
				var got any = r.body
				if s.way != nil {
					got = at(t, r.body, s.way...)
				}
				if got != s.want {
					t.Errorf("%s %s %s: %v is %v, want %v", s.method, s.path, s.body, s.way, got, s.want)
				}
			}
		})
	}
}

// TestLoRAXStream has every token told once, the whole text and the details with the last.
func TestLoRAXStream(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range []struct{ inputs, stop, want, finish string }{
		{"hello 石窑 🍵", "none such", "[en]hello 石窑 🍵", "eos_token"},
		{"hello there", "o th", "[en]hell", "stop_sequence"},
	} {
		r := w.post(200, "/generate_stream", `{"inputs": "`+c.inputs+`", "parameters": {"adapter_id": "en", "max_new_tokens": 100, "stop": ["`+c.stop+`"]}}`)
		text := ""
		events := r.data()
		for i, e := range events {
			text += at(t, e, "token", "text").(string)
			if last := at(t, e, "generated_text") != nil; last != (i == len(events)-1) {
				t.Errorf("event %d of %d has the text: %v", i, len(events), last)
			}
		}
		end := events[len(events)-1]
		if whole := at(t, end, "generated_text"); text != c.want || whole != c.want {
			t.Errorf("pieces make %q, the whole is %q, want %q", text, whole, c.want)
		}
		if got := at(t, end, "details", "finish_reason"); got != c.finish {
			t.Errorf("finish_reason is %v, want %s", got, c.finish)
		}
		if n := at(t, end, "details", "generated_tokens"); n != float64(len(events)) {
			t.Errorf("%v generated_tokens, %d events", n, len(events))
		}
	}
}

// TestBase64 has both forms of a vector hold the same numbers.
func TestBase64(t *testing.T) {
	w := newWorld(t, nil)
	list := at(t, w.post(200, "/v1/embeddings", `{"input": "a b c"}`).body, "data", 0, "embedding").([]any)
	b, err := base64.StdEncoding.DecodeString(at(t, w.post(200, "/v1/embeddings", `{"input": "a b c", "encoding_format": "base64"}`).body, "data", 0, "embedding").(string))
	if err != nil || len(b) != 4*len(list) {
		t.Fatalf("%d bytes, %v, want %d", len(b), err, 4*len(list))
	}
	for i, x := range list {
		if got := math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])); got != float32(x.(float64)) {
			t.Errorf("number %d is %g, want %g", i, got, x)
		}
	}
}

// TestGoesOn has the text of a completion go on with the prompt's: the space before its first word is there.
func TestGoesOn(t *testing.T) {
	w := newWorld(t, nil)
	w.engine.says = func(serve.Generation) string { return " there" }
	if got := at(t, w.post(200, completionsPath, `{"prompt": "hello"}`).body, "choices", 0, "text"); got != " there" {
		t.Errorf("text is %q, want \" there\"", got)
	}
	if !slices.Equal(w.engine.last().Adapters, peft.Fully()) {
		t.Error("the base has adapters")
	}
	r := w.post(200, completionsPath, `{"prompt": "hello", "echo": true, "logprobs": 0, "max_tokens": 0}`)
	if got := at(t, r.body, "choices", 0, "text"); got != "hello" || !strings.Contains(r.body, `"completion_tokens":0`) {
		t.Errorf("echo alone is %q\n%s", got, r.body)
	}
}
