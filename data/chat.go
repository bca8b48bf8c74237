package data

import (
	"slices"
	"strconv"
	"strings"
)

// Conversation is what a chat template renders.
type Conversation struct {
	Messages []Message
	Tools    []any // as the data have them; nil if there are none
}

// Message is one turn.
type Message struct {
	Role    string
	Content string
	Fields  Object  // what else it has (tool_calls, name …), in order
	Weight  float32 // of its tokens as targets; 0 = masked
}

// sharegptRoles are the names that sharegpt gives the roles.
var sharegptRoles = map[string]string{
	"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
	"model": "assistant", "assistant": "assistant", "system": "system", "observation": "tool", "tool": "tool",
	"function_response": "tool", "function_call": "function_call",
}

func (d *drafter) chat(row *Row) (draft, error) {
	name, v, err := d.value(row, "messages")
	if err != nil {
		return draft{}, err
	}
	list, ok := v.([]any)
	if !ok {
		return draft{}, row.Errorf("field %q is %s, want a list of messages", name, kind(v))
	}
	if len(list) == 0 {
		return draft{dropped: "no messages"}, nil
	}
	c := &Conversation{}
	for i, x := range list {
		at := name + "[" + strconv.Itoa(i) + "]"
		o, ok := x.(Object)
		if !ok {
			return draft{}, row.Errorf("%s is %s, want an object with role and content", at, kind(x))
		}
		m, err := d.message(row, at, o)
		if err != nil {
			return draft{}, err
		}
		c.Messages = append(c.Messages, m)
	}
	if c.Tools, err = d.tools(row); err != nil {
		return draft{}, err
	}
	system, err := d.textOf(row, "system")
	if err != nil {
		return draft{}, err
	}
	if system == "" {
		system = d.settings.System
	}
	if system != "" && c.Messages[0].Role != "system" {
		c.Messages = slices.Insert(c.Messages, 0, Message{Role: "system", Content: system, Weight: d.masked()})
	}
	if d.settings.TrainOn == "last" {
		d.onlyLast(c)
	}
	if !slices.ContainsFunc(c.Messages, func(m Message) bool { return m.Weight > 0 }) {
		return draft{dropped: "no message is trained"}, nil
	}
	return draft{chat: c}, nil
}

// onlyLast masks all answers but the last.
func (d *drafter) onlyLast(c *Conversation) {
	last := len(c.Messages) - 1
	for last >= 0 && c.Messages[last].Role != "assistant" {
		last--
	}
	for i := range c.Messages {
		if i != last {
			c.Messages[i].Weight = min(c.Messages[i].Weight, d.masked())
		}
	}
}

// message reads {role, content, …} or sharegpt's {from, value}. Fields that are null are left out.
func (d *drafter) message(row *Row, at string, o Object) (Message, error) {
	var m Message
	roleKey, contentKey := "role", "content"
	if _, ok := o.Get("role"); !ok {
		if _, ok := o.Get("from"); ok {
			roleKey, contentKey = "from", "value"
		}
	}
	v, ok := o.Get(roleKey)
	if !ok {
		return m, row.Errorf("%s has no field \"role\" (or sharegpt's \"from\"); it has %s", at, o.names())
	}
	role, ok := v.(string)
	if !ok {
		return m, row.Errorf("%s.%s is %s, want a string", at, roleKey, kind(v))
	}
	m.Role = role
	if mapped, ok := d.settings.Roles[role]; ok {
		m.Role = mapped
	} else if roleKey == "from" {
		if m.Role, ok = sharegptRoles[role]; !ok {
			return m, row.Errorf("%s.from is %q, want one of human, gpt, system, function_call, observation; or map it with roles", at, role)
		}
	}
	for _, f := range o {
		if f.Value != nil && !slices.Contains([]string{roleKey, contentKey, "train", "weight"}, f.Name) {
			m.Fields = append(m.Fields, f)
		}
	}
	var err error
	content, has := o.Get(contentKey)
	if m.Content, err = contentText(row, at+"."+contentKey, content); err != nil {
		return m, err
	}
	if !has && len(m.Fields) == 0 {
		return m, row.Errorf("%s has no field %q", at, contentKey)
	}
	if m.Role == "function_call" {
		if m, err = calls(row, at, m); err != nil {
			return m, err
		}
	}
	m.Weight, err = d.messageWeight(row, at, o, m.Role)
	return m, err
}

