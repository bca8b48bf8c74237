package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/peft"
)

// TestCompletions asks in the ways that clients do and compares what they read of the answer.
func TestCompletions(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range []struct {
		name, body string
		way        []any
		want       any
	}{
		{"base", `{"model": "base", "prompt": "hello"}`, []any{"choices", 0, "text"}, "[]hello"},
		{"no model is the base", `{"prompt": "hello"}`, []any{"choices", 0, "text"}, "[]hello"},
		{"an adapter by model", `{"model": "zh", "prompt": "hello"}`, []any{"choices", 0, "text"}, "[zh]hello"},
		{"the answer says the model", `{"model": "zh", "prompt": "hello"}`, []any{"model"}, "zh"},
		{"several prompts", `{"prompt": ["a", "b c"]}`, []any{"choices", 1, "text"}, "[]b c"},
		{"token ids", `{"prompt": [30, 31, 32]}`, []any{"usage", "prompt_tokens"}, 3.0},
		{"lists of token ids", `{"prompt": [[30, 31], [32]]}`, []any{"usage", "prompt_tokens"}, 3.0},
		{"n texts of a prompt", `{"prompt": "a", "n": 3}`, []any{"choices", 2, "index"}, 2.0},
		{"a prompt counts once", `{"prompt": [30, 31, 32], "n": 3}`, []any{"usage", "prompt_tokens"}, 3.0},
		{"max_tokens", `{"prompt": "hello", "max_tokens": 2}`, []any{"choices", 0, "finish_reason"}, "length"},
		{"an end token", `{"prompt": "hello"}`, []any{"choices", 0, "finish_reason"}, "stop"},
		{"stop", `{"prompt": "hello there friend", "stop": ["re fr"]}`, []any{"choices", 0, "text"}, "[]hello the"},
		{"stop as one string", `{"prompt": "hello there friend", "stop": "llo"}`, []any{"choices", 0, "text"}, "[]he"},
		{"echo", `{"prompt": "hello", "echo": true}`, []any{"choices", 0, "text"}, "hello[]hello"},
		{"Chinese", `{"prompt": "石窑供应米饭。🍵"}`, []any{"choices", 0, "text"}, "[]石窑供应米饭。🍵"},
		{"scales of llama-server", `{"prompt": "a", "lora": [{"id": 1, "scale": 0.5}]}`, []any{"choices", 0, "text"}, "[zh:0.5]a"},
		{"several scales", `{"prompt": "a", "lora": [{"id": 0}, {"id": 1, "scale": 2}]}`, []any{"choices", 0, "text"}, "[en zh:2]a"},
		{"logprobs", `{"prompt": "a", "logprobs": 2}`, []any{"choices", 0, "logprobs", "token_logprobs", 0}, -0.5},
		{"OpenAI's fields without meaning here", `{"prompt": "a", "user": "x", "best_of": 1, "presence_penalty": 0, "suffix": null}`, []any{"object"}, "text_completion"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.on(t)
			r := w.post(200, "/v1/completions", c.body)
			if got := at(t, r.body, c.way...); got != c.want {
				t.Errorf("%v of the answer is %v, want %v\n%s", c.way, got, c.want, r.body)
			}
		})
	}
}

// TestSampling has every option arrive at the engine.
func TestSampling(t *testing.T) {
	w := newWorld(t, nil)
	w.post(200, "/v1/completions", `{"prompt": "a", "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "seed": 42, "max_tokens": 9, "repetition_penalty": 1.5,
		"min_tokens": 2, "logit_bias": {"30": -100, "31": 5}, "stop_token_ids": [33], "logprobs": 3, "model": "en"}`)
	g := w.engine.last()
	o := g.Options
	if o.Temperature != 0.5 || o.TopP != 0.9 || o.TopK != 7 || o.MinP != 0.1 || o.Seed != 42 || o.MaxNewTokens != 9 || o.RepetitionPenalty != 1.5 || o.MinNewTokens != 2 {
		t.Errorf("options are %+v", o)
	}
	if g.LogitBias[30] != -100 || g.LogitBias[31] != 5 || len(g.LogitBias) != 2 || g.Logprobs != 3 || !slices.Contains(o.EOS, 33) || !slices.Equal(g.Adapters, peft.Fully("en")) {
		t.Errorf("generation is %+v", g)
	}
	w.post(200, "/v1/completions", `{"prompt": "a", "n": 2, "seed": 7}`)
	seeds := []uint64{w.engine.got[1].Options.Seed, w.engine.got[2].Options.Seed}
	if seeds[0] == seeds[1] || !slices.Contains(seeds, 7) {
		t.Errorf("seeds of two texts are %d, want the given one and another", seeds)
	}
	w.post(200, "/v1/completions", `{"prompt": "a"}`)
	if w.engine.last().Options.Temperature != 1 {
		t.Error("temperature of a request without one is not OpenAI's 1")
	}
}

