package api

import (
	"strings"
	"testing"

	"github.com/graft-ml/graft/serve"
)

func tokenOf(id int32) serve.Token { return serve.Token{ID: id} }

// TestChat compares what the model was asked, which the fake engine says.
func TestChat(t *testing.T) {
	w := newWorld(t, nil)
	const user = `{"role": "user", "content": "hi"}`
	for _, c := range []struct{ name, body, want string }{
		{"one message", `{"messages": [` + user + `]}`, "[]<|user|>hi\n<|assistant|>"},
		{"an adapter", `{"model": "en", "messages": [` + user + `]}`, "[en]<|user|>hi\n<|assistant|>"},
		{"roles", `{"messages": [{"role": "system", "content": "be kind"}, ` + user + `, {"role": "assistant", "content": "yes"}, ` + user + `]}`,
			"[]<|system|>be kind\n<|user|>hi\n<|assistant|>yes\n<|user|>hi\n<|assistant|>"},
		{"parts of text", `{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}`, "[]<|user|>ab\n<|assistant|>"},
		{"tools go through the template", `{"messages": [` + user + `], "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}`,
			"[]<|tools|>[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {}}}]\n<|user|>hi\n<|assistant|>"},
		{"tools that must not be called are not told", `{"messages": [` + user + `], "tool_choice": "none", "tools": [{"type": "function", "function": {"name": "f"}}]}`,
			"[]<|user|>hi\n<|assistant|>"},
		{"going on with the last message", `{"messages": [` + user + `, {"role": "assistant", "content": "well"}], "continue_final_message": true, "add_generation_prompt": false}`,
			"[]<|user|>hi\n<|assistant|>well"},
		{"a call and its result", `{"messages": [` + user + `, {"role": "assistant", "content": null, "tool_calls": []}, {"role": "tool", "content": "42", "tool_call_id": "x"}]}`,
			"[]<|user|>hi\n<|assistant|>\n<|tool|>42\n<|assistant|>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.on(t)
			r := w.post(200, "/v1/chat/completions", c.body)
			if got := at(t, r.body, "choices", 0, "message", "content"); got != c.want {
				t.Errorf("content is %q, want %q", got, c.want)
			}
			stream := w.post(200, "/v1/chat/completions", strings.TrimSuffix(c.body, "}")+`, "stream": true}`).data()
			text := ""
			for i, p := range stream[:len(stream)-1] {
				text += at(t, p, "choices", 0, "delta", "content").(string)
				if role := at(t, p, "choices", 0, "delta").(map[string]any)["role"]; (role == "assistant") != (i == 0) {
					t.Errorf("role of part %d is %v", i, role)
				}
			}
			if text != c.want {
				t.Errorf("streamed content is %q, want %q", text, c.want)
			}
		})
	}
	r := w.post(200, "/v1/chat/completions", `{"messages": [`+user+`], "logprobs": true, "top_logprobs": 2, "max_completion_tokens": 3}`)
	if n := len(at(t, r.body, "choices", 0, "logprobs", "content", 1, "top_logprobs").([]any)); n != 2 {
		t.Errorf("%d top_logprobs, want 2", n)
	}
	if n := at(t, r.body, "usage", "completion_tokens"); n != 3.0 {
		t.Errorf("%v tokens, want 3", n)
	}
}