// messageWeight is the message's own "weight" or "train"; without them assistants are trained and others are not.
func (d *drafter) messageWeight(row *Row, at string, o Object, role string) (float32, error) {
	weight := d.masked()
	if role == "assistant" {
		weight = 1
	}
	if v, ok := o.Get("train"); ok {
		train, ok := v.(bool)
		if !ok {
			return 0, row.Errorf("%s.train is %s, want a boolean", at, kind(v))
		}
		weight = 0
		if train {
			weight = 1
		}
	}
	if v, ok := o.Get("weight"); ok {
		w, ok := number(v)
		if !ok {
			return 0, row.Errorf("%s.weight is %s, want a number", at, kind(v))
		}
		if !(w >= 0 && w <= maxWeight) {
			return 0, row.Errorf("%s.weight is %g, want 0 to %g", at, w, float64(maxWeight))
		}
		if weight > 0 || w == 0 || !has(o, "train") {
			weight = float32(w)
		}
	}
	return weight, nil
}

// maxWeight keeps one message from drowning all others by a typing error.
const maxWeight = 1000

func has(o Object, name string) bool {
	_, ok := o.Get(name)
	return ok
}

func number(v any) (float64, bool) {
	switch x := v.(type) {
	case int64:
		return float64(x), true
	case float64:
		return x, true
	}
	return 0, false
}

// contentText is a message's text: a string, or OpenAI's list of parts if all of them are text.
func contentText(row *Row, at string, v any) (string, error) {
	switch x := v.(type) {
	case nil:
		return "", nil
	case string:
		return x, nil
	case []any:
		var b strings.Builder
		for i, p := range x {
			o, ok := p.(Object)
			if !ok {
				return "", row.Errorf("%s[%d] is %s, want an object with type and text", at, i, kind(p))
			}
			if t, ok := o.Get("type"); ok && t != "text" {
				return "", row.Errorf("%s[%d].type is %v, want \"text\"", at, i, quoted(t))
			}
			t, _ := o.Get("text")
			s, ok := t.(string)
			if !ok {
				return "", row.Errorf("%s[%d].text is %s, want a string", at, i, kind(t))
			}
			b.WriteString(s)
		}
		return b.String(), nil
	}
	return "", row.Errorf("%s is %s, want a string", at, kind(v))
}

func quoted(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	return kind(v)
}

// calls turns sharegpt's function_call, whose text is JSON, into an assistant's message with tool_calls.
func calls(row *Row, at string, m Message) (Message, error) {
	v, err := ParseJSON([]byte(m.Content))
	if err != nil {
		return m, row.Errorf("%s.value of a function_call: %w", at, err)
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []any
	for i, x := range list {
		o, ok := x.(Object)
		if !ok || !has(o, "name") {
			return m, row.Errorf("%s.value of a function_call: call %d is %s, want an object with name and arguments", at, i, kind(x))
		}
		out = append(out, Object{{"type", "function"}, {"function", o}})
	}
	m.Role, m.Content = "assistant", ""
	m.Fields = append(m.Fields, Field{"tool_calls", out})
	return m, nil
}

// tools are a list, or a string with a list in JSON.
func (d *drafter) tools(row *Row) ([]any, error) {
	name, v, err := d.value(row, "tools")
	if err != nil || v == nil || v == "" {
		return nil, err
	}
	if s, ok := v.(string); ok {
		if v, err = ParseJSON([]byte(s)); err != nil {
			return nil, row.Errorf("field %q: %w", name, err)
		}
	}
	list, ok := v.([]any)
	if !ok {
		return nil, row.Errorf("field %q is %s, want a list of tools", name, kind(v))
	}
	return list, nil
}
