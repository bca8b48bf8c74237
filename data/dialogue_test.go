package data

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/tokenizer"
)

const (
	chatml       = "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
	chatmlMarked = "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content ~ '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content ~ '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
	// forgetful shows only the last answer, as templates do that strip the thinking of earlier turns.
	forgetful = "{% for m in messages %}{{ m.role ~ ':' }}{% if m.role != 'assistant' or loop.last %}{{ m.content }}{% endif %}{{ '</s>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
	// eager marks a block more than there are answers.
	eager = "{% generation %}{{ '.' }}{% endgeneration %}{% for m in messages %}{{ m.role ~ ':' }}{% generation %}{{ m.content ~ '</s>' }}{% endgeneration %}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
	dated = "{{ strftime_now('%d %b %Y') }}: {% for m in messages %}{{ m.content }}</s>{% endfor %}"
)

// dialogue compiles a template for a tokenizer whose special tokens are </s>, <|im_start|> and <|im_end|>.
func dialogue(t testing.TB, template string) (*Dialogue, *tokenizer.Tokenizer) {
	t.Helper()
	b, err := tokenizer.TrainBPE(slices.Values([]string{"user assistant system tool"}),
		tokenizer.TrainOptions{VocabSize: 262, Special: []string{"</s>", "<|im_start|>", "<|im_end|>"}})
	if err != nil {
		t.Fatal(err)
	}
	tk, err := tokenizer.New(b)
	if err != nil {
		t.Fatal(err)
	}
	ct, err := tk.NewChatTemplate(template)
	if err != nil {
		t.Fatal(err)
	}
	return NewDialogue(ct), tk
}

// messagesOf makes messages of "role content" or "role*weight content"; assistants weigh 1, others 0.
func messagesOf(lines ...string) *Conversation {
	c := &Conversation{}
	for _, l := range lines {
		role, content, _ := strings.Cut(l, " ")
		m := Message{Content: content}
		var weight string
		m.Role, weight, _ = strings.Cut(role, "*")
		if m.Role == "assistant" {
			m.Weight = 1
		}
		if weight != "" {
			fmt.Sscan(weight, &m.Weight)
		}
		c.Messages = append(c.Messages, m)
	}
	return c
}

func TestDialogueRender(t *testing.T) {
	for _, c := range []struct {
		name, template string
		conversation   *Conversation
		want           string // [ ] around targets, the weight behind unless it is 1
	}{
		{"turns are what they add", chatml, messagesOf("system s", "user é", "assistant ü b", "user c", "assistant d"),
			"<|im_start|>system\ns<|im_end|>\n<|im_start|>user\né<|im_end|>\n<|im_start|>assistant\n[ü b<|im_end|>]\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[d<|im_end|>]\n"},
		{"blocks mark turns", chatmlMarked, messagesOf("user a", "assistant b"), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n"},
		{"messages weigh what they weigh", chatml, messagesOf("user a", "assistant*0 b", "user c", "assistant*0.5 d"),
			"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[d<|im_end|>]0.5\n"},
		{"blocks weigh what their messages weigh", chatmlMarked, messagesOf("user a", "assistant*2 b", "user c", "assistant*0 d"),
			"<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]2\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\nd<|im_end|>\n"},
		{"others are trained if they weigh something", chatmlMarked, messagesOf("user*1 a", "assistant b"), "[<|im_start|>user\na<|im_end|>]\n<|im_start|>assistant\n[b<|im_end|>]\n"},
		{"all blocks are alike where weights are", eager, messagesOf("user a", "assistant b"), "[.]user:[a</s>]assistant:[b</s>]"},
		{"blocks that are not the answers are not asked", eager, messagesOf("user a", "assistant b", "user c", "assistant*0 d"), ".user:a</s>assistant:[b</s>]user:c</s>assistant:d</s>"},
		{"what goes before is not asked for", forgetful, messagesOf("user a", "assistant b"), "user:a</s>assistant:[b</s>]"},
		{"the date stands still", dated, messagesOf("assistant b"), ""},
		{"an assistant may be first", chatml, messagesOf("assistant a"), "<|im_start|>assistant\n[a<|im_end|>]\n"},
		{"an empty turn is its end", chatml, messagesOf("user a", "assistant "), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[<|im_end|>]\n"},
		{"white space that is said is trained", chatml, messagesOf("user a", "assistant b\n\n"), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b\n\n<|im_end|>]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, tk := dialogue(t, c.template)
			ids, weights, err := d.Render(c.conversation)
			if err != nil {
				t.Fatal(err)
			}
			if got := bracketed(tk, ids, weights); c.want != "" && got != c.want {
				t.Errorf("Render\n got %q\nwant %q", got, c.want)
			}
			if c.want == "" && !strings.HasPrefix(tk.Decode(ids, false), "26 Jul 2024: ") {
				t.Errorf("Render = %q, want 26 Jul 2024", tk.Decode(ids, false))
			}
		})
	}
}

