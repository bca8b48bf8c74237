package tokenizer

import "strings"

// Bytes are those that a token stands for, whether or not they are whole characters; a special token stands for its name.
func (tk *Tokenizer) Bytes(id int32) []byte {
	s, ok := tk.Token(id)
	if !ok {
		return nil
	}
	if _, added := tk.added.all[id]; added {
		return []byte(s)
	}
	for _, m := range tk.decoder {
		switch m.new().(type) {
		case *byteLevelStage:
			if b, ok := appendLetterBytes(nil, s); ok {
				return b
			}
		case *fallbackStage:
			if b, ok := fallbackByte(s); ok {
				return []byte{b}
			}
		}
	}
	return []byte(tk.Piece(id))
}

// Piece is the text that a token adds where it is not the first: with the space that decoders leave out at the beginning of a text.
// Parts of characters are U+FFFD.
func (tk *Tokenizer) Piece(id int32) string {
	one, two := tk.Decode([]int32{id}, false), tk.Decode([]int32{id, id}, false)
	if rest, ok := strings.CutPrefix(two, one); ok {
		return rest
	}
	return one
}
