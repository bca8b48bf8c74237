package data

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/graft-ml/graft/tokenizer"
)

// Dialogue is the Chat of a model's chat template. Safe for concurrent use.
//
// What the assistant wrote is what the template's {% generation %} blocks wrote. A template without such blocks is asked
// otherwise: a turn is what comes in addition when the conversation is rendered up to the turn's end, to what is rendered
// up to the turn's beginning (with the generation prompt, if it is the assistant's). Its end-of-turn token is part of it,
// white space behind that token is not, since a model that has ended its turn does not write it.
type Dialogue struct {
	template *tokenizer.ChatTemplate
	// Now is the date for templates that write it.
	Now time.Time
}

// frozenDate is the date that a training sees, so that it does not depend on the day; Llama's templates say the same where
// there is no date.
var frozenDate = time.Date(2024, time.July, 26, 0, 0, 0, 0, time.UTC)

// NewDialogue makes a Dialogue whose date stands still.
func NewDialogue(t *tokenizer.ChatTemplate) *Dialogue { return &Dialogue{template: t, Now: frozenDate} }

// Template is the chat template.
func (d *Dialogue) Template() *tokenizer.ChatTemplate { return d.template }

// chat is the first n messages for the template.
func (d *Dialogue) chat(c *Conversation, n int, prompt bool) tokenizer.Chat {
	out := tokenizer.Chat{Messages: make([]any, n), Tools: c.Tools, AddGenerationPrompt: prompt, Now: d.Now}
	for i, m := range c.Messages[:n] {
		out.Messages[i] = append(Object{{"role", m.Role}, {"content", m.Content}}, m.Fields...)
	}
	return out
}

// Prompt is the conversation up to where the assistant's next turn begins.
func (d *Dialogue) Prompt(c *Conversation) ([]int32, error) {
	e, _, err := d.template.Encode(d.chat(c, len(c.Messages), true))
	return e.IDs, err
}

// Render implements Chat.
func (d *Dialogue) Render(c *Conversation) ([]int32, []float32, error) {
	e, p, err := d.template.Encode(d.chat(c, len(c.Messages), false))
	if err != nil {
		return nil, nil, err
	}
	turns, err := d.turns(c, &e, p)
	if err != nil {
		return nil, nil, err
	}
	weights := make([]float32, e.Len())
	for _, t := range turns {
		for i, in := range tokenizer.Within(e.Offsets, []tokenizer.Span{t.Span}) {
			if in {
				weights[i] = max(weights[i], t.weight)
			}
		}
	}
	return e.IDs, weights, nil
}

// assistant is the role whose turns are trained.
const assistant = "assistant"

// turn is a range of the text that counts as a target.
type turn struct {
	tokenizer.Span
	weight float32
}

// turns finds what has a weight above 0.
func (d *Dialogue) turns(c *Conversation, e *tokenizer.Encoding, p tokenizer.Prompt) ([]turn, error) {
	out, marked := markedTurns(c, p)
	for i, m := range c.Messages {
		if m.Weight == 0 || marked && m.Role == assistant {
			continue
		}
		s, err := d.difference(c, i, p.Text)
		if err != nil {
			return nil, err
		}
		out = append(out, turn{d.trimmed(e, p.Text, s), m.Weight})
	}
	return out, nil
}

// markedTurns takes the template's generation blocks as the assistant's messages, if it is clear which weight each has:
// there are as many blocks as messages, or all messages weigh the same.
func markedTurns(c *Conversation, p tokenizer.Prompt) (out []turn, ok bool) {
	if !p.Marked {
		return nil, false
	}
	var weights []float32
	for _, m := range c.Messages {
		if m.Role == assistant {
			weights = append(weights, m.Weight)
		}
	}
	same := len(slices.Compact(slices.Clone(weights))) <= 1
	if !same && len(weights) != len(p.Spans) {
		return nil, false
	}
	for i, s := range p.Spans {
		if len(weights) > 0 {
			out = append(out, turn{s, weights[min(i, len(weights)-1)]})
		}
	}
	return out, true
}

// difference is what message i adds to the text.
func (d *Dialogue) difference(c *Conversation, i int, full string) (tokenizer.Span, error) {
	var s tokenizer.Span
	prompt := c.Messages[i].Role == assistant
	if i > 0 || prompt {
		before, err := d.prefix(c, i, i, prompt, full)
		if err != nil {
			return s, err
		}
		s.Start = len(before)
	}
	s.End = len(full)
	if i+1 < len(c.Messages) {
		through, err := d.prefix(c, i, i+1, false, full)
		if err != nil {
			return s, err
		}
		s.End = len(through)
	}
	if s.End < s.Start {
		return s, fmt.Errorf("chat template: messages[%d]: with it the text has %d bytes, less than the %d with the generation prompt in its place; %s", i, s.End, s.Start, markTurns)
	}
	return s, nil
}

const markTurns = "mark the assistant's turns in the template with {% generation %}, or give another with chat_template"

// prefix renders the first n messages, which has to be the beginning of the full text.
func (d *Dialogue) prefix(c *Conversation, i, n int, prompt bool, full string) (string, error) {
	p, err := d.template.Render(d.chat(c, n, prompt))
	if err != nil {
		return "", fmt.Errorf("the first %d of %d messages, to find where messages[%d] stands: %w", n, len(c.Messages), i, err)
	}
	if strings.HasPrefix(full, p.Text) {
		return p.Text, nil
	}
	at := 0
	for at < min(len(full), len(p.Text)) && full[at] == p.Text[at] {
		at++
	}
	for at > 0 && at < len(full) && !utf8.RuneStart(full[at]) {
		at--
	}
	return "", fmt.Errorf("chat template: messages[%d]: the first %d messages by themselves read %s at byte %d, in the whole conversation %s: "+
		"the turn cannot be told from the rest; %s", i, n, excerpt(p.Text[at:]), at, excerpt(full[at:]), markTurns)
}

// trimmed leaves out white space that follows the last special token of a turn.
func (d *Dialogue) trimmed(e *tokenizer.Encoding, text string, s tokenizer.Span) tokenizer.Span {
	for i := e.Len() - 1; i >= 0; i-- {
		o := e.Offsets[i]
		if o[1] > s.End || !d.template.Tokenizer().Special(e.IDs[i]) {
			continue
		}
		if o[0] >= s.Start && strings.TrimSpace(text[o[1]:s.End]) == "" {
			s.End = o[1]
		}
		return s
	}
	return s
}

// EndOfTurn is the token that ends the assistant's turns, if the template writes a special token there.
func (d *Dialogue) EndOfTurn() (int32, bool) {
	c := &Conversation{Messages: []Message{{Role: "user", Content: "a"}, {Role: assistant, Content: "b", Weight: 1}}}
	ids, weights, err := d.Render(c)
	if err != nil {
		return 0, false
	}
	for i := len(ids) - 1; i >= 0; i-- {
		if weights[i] > 0 {
			return ids[i], d.template.Tokenizer().Special(ids[i])
		}
	}
	return 0, false
}