func bracketed(tk *tokenizer.Tokenizer, ids []int32, weights []float32) string {
	var b strings.Builder
	last := int32(0)
	for _, s := range spans(weights) {
		b.WriteString(tk.Decode(ids[last:s.Start], false) + "[" + tk.Decode(ids[s.Start:s.End], false) + "]")
		if s.Weight != 1 {
			fmt.Fprintf(&b, "%g", s.Weight)
		}
		last = s.End
	}
	return b.String() + tk.Decode(ids[last:], false)
}

func TestDialogueErrors(t *testing.T) {
	for _, c := range []struct {
		name, template string
		conversation   *Conversation
		want           string
	}{
		{"a turn that changes later", forgetful, messagesOf("user a", "assistant b", "user c", "assistant d"),
			`chat template: messages[1]: the first 2 messages by themselves read "b</s>" at byte 20, in the whole conversation "</s>user:c</s>assistant:d</s>": the turn cannot be told from the rest; mark the assistant's turns in the template with {% generation %}, or give another with chat_template`},
		{"what the template refuses", "{{ raise_exception('no system') }}", messagesOf("system a", "assistant b"), "tokenizer: chat template: line 1: no system"},
		{"a prefix that the template refuses", "{% if messages | length < 2 %}{{ raise_exception('too few') }}{% endif %}{{ messages[1].content }}", messagesOf("user a", "assistant b"),
			"the first 1 of 2 messages, to find where messages[1] stands: tokenizer: chat template: line 1: too few"},
		{"a prompt that the turn does not begin with", "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}{{ 'answer:' }}{% endif %}", messagesOf("user a", "assistant b"),
			`chat template: messages[1]: the first 1 messages by themselves read "answer:" at byte 1, in the whole conversation "b": the turn cannot be told from the rest; mark the assistant's turns in the template with {% generation %}, or give another with chat_template`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := dialogue(t, c.template)
			if _, _, err := d.Render(c.conversation); err == nil || err.Error() != c.want {
				t.Errorf("Render = %v, want %q", err, c.want)
			}
		})
	}
}

func TestDialoguePrompt(t *testing.T) {
	d, tk := dialogue(t, chatml)
	ids, err := d.Prompt(messagesOf("user a"))
	if got, want := tk.Decode(ids, false), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"; err != nil || got != want {
		t.Errorf("Prompt = %q, %v, want %q", got, err, want)
	}
	t.Run("the end of a turn is known", func(t *testing.T) {
		want, _ := tk.TokenID("<|im_end|>")
		if id, ok := d.EndOfTurn(); !ok || id != want {
			t.Errorf("EndOfTurn() = %d, %v, want %d", id, ok, want)
		}
		plain, _ := dialogue(t, "{% for m in messages %}{{ m.content }}\n{% endfor %}")
		if id, ok := plain.EndOfTurn(); ok {
			t.Errorf("EndOfTurn() = %d, want none", id)
		}
	})
}

// TestDialogueOfRows goes all the way from rows with tools to targets.
func TestDialogueOfRows(t *testing.T) {
	const template = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role ~ ':' }}{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% else %}{{ m.content }}{% endif %}{{ '</s>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
	d, tk := dialogue(t, template)
	row := `{"conversations":[{"from":"human","value":"a"},{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"z\":1,\"b\":2}}"},{"from":"observation","value":"r"},{"from":"gpt","value":"d","weight":0.5}],"tools":"[{\"z\":1,\"a\":2}]"}`
	set, _, err := Build(t.Context(), rowsOf(t, row), tk, d, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"z": 1, "a": 2}]user:a</s>assistant:[{"name": "f", "arguments": {"z": 1, "b": 2}}</s>]tool:r</s>assistant:[d</s>]0.5`
	if got := bracketed(tk, set[0].IDs, set[0].Weights()); got != want {
		t.Errorf("Build\n got %q\nwant %q", got, want)
	}
}
