package tokenizer

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// said is a message.
func said(role string, content any) map[string]any {
	return map[string]any{"role": role, "content": content}
}

func chatFolder(t *testing.T, config string) *ChatTemplate {
	t.Helper()
	tk, err := Open(fstest.MapFS{"tokenizer.json": {Data: []byte(letterFile)}, "tokenizer_config.json": {Data: []byte(config)}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := tk.ChatTemplate()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChatRender(t *testing.T) {
	const (
		several = `{"chat_template":[{"name":"default","template":"d"},{"name":"tool_use","template":"{{ tools | length }}"},{"name":"rag","template":"{{ documents[0].text }}"}]}`
		plain   = `{"chat_template":"{% for m in messages %}<{{ m.content }}>{% endfor %}"}`
		trims   = `{"chat_template":"{% for m in messages %}<{{ m.content | trim }}>{% endfor %}"}`
		parts   = `{"chat_template":"{% for p in messages[0].content %}{{ p.text }}{{ p.type }},{% endfor %}"}`
	)
	one := []any{said("user", "a "), said("assistant", "b ")}
	for _, c := range []struct {
		name, config string
		chat         Chat
		want         string
	}{
		{"the default", several, Chat{}, "d"},
		{"tools take their own", several, Chat{Tools: []any{1, 2}}, "2"},
		{"by name", several, Chat{Template: "rag", Documents: []any{map[string]any{"text": "x"}}}, "x"},
		{"special tokens are variables", `{"bos_token":"[CLS]","chat_template":"{{ bos_token }}{{ eos_token }}{{ eos_token is defined }}"}`, Chat{}, "[CLS]False"},
		{"tools and documents are none", `{"chat_template":"{{ tools }}{{ documents }}{{ add_generation_prompt }}"}`, Chat{}, "NoneNoneFalse"},
		{"further variables", `{"chat_template":"{{ x }}"}`, Chat{Vars: map[string]any{"x": 1.5}}, "1.5"},
		{"the date", `{"chat_template":"{{ strftime_now('%Y') }}"}`, Chat{Now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}, "2031"},
		{"the last message goes on", plain, Chat{Messages: one, ContinueFinalMessage: true}, "<a ><b "},
		{"the last message goes on where it was trimmed", trims, Chat{Messages: one, ContinueFinalMessage: true}, "<a><b"},
		{"the last part goes on", parts, Chat{Messages: []any{said("user", []any{map[string]any{"text": "a"}, map[string]any{"text": "b"}, map[string]any{"type": "image"}})}, ContinueFinalMessage: true}, "a,b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := chatFolder(t, c.config).Render(c.chat)
			if err != nil || p.Text != c.want {
				t.Errorf("Render = %q, %v, want %q", p.Text, err, c.want)
			}
		})
	}
	for _, c := range []struct {
		name, config string
		chat         Chat
		want         string
	}{
		{"no such template", several, Chat{Template: "x"}, `tokenizer: no chat template "x", have default, rag, tool_use`},
		{"both ends", plain, Chat{Messages: one, ContinueFinalMessage: true, AddGenerationPrompt: true}, "tokenizer: chat: add_generation_prompt and continue_final_message exclude each other"},
		{"nothing to go on with", plain, Chat{ContinueFinalMessage: true}, "tokenizer: chat: continue_final_message with no message"},
		{"no text to go on with", plain, Chat{Messages: []any{said("user", nil)}, ContinueFinalMessage: true}, "tokenizer: chat: continue_final_message: the last message has no text to continue"},
		{"a message that is not shown", several, Chat{Messages: one, ContinueFinalMessage: true}, "tokenizer: chat: continue_final_message: the template does not show the last message"},
		{"a value of no kind", plain, Chat{Messages: []any{struct{}{}}}, "tokenizer: chat template: messages: jinja: struct {} is no value for templates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := chatFolder(t, c.config).Render(c.chat); err == nil || err.Error() != c.want {
				t.Errorf("Render = %v, want %q", err, c.want)
			}
		})
	}
}

func TestNoChatTemplate(t *testing.T) {
	if _, err := letterTokenizer(t).ChatTemplate(); !errors.Is(err, ErrNoChatTemplate) {
		t.Errorf("ChatTemplate() = %v, want ErrNoChatTemplate", err)
	}
	tk, err := Open(fstest.MapFS{"tokenizer.json": {Data: []byte(letterFile)}, "chat_template.jinja": {Data: []byte("\n{% if %}")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tk.ChatTemplate(); err == nil || !strings.HasPrefix(err.Error(), `tokenizer: chat template "default": line 2: `) {
		t.Errorf("ChatTemplate() = %v, want an error at line 2", err)
	}
}

// TestChatEncode holds that the template alone puts special tokens in, and that spans find their tokens.
func TestChatEncode(t *testing.T) {
	c := chatFolder(t, `{"chat_template":"[CLS]ab{% generation %}cd[SEP]{% endgeneration %}e"}`)
	e, p, err := c.Encode(Chat{})
	if err != nil {
		t.Fatal(err)
	}
	var marks strings.Builder
	for _, in := range Within(e.Offsets, p.Spans) {
		marks.WriteByte("01"[map[bool]int{true: 1}[in]])
	}
	if letters(e.IDs) != "<abcd>e" || marks.String() != "0001110" {
		t.Errorf("Encode = %s with %s, want <abcd>e with 0001110", letters(e.IDs), marks.String())
	}
}
