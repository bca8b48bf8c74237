package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/graft-ml/graft/internal/jinja"
)

// ErrNoChatTemplate says that a tokenizer has no chat template.
var ErrNoChatTemplate = errors.New("tokenizer: no chat template")

// ChatTemplate renders conversations the way a model has seen them in training: it is the Jinja template of the model's
// folder, with the tokenizer's special tokens. Safe for concurrent use.
type ChatTemplate struct {
	tk    *Tokenizer
	named map[string]*jinja.Template
}

// Chat is what a template renders. Values are nil, bool, int, int64, float64, string, []any, map[string]any (in the order
// of its keys), or what has a method All() iter.Seq2[string, any] and keeps its own order.
type Chat struct {
	Messages  []any // objects with role, content …
	Tools     []any // nil: none
	Documents []any // nil: none

	AddGenerationPrompt  bool // end where the assistant's turn begins
	ContinueFinalMessage bool // end inside the last message, so that the model goes on with it

	Template string         // of several: its name; "" is "tool_use" if there are tools and it exists, else "default"
	Vars     map[string]any // further variables
	Now      time.Time      // for strftime_now; zero: the template finds no such function
}

// Span is a range of bytes.
type Span struct{ Start, End int }

// Prompt is a rendered conversation.
type Prompt struct {
	Text   string
	Marked bool   // the template has generation blocks, which say what the assistant wrote
	Spans  []Span // of Text, that generation blocks wrote
}

// ChatTemplate compiles the chat templates of the model's folder; ErrNoChatTemplate if there is none.
func (tk *Tokenizer) ChatTemplate() (*ChatTemplate, error) {
	if len(tk.named.templates) == 0 {
		return nil, ErrNoChatTemplate
	}
	c := &ChatTemplate{tk, map[string]*jinja.Template{}}
	for _, t := range tk.named.templates {
		compiled, err := jinja.Compile(t.Source)
		if err != nil {
			return nil, fmt.Errorf("tokenizer: chat template %q: %w", t.Name, err)
		}
		c.named[t.Name] = compiled
	}
	return c, nil
}

// NewChatTemplate compiles a chat template to use instead of the folder's.
func (tk *Tokenizer) NewChatTemplate(source string) (*ChatTemplate, error) {
	t, err := jinja.Compile(source)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: chat template: %w", err)
	}
	return &ChatTemplate{tk, map[string]*jinja.Template{defaultTemplate: t}}, nil
}

// Tokenizer is the tokenizer that the template's special tokens come from.
func (c *ChatTemplate) Tokenizer() *Tokenizer { return c.tk }

const (
	defaultTemplate = "default"
	toolTemplate    = "tool_use"
)

// choose finds the template for a conversation.
func (c *ChatTemplate) choose(chat *Chat) (*jinja.Template, error) {
	name := chat.Template
	if name == "" {
		name = defaultTemplate
		if c.named[toolTemplate] != nil && chat.Tools != nil {
			name = toolTemplate
		}
	}
	if t := c.named[name]; t != nil {
		return t, nil
	}
	var have []string
	for n := range c.named {
		have = append(have, n)
	}
	slices.Sort(have)
	return nil, fmt.Errorf("tokenizer: no chat template %q, have %s", name, strings.Join(have, ", "))
}

// Render writes a conversation as text.
func (c *ChatTemplate) Render(chat Chat) (Prompt, error) {
	t, err := c.choose(&chat)
	if err != nil {
		return Prompt{}, err
	}
	if chat.ContinueFinalMessage {
		return c.unfinished(t, chat)
	}
	return c.render(t, &chat)
}

