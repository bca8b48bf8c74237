package data

import "strings"

// Template is the text around an instruction, for models without a chat template. The pieces are put end to end:
//
//	Preamble  Instruction text  [Input text]  Response output
//
// with PreambleInput instead of Preamble if there is an input.
type Template struct {
	Name          string
	Preamble      string
	PreambleInput string
	Instruction   string // before the instruction
	Input         string // before the input
	Response      string // before the output
	Turn          string // before a further turn
}

// Templates are the templates for the shape instruction. Another one is "chat": the model's own chat template.
var Templates = []Template{
	{
		// The prompt of Stanford Alpaca, which most instruction data sets were made for.
		Name:          "alpaca",
		Preamble:      "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n",
		PreambleInput: "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n",
		Instruction:   "### Instruction:\n",
		Input:         "\n\n### Input:\n",
		Response:      "\n\n### Response:\n",
		Turn:          "\n\n",
	},
	{Name: "plain", Input: "\n", Response: "\n", Turn: "\n\n"},
}

// TemplateNames are the names that Settings.Template may have.
func TemplateNames() []string {
	names := []string{"chat"}
	for i := range Templates {
		names = append(names, Templates[i].Name)
	}
	return names
}

func (d *drafter) instruction(row *Row) (draft, error) {
	s, err := d.texts(row, "instruction", "input", "output", "system")
	if err != nil {
		return draft{}, err
	}
	history, err := d.history(row)
	if err != nil {
		return draft{}, err
	}
	instruction, input, output, system := s[0], s[1], s[2], s[3]
	if output == "" {
		return draft{dropped: "empty output"}, nil
	}
	if system == "" {
		system = d.settings.System
	}
	if d.template.Name == "chat" {
		if input != "" {
			instruction = strings.TrimSuffix(instruction, "\n") + "\n" + input
		}
		return draft{chat: d.asChat(system, history, instruction, output)}, nil
	}
	t := &d.template
	preamble := t.Preamble
	if input != "" {
		preamble = t.PreambleInput
	}
	if system != "" {
		preamble = strings.TrimRight(system, "\n") + "\n\n"
	}
	prompt := preamble
	var parts []Part
	for _, turn := range history {
		parts = append(parts, Part{prompt + t.Instruction + turn[0] + t.Response, d.masked()}, Part{turn[1], d.earlier()})
		prompt = t.Turn
	}
	prompt += t.Instruction + instruction
	if input != "" {
		prompt += t.Input + input
	}
	return draft{parts: append(parts, Part{prompt + t.Response, d.masked()}, Part{output, 1})}, nil
}

// earlier is the weight of answers before the last one.
func (d *drafter) earlier() float32 {
	if d.settings.TrainOn == "last" {
		return d.masked()
	}
	return 1
}

// history is a list of [instruction, output].
func (d *drafter) history(row *Row) ([][2]string, error) {
	name, v, err := d.value(row, "history")
	if err != nil || v == nil || v == "" {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, row.Errorf("field %q is %s, want a list of [instruction, output]", name, kind(v))
	}
	var turns [][2]string
	for i, x := range list {
		pair, ok := x.([]any)
		if !ok || len(pair) != 2 {
			return nil, row.Errorf("%s[%d] is %s, want [instruction, output]", name, i, kind(x))
		}
		q, ok1 := pair[0].(string)
		a, ok2 := pair[1].(string)
		if !ok1 || !ok2 {
			return nil, row.Errorf("%s[%d] is [%s, %s], want two strings", name, i, kind(pair[0]), kind(pair[1]))
		}
		turns = append(turns, [2]string{q, a})
	}
	return turns, nil
}

// asChat is an instruction as a conversation.
func (d *drafter) asChat(system string, history [][2]string, instruction, output string) *Conversation {
	c := &Conversation{}
	if system != "" {
		c.Messages = append(c.Messages, Message{Role: "system", Content: system, Weight: d.masked()})
	}
	for _, turn := range append(history, [2]string{instruction, output}) {
		c.Messages = append(c.Messages,
			Message{Role: "user", Content: turn[0], Weight: d.masked()},
			Message{Role: "assistant", Content: turn[1], Weight: d.earlier()})
	}
	c.Messages[len(c.Messages)-1].Weight = 1
	return c
}
