package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/tokenizer"
)

// chatCompletion is an answer of /v1/chat/completions, whole or a part.
type chatCompletion struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   *usage       `json:"usage,omitempty"`
}

type chatChoice struct {
	Index    int           `json:"index"`
	Message  *chatMessage  `json:"message,omitempty"` // of whole answers
	Delta    *chatDelta    `json:"delta,omitempty"`   // of parts
	Logprobs *chatLogprobs `json:"logprobs"`
	Finish   *string       `json:"finish_reason"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type chatDelta struct {
	Role    string `json:"role,omitempty"`
	Content string `json:"content"`
}

const assistant = "assistant"

func (s *Server) chat(x *exchange) error {
	f := x.body
	j := &job{logprobs: -1}
	var err error
	if j.chosen, err = s.choose(x); err != nil {
		return err
	}
	s.sampling(f, j)
	asked := f.whole("max_completion_tokens", f.whole("max_tokens", unasked, 1, s.Limits.NewTokens), 1, s.Limits.NewTokens)
	top := f.whole("top_logprobs", 0, 0, maxTop)
	if f.flag("logprobs", false) {
		j.logprobs = top
	} else if top > 0 {
		f.wrong("top_logprobs", "is for logprobs, and logprobs is false")
	}
	stream, tellUsage := f.streamed()
	conversation := s.conversation(f)
	s.onlyText(f)
	if err := f.end(); err != nil {
		return err
	}
	p, err := s.render(conversation)
	if err != nil {
		return err
	}
	j.prompts = []prompt{p}
	if err := s.room(j, asked); err != nil {
		return err
	}
	c := chatCompletion{ID: newID("chatcmpl-"), Object: "chat.completion", Created: s.Now().Unix(), Model: j.id}
	if stream {
		c.Object = "chat.completion.chunk"
		return s.streamChat(x, j, c, tellUsage)
	}
	all, err := x.whole(j)
	if err != nil {
		return err
	}
	for i := range all {
		choice := chatChoice{Index: i, Message: &chatMessage{Role: assistant, Content: all[i].text}, Finish: &all[i].last.reason}
		if j.logprobs >= 0 {
			choice.Logprobs = s.chatProbs(all[i].tokens, top)
		}
		c.Choices = append(c.Choices, choice)
	}
	c.Usage = x.usage()
	return x.json(http.StatusOK, c)
}

func (s *Server) streamChat(x *exchange, j *job, c chatCompletion, tellUsage bool) error {
	out := events{x}
	begun := make([]bool, j.choices())
	return out.end(x.stream(j, tellUsage, func(p piece) error {
		choice := chatChoice{Index: p.choice, Delta: &chatDelta{Content: p.text}}
		if !begun[p.choice] {
			choice.Delta.Role = assistant
		}
		begun[p.choice] = true
		if j.logprobs >= 0 {
			choice.Logprobs = s.chatProbs(p.tokens, j.logprobs)
		}
		if p.last != nil {
			choice.Finish = &p.last.reason
		}
		c.Choices = []chatChoice{choice}
		return out.send(c)
	}, func(u *usage) error {
		c.Choices, c.Usage = []chatChoice{}, u
		return out.send(c)
	}))
}

// conversation reads what the template renders.
func (s *Server) conversation(f *fields) tokenizer.Chat {
	c := tokenizer.Chat{Messages: s.messages(f), AddGenerationPrompt: f.flag("add_generation_prompt", true), Now: s.Now()}
	c.ContinueFinalMessage = f.flag("continue_final_message", false)
	if f.has("add_generation_prompt") && c.AddGenerationPrompt && c.ContinueFinalMessage {
		f.wrong("continue_final_message", "excludes add_generation_prompt")
	}
	c.AddGenerationPrompt = c.AddGenerationPrompt && !c.ContinueFinalMessage
	c.Tools = s.tools(f)
	if v, ok := f.take("chat_template_kwargs"); ok {
		o, is := v.(data.Object)
		if !is {
			f.wrong("chat_template_kwargs", "%s, want an object", kindOf(v))
		}
		c.Vars = map[string]any{}
		for name, v := range o.All() {
			c.Vars[name] = v
		}
	}
	return c
}

// tools are the functions that the template tells the model of.
func (s *Server) tools(f *fields) []any {
	tools := f.list("tools")
	for i, t := range tools {
		o, ok := t.(data.Object)
		kind, _ := o.Get("type")
		function, has := o.Get("function")
		if _, is := function.(data.Object); !ok || !is || !has || kind != "function" {
			f.wrong(fmt.Sprintf("tools[%d]", i), "want {\"type\": \"function\", \"function\": {…}}")
			return nil
		}
	}
	switch choice, ok := f.take("tool_choice"); {
	case !ok || choice == "auto":
	case choice == "none":
		return nil
	default:
		f.wrong("tool_choice", "only \"auto\" and \"none\" are supported: nothing forces the model's words")
	}
	if len(tools) == 0 {
		return nil
	}
	return tools
}

// onlyText refuses what would have to force the model's words, or is no text.
func (s *Server) onlyText(f *fields) {
	if o := f.object("response_format"); o != nil {
		if kind := o.str("type", "text"); kind != "text" {
			o.wrong("type", "%q is not supported, want \"text\"", shown(kind))
		}
		f.nested(o)
	}
	f.only("functions", "not supported, want tools", []any{})
	f.only("function_call", "not supported, want tools", "none")
	f.only("modalities", "only text is supported")
	f.only("audio", "not supported")
	f.only("prediction", "not supported")
	f.only("web_search_options", "not supported")
	f.only("reasoning_effort", "not supported, want chat_template_kwargs as the template has them")
	f.only("verbosity", "not supported")
	f.ignore("parallel_tool_calls")
}

// maxMessages bounds a conversation.
const maxMessages = 4096

// messages reads a conversation, its fields in their order, since templates print them.
func (s *Server) messages(f *fields) (out []any) {
	list := f.list("messages")
	if len(list) == 0 || len(list) > maxMessages {
		f.wrong("messages", "%d messages, want 1 to %d", len(list), maxMessages)
		return nil
	}
	for i, v := range list {
		o, ok := v.(data.Object)
		at := fmt.Sprintf("messages[%d]", i)
		if !ok {
			f.wrong(at, "%s, want an object", kindOf(v))
			return nil
		}
		m, err := message(o, at)
		if err != nil {
			if f.err == nil {
				f.err = err
			}
			return nil
		}
		out = append(out, m)
	}
	return out
}

// roles are who may speak.
var roles = map[string]bool{"system": true, "developer": true, "user": true, assistant: true, "tool": true}

// message is a message whose content is one text.
func message(o data.Object, at string) (data.Object, *Error) {
	role, _ := o.Get("role")
	if name, ok := role.(string); !ok || !roles[name] {
		return nil, refuse(at+".role", "%s.role: want system, developer, user, assistant or tool", at)
	}
	out := make(data.Object, 0, len(o))
	text, spoke := "", false
	for _, field := range o {
		if field.Name == "content" {
			var err *Error
			if text, err = content(field.Value, at+".content"); err != nil {
				return nil, err
			}
			field.Value, spoke = text, field.Value != nil
		}
		out = append(out, field)
	}
	_, calls := o.Get("tool_calls")
	if !spoke && !(role == assistant && calls) {
		return nil, refuse(at+".content", "%s.content: missing, want a text", at)
	}
	return out, nil
}

// content joins the texts of a content.
func content(v any, at string) (string, *Error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []any:
		var b strings.Builder
		for i, p := range v {
			o, _ := p.(data.Object)
			kind, _ := o.Get("type")
			value, _ := o.Get("text")
			text, ok := value.(string)
			if kind != "text" || !ok {
				return "", refuse(at, "%s[%d]: want {\"type\": \"text\", \"text\": …}: this model reads text only", at, i)
			}
			b.WriteString(text)
		}
		return b.String(), nil
	}
	return "", refuse(at, "%s: %s, want a text or a list of texts", at, kindOf(v))
}

// render is a conversation as the model reads it.
func (s *Server) render(c tokenizer.Chat) (prompt, error) {
	if s.Chat == nil {
		return prompt{}, refusal(http.StatusBadRequest, badRequest, "no_chat_template", "the model has no chat template: use /v1/completions")
	}
	e, p, err := s.Chat.Encode(c)
	if err != nil {
		return prompt{}, refuse("messages", "messages: %v", err)
	}
	return prompt{ids: e.IDs, text: p.Text}, nil
}