// TestStreamedIsWhole has the pieces of a stream make the text that an answer at once has, with usage only if wanted.
func TestStreamedIsWhole(t *testing.T) {
	w := newWorld(t, nil)
	for _, prompt := range []string{"hello there", "石窑供应米饭。🍵 é 👩‍👩‍👧", "stop begins: sto and sto again"} {
		body := `{"prompt": "` + prompt + `", "stop": ["stop!", "stoq"], "logprobs": 1`
		whole := at(t, w.post(200, "/v1/completions", body+`}`).body, "choices", 0, "text").(string)
		r := w.post(200, "/v1/completions", body+`, "stream": true, "stream_options": {"include_usage": true}}`)
		parts := r.data()
		if got := r.header.Get("Content-Type"); got != "text/event-stream; charset=utf-8" {
			t.Errorf("Content-Type is %q", got)
		}
		if parts[len(parts)-1] != "[DONE]" {
			t.Fatalf("stream ends with %q, want [DONE]", parts[len(parts)-1])
		}
		text, tokens := "", 0
		for _, p := range parts[:len(parts)-2] {
			text += at(t, p, "choices", 0, "text").(string)
			tokens += len(at(t, p, "choices", 0, "logprobs", "tokens").([]any))
		}
		if text != whole {
			t.Errorf("streamed text is %q, want %q", text, whole)
		}
		usage := parts[len(parts)-2]
		if n := at(t, usage, "usage", "completion_tokens"); n != float64(tokens) || len(at(t, usage, "choices").([]any)) != 0 {
			t.Errorf("usage says %v tokens, the stream had %d", n, tokens)
		}
	}
}

// TestTeller cuts texts anywhere between tokens and wants the same text, never half a character, never a part of a stop string.
func TestTeller(t *testing.T) {
	w := newWorld(t, nil)
	tok := w.engine.tok
	for _, c := range []struct {
		text string
		stop []string
		want string
	}{
		{"plain words", nil, "plain words"},
		{"🍵🍵 石窑", nil, "🍵🍵 石窑"},
		{"one two three", []string{"two"}, "one "},
		{"one two three", []string{"three", "e t"}, "on"},
		{"aab", []string{"ab"}, "a"},
		{"ababac", []string{"abac"}, "ab"},
		{"the end is nea", []string{"near"}, "the end is nea"},
		{"到此为止吧", []string{"为止"}, "到此"},
	} {
		j := &job{stop: c.stop}
		tl := w.api.newTeller(j, 0)
		text, tokens, n := "", 0, 0
		for _, id := range tok.Encode(c.text, false).IDs {
			n++
			p, goOn := tl.next(tokenOf(id))
			text += p.text
			tokens += len(p.tokens)
			if strings.ContainsRune(p.text, '\uFFFD') {
				t.Errorf("%q: half a character in %q", c.text, p.text)
			}
			if !strings.HasPrefix(c.want, text) {
				t.Errorf("%q with stop %q: %q went out, want the beginning of %q", c.text, c.stop, text, c.want)
			}
			if !goOn {
				break
			}
		}
		p := tl.end()
		text += p.text
		tokens += len(p.tokens)
		if text != c.want || tokens != n {
			t.Errorf("%q with stop %q gives %q and %d tokens, want %q and %d", c.text, c.stop, text, tokens, c.want, n)
		}
	}
}
