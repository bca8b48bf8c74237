package tokenizer_test

import (
	"testing"

	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/tokenizer"
)

// TestBytesAreTheText has the bytes of a text's tokens make the text, also where a token is half a character, and pieces keep their spaces.
func TestBytesAreTheText(t *testing.T) {
	tok, err := tokenizer.Open(recipes.Quickstart())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "name = Stone Oven", "石窑供应米饭。", "thé 🍵 \u00a0\t", "a\u0301"} {
		var got []byte
		for _, id := range tok.Encode(text, false).IDs {
			got = append(got, tok.Bytes(id)...)
		}
		if string(got) != text {
			t.Errorf("the bytes of the tokens of %q are %q", text, got)
		}
	}
	for id := range int32(tok.VocabSize()) {
		if token, ok := tok.Token(id); ok && tok.Special(id) && string(tok.Bytes(id)) != token {
			t.Errorf("the bytes of the special token %q are %q", token, tok.Bytes(id))
		}
	}
	if ids := tok.Encode("a Stone", false).IDs; tok.Piece(ids[len(ids)-1]) == "" || tok.Bytes(-1) != nil || tok.Piece(1<<20) != "" {
		t.Error("pieces of tokens are not their text, or tokens that are none have one")
	}
}

// TestPieceKeepsSpaces is about decoders that leave the space before a first word out.
func TestPieceKeepsSpaces(t *testing.T) {
	tok, err := tokenizer.New([]byte(`{"model": {"type": "BPE", "vocab": {"▁a": 0, "b": 1, "<0xE7>": 2}, "merges": [], "byte_fallback": true},
		"decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
		{"type": "Strip", "content": " ", "start": 1, "stop": 0}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range []struct{ piece, bytes string }{{" a", " a"}, {"b", "b"}, {"\uFFFD", "\xe7"}} {
		if piece, bytes := tok.Piece(int32(id)), string(tok.Bytes(int32(id))); piece != want.piece || bytes != want.bytes {
			t.Errorf("token %d is %q of bytes %q, want %q of %q", id, piece, bytes, want.piece, want.bytes)
		}
	}
}
