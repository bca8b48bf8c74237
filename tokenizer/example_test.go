package tokenizer_test

import (
	"fmt"
	"slices"

	"github.com/graft-ml/graft/tokenizer"
)

func Example() {
	file, err := tokenizer.TrainBPE(slices.Values([]string{"the cat sat on the mat"}),
		tokenizer.TrainOptions{VocabSize: 262, Special: []string{"<s>", "</s>"}, BOS: "<s>"})
	if err != nil {
		fmt.Println(err)
		return
	}
	tk, err := tokenizer.New(file)
	if err != nil {
		fmt.Println(err)
		return
	}
	const text = "the café"
	e := tk.Encode(text, true)
	for i, id := range e.IDs {
		token, _ := tk.Token(id)
		fmt.Printf("%s=%q,", token, text[e.Offsets[i][0]:e.Offsets[i][1]])
	}
	fmt.Printf("\n%s\n", tk.Decode(e.IDs, true))

	chat, err := tk.NewChatTemplate("{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}")
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := chat.Render(tokenizer.Chat{Messages: []any{map[string]any{"role": "user", "content": "Hi"}}, AddGenerationPrompt: true})
	fmt.Println(p.Text, err)
	// Output:
	// <s>="",the="the",Ġ=" ",c="c",a="a",f="f",Ã="é",©="é",
	// the café
	// user: Hi</s>assistant:  <nil>
}
