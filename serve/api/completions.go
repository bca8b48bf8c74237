package api

import (
	"fmt"
	"net/http"

	"github.com/graft-ml/graft/serve"
)

// completion is an answer of /v1/completions, whole or a part.
type completion struct {
	ID      string             `json:"id"`
	Object  string             `json:"object"`
	Created int64              `json:"created"`
	Model   string             `json:"model"`
	Choices []completionChoice `json:"choices"`
	Usage   *usage             `json:"usage,omitempty"`
}

type completionChoice struct {
	Index    int          `json:"index"`
	Text     string       `json:"text"`
	Logprobs *oldLogprobs `json:"logprobs"`
	Finish   *string      `json:"finish_reason"`
}

func (s *Server) completions(x *exchange) error {
	f := x.body
	j := &job{logprobs: -1, goesOn: true}
	var err error
	if j.chosen, err = s.choose(x); err != nil {
		return err
	}
	s.sampling(f, j)
	asked := f.whole("max_tokens", unasked, 0, s.Limits.NewTokens)
	if f.has("logprobs") {
		j.logprobs = f.whole("logprobs", -1, 0, maxTop)
	}
	j.echo = f.flag("echo", false)
	stream, tellUsage := f.streamed()
	special := f.flag("add_special_tokens", true)
	f.only("suffix", "not supported", "")
	j.prompts = s.prompts(f, "prompt", special)
	if err := f.end(); err != nil {
		return err
	}
	if asked == 0 && !(j.echo && j.logprobs >= 0) {
		return refuse("max_tokens", "max_tokens: is 0, want at least 1, or echo and logprobs, which tell of the prompt alone")
	}
	if err := s.room(j, asked); err != nil {
		return err
	}
	if stream && j.echo && j.logprobs >= 0 {
		return refuse("echo", "echo with logprobs cannot be streamed")
	}
	c := completion{ID: newID("cmpl-"), Object: "text_completion", Created: s.Now().Unix(), Model: j.id}
	if stream {
		return s.streamCompletion(x, j, c, tellUsage)
	}
	all, err := x.whole(j)
	if err != nil {
		return err
	}
	for i := range all {
		c.Choices = append(c.Choices, s.completionOf(j, i, &all[i]))
	}
	c.Usage = x.usage()
	return x.json(http.StatusOK, c)
}

// streamed reads how an answer is wanted.
func (f *fields) streamed() (stream, usage bool) {
	stream = f.flag("stream", false)
	if o := f.object("stream_options"); o != nil {
		usage = o.flag("include_usage", false)
		o.only("continuous_usage_stats", "not supported", false)
		o.ignore("include_obfuscation")
		f.nested(o)
		if !stream {
			f.wrong("stream_options", "is for streams, and stream is false")
		}
	}
	return stream, usage
}

// prompts reads a text, texts, token ids, or lists of them.
func (s *Server) prompts(f *fields, field string, special bool) (list []prompt) {
	v, ok := f.take(field)
	if !ok {
		f.wrong(field, "missing, want a string, a list of strings or token ids")
		return nil
	}
	if text, ok := v.(string); ok {
		return []prompt{s.encode(text, special)}
	}
	all, ok := v.([]any)
	if !ok || len(all) == 0 {
		f.wrong(field, "%s, want a string, a list of strings or token ids", emptyOr(v))
		return nil
	}
	if _, ids := all[0].(int64); ids {
		all = []any{all}
	}
	if len(all) > s.Limits.Prompts {
		f.wrong(field, "%d prompts, want at most %d", len(all), s.Limits.Prompts)
		return nil
	}
	for i, v := range all {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch v := v.(type) {
		case string:
			list = append(list, s.encode(v, special))
		case []any:
			ids, bad := s.ids32(v)
			if bad >= 0 {
				f.wrong(fmt.Sprintf("%s[%d]", at, bad), "want a token id, 0 to %d", s.Tokenizer.VocabSize()-1)
				return nil
			}
			list = append(list, prompt{ids: ids})
		default:
			f.wrong(at, "%s, want a string or a list of token ids", kindOf(v))
			return nil
		}
	}
	return list
}

func emptyOr(v any) string {
	if l, ok := v.([]any); ok && len(l) == 0 {
		return "an empty list"
	}
	return kindOf(v)
}

func (s *Server) encode(text string, special bool) prompt {
	return prompt{ids: s.Tokenizer.Encode(text, special).IDs, text: text}
}

// shownPrompt is a prompt as echo tells it.
func (s *Server) shownPrompt(p prompt) string {
	if p.text != "" {
		return p.text
	}
	return s.Tokenizer.Decode(p.ids, true)
}

func (s *Server) completionOf(j *job, i int, t *told) completionChoice {
	c := completionChoice{Index: i, Text: t.text, Finish: &t.last.reason}
	tokens, first := t.tokens, false
	if j.echo {
		c.Text = s.shownPrompt(j.prompts[i/j.n]) + c.Text
		tokens, first = append(append([]serve.Token{}, t.last.result.Prompt...), tokens...), true
	}
	if j.logprobs >= 0 {
		c.Logprobs = s.oldProbs(tokens, 0, j.logprobs, first)
	}
	return c
}

func (s *Server) streamCompletion(x *exchange, j *job, c completion, tellUsage bool) error {
	out := events{x}
	at := make([]int, j.choices()) // bytes of text that went out
	begun := make([]bool, j.choices())
	return out.end(x.stream(j, tellUsage, func(p piece) error {
		choice := completionChoice{Index: p.choice, Text: p.text}
		if j.logprobs >= 0 {
			choice.Logprobs = s.oldProbs(p.tokens, at[p.choice], j.logprobs, false)
		}
		if j.echo && !begun[p.choice] {
			choice.Text = s.shownPrompt(j.prompts[p.choice/j.n]) + choice.Text
		}
		begun[p.choice] = true
		at[p.choice] += len(choice.Text)
		if p.last != nil {
			choice.Finish = &p.last.reason
		}
		c.Choices = []completionChoice{choice}
		return out.send(c)
	}, func(u *usage) error {
		c.Choices, c.Usage = []completionChoice{}, u
		return out.send(c)
	}))
}

// stream runs a job and tells its pieces, and at the end the usage if that is wanted.
func (x *exchange) stream(j *job, tellUsage bool, tell func(piece) error, end func(*usage) error) error {
	if err := x.run(j, tell); err != nil || !tellUsage {
		return err
	}
	return end(x.usage())
}
