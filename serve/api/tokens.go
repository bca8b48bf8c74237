package api

import (
	"net/http"

	"github.com/graft-ml/graft/tokenizer"
)

// tokenize tells the tokens of a text (prompt, or content as llama-server has it) or of a conversation (messages).
func (s *Server) tokenize(x *exchange) error {
	f := x.body
	if _, err := s.choose(x); err != nil {
		return err
	}
	strs := f.flag("return_token_strs", false)
	var p prompt
	var chat *tokenizer.Chat
	if f.has("messages") {
		c := s.conversation(f)
		chat = &c
		f.ignore("add_special_tokens")
	} else {
		field := "prompt"
		if !f.has("prompt") && f.has("content") {
			field = "content"
		}
		if !f.has(field) {
			f.wrong(field, "missing, want a text, or messages")
		}
		special := f.flag("add_special_tokens", f.flag("add_special", field == "prompt"))
		p = s.encode(f.str(field, ""), special)
	}
	if err := f.end(); err != nil {
		return err
	}
	if chat != nil {
		var err error
		if p, err = s.render(*chat); err != nil {
			return err
		}
	}
	answer := map[string]any{"count": len(p.ids), "max_model_len": s.MaxLen, "tokens": append([]int32{}, p.ids...)}
	if strs {
		list := make([]string, len(p.ids))
		for i, id := range p.ids {
			list[i], _ = s.Tokenizer.Token(id)
		}
		answer["token_strs"] = list
	}
	return x.json(http.StatusOK, answer)
}

// detokenize tells the text of tokens, under the names that vLLM and llama-server have for it.
func (s *Server) detokenize(x *exchange) error {
	f := x.body
	if _, err := s.choose(x); err != nil {
		return err
	}
	if !f.has("tokens") {
		f.wrong("tokens", "missing, want a list of token ids")
	}
	ids := s.tokenIDs(f, "tokens", int(s.Limits.Body))
	if err := f.end(); err != nil {
		return err
	}
	text := s.Tokenizer.Decode(ids, false)
	return x.json(http.StatusOK, map[string]any{"prompt": text, "content": text})
}
