package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// token is one token of a piece: its id and the bytes of the piece that it covers.
type token struct{ id, start, end int32 }

// model turns a piece into tokens and appends them to dst. Models are read-only after loading; what they need while
// working is in the worker.
type model interface {
	tokenize(w *worker, s string, dst []token) []token
	// takesBytes reports whether the model reads the raw bytes of byte-level pieces.
	takesBytes() bool
}

// modelJSON holds the keys of every kind of model, but for the vocabulary and the merges.
type modelJSON struct {
	Type                    string  `json:"type"`
	UnkToken                *string `json:"unk_token"`
	ContinuingSubwordPrefix *string `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string `json:"end_of_word_suffix"`
	FuseUnk                 bool    `json:"fuse_unk"`
	ByteFallback            bool    `json:"byte_fallback"`
	IgnoreMerges            bool    `json:"ignore_merges"`
	MaxInputCharsPerWord    *int    `json:"max_input_chars_per_word"`
	UnkID                   *int    `json:"unk_id"`
}

// newModel reads the model. Old files have no type: the keys tell it.
func newModel(obj fields) (model, *vocabulary, error) {
	var j modelJSON
	if err := obj.decodeWithout(&j, "vocab", "merges"); err != nil {
		return nil, nil, fmt.Errorf("model: %w", err)
	}
	if j.Type == "" {
		j.Type = obj.guessModel()
	}
	build, ok := models[j.Type]
	if !ok {
		return nil, nil, unknownType("model", j.Type, models)
	}
	if obj["vocab"] == nil {
		return nil, nil, errors.New("model.vocab: missing")
	}
	m, v, err := build(&j, obj)
	if err != nil {
		return nil, nil, fmt.Errorf("model.%w", err)
	}
	return m, v, nil
}

// models is the table of kinds.
var models = map[string]func(j *modelJSON, obj fields) (model, *vocabulary, error){
	"BPE": newBPE, "WordPiece": newWordPiece, "Unigram": newUnigram, "WordLevel": newWordLevel,
}

func (f fields) guessModel() string {
	switch {
	case f["merges"] != nil:
		return "BPE"
	case f["unk_id"] != nil || len(f["vocab"]) > 0 && f["vocab"][0] == '[':
		return "Unigram"
	case f["continuing_subword_prefix"] != nil || f["max_input_chars_per_word"] != nil:
		return "WordPiece"
	}
	return "WordLevel"
}

// wordLevel has one token per word.
type wordLevel struct {
	vocab *vocabulary
	unk   int32
}

func newWordLevel(j *modelJSON, obj fields) (model, *vocabulary, error) {
	v, err := readVocabulary(obj["vocab"])
	if err != nil {
		return nil, nil, err
	}
	m := &wordLevel{vocab: v}
	m.unk, err = unknownID(j, v, "<unk>")
	return m, v, err
}

func unknownID(j *modelJSON, v *vocabulary, otherwise string) (int32, error) {
	if j.UnkToken != nil {
		otherwise = *j.UnkToken
	}
	id, ok := v.ids[otherwise]
	if !ok {
		return 0, fmt.Errorf("unk_token: %q, want a token of the vocabulary", otherwise)
	}
	return id, nil
}

func (*wordLevel) takesBytes() bool { return false }

func (m *wordLevel) tokenize(_ *worker, s string, dst []token) []token {
	id, ok := m.vocab.ids[s]
	if !ok {
		id = m.unk
	}
	return append(dst, token{id, 0, int32(len(s))})
}

// wordPiece takes the longest known piece again and again; a word that does not work out is unknown as a whole.
type wordPiece struct {
	first  *trie // pieces that start a word
	inside *trie // pieces that go on, without their prefix
	unk    int32
	limit  int // longest word in characters
}

func newWordPiece(j *modelJSON, obj fields) (model, *vocabulary, error) {
	v, err := readVocabulary(obj["vocab"])
	if err != nil {
		return nil, nil, err
	}
	m := &wordPiece{first: newTrie(len(v.ids)), inside: newTrie(len(v.ids) / 4), limit: 100}
	if m.unk, err = unknownID(j, v, "[UNK]"); err != nil {
		return nil, nil, err
	}
	if j.MaxInputCharsPerWord != nil {
		m.limit = *j.MaxInputCharsPerWord
	}
	prefix := "##"
	if j.ContinuingSubwordPrefix != nil {
		prefix = *j.ContinuingSubwordPrefix
	}
	for id, s := range v.tokens {
		if at, ok := v.ids[s]; !ok || at != int32(id) {
			continue
		}
		m.first.add(s, int32(id))
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			m.inside.add(rest, int32(id))
		}
	}
	return m, v, nil
}

func (*wordPiece) takesBytes() bool { return false }

func (m *wordPiece) tokenize(w *worker, s string, dst []token) []token {
	return w.cached(m, s, dst)
}

func (m *wordPiece) word(_ *worker, s string, dst []token) []token {
	start := len(dst)
	if len(s) > m.limit && utf8.RuneCountInString(s) > m.limit {
		return append(dst, token{m.unk, 0, int32(len(s))})
	}
	set := m.first
	for i := 0; i < len(s); {
		id, n := set.longest(s[i:])
		if n == 0 {
			return append(dst[:start], token{m.unk, 0, int32(len(s))})
		}
		dst = append(dst, token{id, int32(i), int32(i + n)})
		i += n
		set = m.inside
	}
	return dst
}