func (c *ChatTemplate) render(t *jinja.Template, chat *Chat) (Prompt, error) {
	vars := map[string]any{}
	for k, v := range c.tk.tokenVariables() {
		vars[k] = v
	}
	for k, v := range chat.Vars {
		vars[k] = v
	}
	vars["messages"], vars["add_generation_prompt"] = chat.Messages, chat.AddGenerationPrompt
	vars["tools"], vars["documents"] = orNil(chat.Tools), orNil(chat.Documents)
	r, err := t.Render(vars, jinja.Options{Now: chat.Now})
	if err != nil {
		return Prompt{}, fmt.Errorf("tokenizer: chat template: %w", err)
	}
	p := Prompt{Text: r.Text, Marked: r.Marked}
	for _, s := range r.Spans {
		p.Spans = append(p.Spans, Span(s))
	}
	return p, nil
}

// orNil is none for templates where there is no list.
func orNil(list []any) any {
	if list == nil {
		return nil
	}
	return list
}

// tokenVariables are the special tokens that templates may name. Those that the tokenizer lacks are not defined.
func (tk *Tokenizer) tokenVariables() map[string]any {
	vars := map[string]any{}
	for name, t := range map[string]tokenName{"bos_token": tk.named.bos, "eos_token": tk.named.eos, "pad_token": tk.named.pad, "unk_token": tk.named.unk} {
		if t.content != "" {
			vars[name] = t.content
		}
	}
	return vars
}

// continuation marks the end of the last message while it is rendered. The space at its end shows whether the template
// trims messages.
const continuation = "CONTINUE_FINAL_MESSAGE_TAG "

// unfinished renders a conversation up to the end of its last message.
func (c *ChatTemplate) unfinished(t *jinja.Template, chat Chat) (Prompt, error) {
	if chat.AddGenerationPrompt {
		return Prompt{}, errors.New("tokenizer: chat: add_generation_prompt and continue_final_message exclude each other")
	}
	if len(chat.Messages) == 0 {
		return Prompt{}, errors.New("tokenizer: chat: continue_final_message with no message")
	}
	last, err := withMark(chat.Messages[len(chat.Messages)-1])
	if err != nil {
		return Prompt{}, err
	}
	chat.Messages = append(slices.Clone(chat.Messages[:len(chat.Messages)-1]), last)
	p, err := c.render(t, &chat)
	if err != nil {
		return Prompt{}, err
	}
	end := strings.LastIndex(p.Text, strings.TrimSpace(continuation))
	if end < 0 {
		return Prompt{}, errors.New("tokenizer: chat: continue_final_message: the template does not show the last message")
	}
	keep := p.Text[:end]
	if !strings.HasPrefix(p.Text[end:], continuation) {
		keep = strings.TrimRightFunc(keep, jinja.IsSpace)
	}
	p.Text = keep
	for i := range p.Spans {
		p.Spans[i].Start, p.Spans[i].End = min(p.Spans[i].Start, len(keep)), min(p.Spans[i].End, len(keep))
	}
	return p, nil
}

// withMark is a message with the mark behind its content, or behind the last text of its parts.
func withMark(message any) (any, error) {
	v, err := jinja.From(message)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: chat: %w", err)
	}
	marked, ok := jinja.AppendText(v, "content", continuation)
	if !ok {
		return nil, errors.New("tokenizer: chat: continue_final_message: the last message has no text to continue")
	}
	return marked, nil
}

// Encode renders a conversation and tokenizes it. The template writes all special tokens, so none are put in.
func (c *ChatTemplate) Encode(chat Chat) (Encoding, Prompt, error) {
	p, err := c.Render(chat)
	if err != nil {
		return Encoding{}, Prompt{}, err
	}
	return c.tk.Encode(p.Text, false), p, nil
}

// Within says which tokens cover part of a span, in order. offsets are byte ranges; a token that covers nothing, its space
// having been trimmed off, belongs to where it ends.
func Within(offsets [][2]int, spans []Span) []bool {
	in := make([]bool, len(offsets))
	for _, s := range spans {
		for i, o := range offsets {
			start, end := o[0], o[1]
			if start == end {
				start, end = max(end-1, 0), max(end, 1)
			}
			in[i] = in[i] || start < s.End && end > s.Start
		}
	}
	return in
}
