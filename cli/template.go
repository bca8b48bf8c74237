package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/tokenizer"
)

// openDialogue finds the chat template of a tokenizer, or reads the file that the user names. nil if there is none.
func openDialogue(tok *tokenizer.Tokenizer, path string) (*data.Dialogue, error) {
	if path == "" {
		t, err := tok.ChatTemplate()
		if errors.Is(err, tokenizer.ErrNoChatTemplate) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return data.NewDialogue(t), nil
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("chat template: %w", err)
	}
	t, err := tok.NewChatTemplate(string(source))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data.NewDialogue(t), nil
}

// openChat is openDialogue for encoding data.
func openChat(tok *tokenizer.Tokenizer, path string) (data.Chat, error) {
	d, err := openDialogue(tok, path)
	if d == nil {
		return nil, err // not an interface that holds nil
	}
	return d, err
}
