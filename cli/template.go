package cli

import (
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/tokenizer"
)

// prompter renders a conversation up to where the assistant's next turn begins.
type prompter interface {
	Prompt(messages []data.Message) ([]int32, error)
}

// openChat finds the chat template of a tokenizer, or reads the file that the recipe names. nil if there is none.
func openChat(tok *tokenizer.Tokenizer, path string) (data.Chat, error) {
	return nil, nil
}

// openPrompter is openChat for talking.
func openPrompter(tok *tokenizer.Tokenizer, path string) (prompter, error) {
	return nil, nil
}
