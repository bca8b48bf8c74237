// Package tokenizer turns text into token ids and back, from the files that Hugging Face models come with:
// tokenizer.json, tokenizer_config.json, special_tokens_map.json and chat templates.
//
//	tk, err := tokenizer.Open(os.DirFS("model"))
//	e := tk.Encode("Once upon a time", true)   // e.IDs, e.Offsets …
//	s := tk.Decode(e.IDs, true)
//
// A text goes through five steps, each a component of tokenizer.json: added tokens are cut out of it; the normaliser
// rewrites what is left (lower case, Unicode forms); the pre-tokeniser cuts it into words; the model (BPE, WordPiece,
// Unigram, WordLevel) cuts words into tokens; the post-processor puts special tokens around them. The decoder goes the
// other way.
//
// Ids, offsets and decoded texts are those of the reference implementation, Hugging Face tokenizers, whose answers are
// golden values of the tests. Offsets are byte offsets into the text given (the reference counts characters), so that
// text[o[0]:o[1]] is what a token covers; a token of a part of a character covers the whole character.
//
// A Tokenizer is read-only and safe for concurrent use.
package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"unicode/utf8"
)

// Tokenizer is a loaded tokenizer.
type Tokenizer struct {
	added      *addedTokens
	normalizer normalizer
	words      []preTokenizer
	model      model
	vocab      *vocabulary
	processor  processor
	decoder    []stageMaker // nil: tokens are joined by spaces
	truncation *Truncation

	tokens  []string // by id, added tokens included
	special []bool   // by id
	named   config
	workers sync.Pool
}

// file is tokenizer.json, but for the model.
type file struct {
	Truncation    *Truncation     `json:"truncation"`
	AddedTokens   json.RawMessage `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
}

// Open reads a model folder: tokenizer.json, and where they exist tokenizer_config.json, special_tokens_map.json and
// chat_template.jinja. Without tokenizer.json it reads vocab.txt (BERT's kin), or vocab.json and merges.txt (GPT-2's and RoBERTa's), as
// transformers does.
func Open(fsys fs.FS) (*Tokenizer, error) {
	b, err := fs.ReadFile(fsys, "tokenizer.json")
	var named config
	if errors.Is(err, fs.ErrNotExist) {
		if b, named, err = readOlder(fsys, err); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	tk, err := New(b)
	if err != nil {
		return nil, err
	}
	tk.named = named
	if err := tk.readConfig(fsys); err != nil {
		return nil, err
	}
	return tk, nil
}

// New reads the content of a tokenizer.json.
func New(b []byte) (*Tokenizer, error) {
	tk, err := load(b)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: tokenizer.json: %w", err)
	}
	return tk, nil
}

func load(b []byte) (*Tokenizer, error) {
	obj, err := topLevel(b)
	if err != nil {
		return nil, err
	}
	var f file
	if err := obj.decodeWithout(&f, "model"); err != nil {
		return nil, err
	}
	if isNull(obj["model"]) {
		return nil, errors.New("model: missing")
	}
	modelObj, err := splitObject(obj["model"])
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	tk := &Tokenizer{truncation: f.Truncation}
	list, listErr := readAddedTokens(f.AddedTokens)
	var errs [6]error
	errs[0] = listErr
	tk.model, tk.vocab, errs[1] = newModel(modelObj)
	tk.normalizer, errs[2] = newNormalizer(f.Normalizer, "normalizer")
	tk.words, errs[3] = newPreTokenizer(f.PreTokenizer, "pre_tokenizer")
	tk.processor, errs[4] = newProcessor(f.PostProcessor, "post_processor")
	tk.decoder, errs[5] = newDecoder(f.Decoder, "decoder")
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if f.Truncation != nil {
		if err := f.Truncation.Validate(); err != nil {
			return nil, fmt.Errorf("truncation: %w", err)
		}
	}
	if tk.added, err = newAddedTokens(list, tk.vocab, tk.normalizer); err != nil {
		return nil, err
	}
	tk.index()
	return tk, nil
}

// topLevel checks the whole file and splits it into its fields.
func topLevel(b []byte) (fields, error) {
	if !json.Valid(b) {
		var any json.RawMessage
		err := json.Unmarshal(b, &any)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("byte %d of %d: %w", syntax.Offset, len(b), err)
		}
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return splitObject(b)
}

// splitObject splits a well-formed object into its fields, whose values still lie in b.
func splitObject(b []byte) (fields, error) {
	f := fields{}
	w := walker{b: b}
	err := w.object(func(key []byte) error {
		name := string(key)
		w.next()
		start := w.i
		w.skip()
		f[name] = b[start:w.i]
		return nil
	})
	return f, err
}

// index lists tokens and special tokens by id.
func (tk *Tokenizer) index() {
	size := len(tk.vocab.tokens)
	for id := range tk.added.all {
		size = max(size, int(id)+1)
	}
	tk.tokens = make([]string, size)
	copy(tk.tokens, tk.vocab.tokens)
	tk.special = make([]bool, size)
	for id, t := range tk.added.all {
		tk.tokens[id] = t.Content
		tk.special[id] = t.Special
	}
	tk.workers.New = func() any { return &worker{cache: map[string][]token{}} }
}

// VocabSize is the largest id plus one, added tokens included.
func (tk *Tokenizer) VocabSize() int { return len(tk.tokens) }

// TokenID is the id of a token, written as in the vocabulary.
func (tk *Tokenizer) TokenID(token string) (int32, bool) {
	if id, ok := tk.added.ids[token]; ok {
		return id, true
	}
	id, ok := tk.vocab.ids[token]
	return id, ok
}

// Token is the token of an id, as the vocabulary writes it.
func (tk *Tokenizer) Token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(tk.tokens) || tk.tokens[id] == "" {
		return "", false
	}
	return tk.tokens[id], true
}

// Special reports whether an id is a special token.
func (tk *Tokenizer) Special(id int32) bool {
	return id >= 0 && int(id) < len(tk.special) && tk.special[id]
}

// AddedTokens lists the added tokens by id.
func (tk *Tokenizer) AddedTokens() []AddedToken {
	var list []AddedToken
	for id := range tk.tokens {
		if t, ok := tk.added.all[int32(id)]; ok {
			list = append(list, t)
		}
	}
	return list
}

// Options say how to encode.
type Options struct {
	Special    bool        // put in the special tokens of the post-processor
	Truncation *Truncation // nil: keep everything
}

// Truncation is the section of tokenizer.json, or nil. Encode does not apply it by itself: a text that has to be cut is
// the caller's decision.
func (tk *Tokenizer) Truncation() *Truncation { return tk.truncation }

// Encode tokenizes a text. Text that is not UTF-8 gets U+FFFD in place of each wrong part first, and the offsets are
// those of that text.
func (tk *Tokenizer) Encode(text string, special bool) Encoding {
	e := tk.one(text, 0)
	return tk.finish(special, e)
}

// EncodePair tokenizes two texts as one sequence.
func (tk *Tokenizer) EncodePair(a, b string, special bool) Encoding {
	return tk.finish(special, tk.one(a, 0), tk.one(b, 1))
}

// EncodeWords tokenizes words that are given one by one: Words of the result counts them, Offsets lie within each word.
func (tk *Tokenizer) EncodeWords(words []string, special bool) Encoding {
	w := tk.workers.Get().(*worker)
	defer tk.workers.Put(w)
	var e Encoding
	for i, s := range words {
		from := e.Len()
		tk.tokenize(w, s, 0, &e)
		for k := from; k < e.Len(); k++ {
			e.Words[k] = int32(i)
		}
	}
	return tk.finish(special, e)
}

// EncodeWith tokenizes one or two texts with options; what truncation cuts off is in Overflowing.
func (tk *Tokenizer) EncodeWith(o Options, texts ...string) (Encoding, error) {
	if len(texts) < 1 || len(texts) > 2 {
		return Encoding{}, fmt.Errorf("tokenizer: %d texts, want one or two", len(texts))
	}
	parts := make([]Encoding, len(texts))
	for i, s := range texts {
		parts[i] = tk.one(s, int32(i))
	}
	if t := o.Truncation; t != nil {
		if err := t.Validate(); err != nil {
			return Encoding{}, fmt.Errorf("tokenizer: truncation: %w", err)
		}
		limit := t.MaxLength
		if o.Special && tk.processor != nil {
			added := tk.processor.added(len(texts) == 2)
			if limit -= added; limit < 0 {
				return Encoding{}, fmt.Errorf("tokenizer: truncation: max_length is %d, want at least the %d special tokens", t.MaxLength, added)
			}
		}
		var b *Encoding
		if len(parts) == 2 {
			b = &parts[1]
		}
		if err := t.shorten(&parts[0], b, limit); err != nil {
			return Encoding{}, err
		}
	}
	return tk.finish(o.Special, parts...), nil
}

// one tokenizes a text without special tokens.
func (tk *Tokenizer) one(s string, which int32) Encoding {
	w := tk.workers.Get().(*worker)
	defer tk.workers.Put(w)
	var e Encoding
	tk.tokenize(w, s, which, &e)
	return e
}

// finish runs the post-processor and joins the parts.
func (tk *Tokenizer) finish(special bool, parts ...Encoding) Encoding {
	if tk.processor != nil {
		parts = tk.processor.process(tk, parts, special)
	}
	if len(parts) == 0 {
		return Encoding{}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	var e Encoding
	if len(parts[0].Overflowing) == 0 {
		n := 0
		for i := range parts {
			n += parts[i].Len()
		}
		e = Encoding{IDs: make([]int32, 0, n), Offsets: make([][2]int, 0, n), TypeIDs: make([]int32, 0, n), Words: make([]int32, 0, n), Texts: make([]int32, 0, n)}
	}
	for i := range parts {
		e.join(&parts[i])
	}
	return e
}

// tokenize appends the tokens of s to e.
func (tk *Tokenizer) tokenize(w *worker, s string, which int32, e *Encoding) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	e.reserve(len(s)/bytesPerToken + 4)
	whole := text{s: s, id: noToken}
	w.raw = tk.added.split(&whole, tk.added.raw, w.raw[:0])
	word := int32(0)
	for i := range w.raw {
		if w.raw[i].id != noToken {
			w.emit(e, s, &w.raw[i], which, &word)
			continue
		}
		p := w.raw[i]
		if tk.normalizer != nil {
			tk.normalizer.normalize(&p)
		}
		w.normal = tk.added.split(&p, tk.added.normalized, w.normal[:0])
		for k := range w.normal {
			if w.normal[k].id != noToken {
				w.emit(e, s, &w.normal[k], which, &word)
				continue
			}
			for _, piece := range tk.cut(w, &w.normal[k]) {
				w.run(tk.model, e, s, &piece, which, &word)
			}
		}
	}
}

// cut runs the pre-tokenisers over a piece.
func (tk *Tokenizer) cut(w *worker, t *text) []text {
	cur, next := append(w.pieces[:0], *t), w.spare[:0]
	for _, p := range tk.words {
		next = next[:0]
		for i := range cur {
			if _, ok := p.(byteLevel); !ok {
				cur[i].letters()
			}
			next = p.split(&cur[i], next)
		}
		cur, next = next, cur
	}
	if !tk.model.takesBytes() {
		for i := range cur {
			cur[i].letters()
		}
	}
	w.pieces, w.spare = cur, next
	return cur
}

// worker is what one goroutine needs while it tokenizes.
type worker struct {
	raw, normal, pieces, spare []text
	tokens                     []token
	symbols                    []symbol
	heap                       minHeap
	endings                    []ending
	bytes                      bool // the piece at hand holds raw bytes
	cache                      map[string][]token
}

const (
	bytesPerToken  = 3       // or more, of most texts
	maxCachedWord  = 64      // bytes; longer words are rare
	maxCachedWords = 1 << 15 // then the cache starts again
)

// wordModel tokenizes a word that is not in the cache.
type wordModel interface {
	word(w *worker, s string, dst []token) []token
}

// cached looks a word up before the model is asked.
func (w *worker) cached(m wordModel, s string, dst []token) []token {
	if len(s) > maxCachedWord {
		return m.word(w, s, dst)
	}
	if known, ok := w.cache[s]; ok {
		return append(dst, known...)
	}
	from := len(dst)
	dst = m.word(w, s, dst)
	if len(w.cache) >= maxCachedWords {
		clear(w.cache)
	}
	w.cache[strings.Clone(s)] = append([]token(nil), dst[from:]...)
	return dst
}

// run tokenizes a piece.
func (w *worker) run(m model, e *Encoding, s string, t *text, which int32, word *int32) {
	w.bytes = t.bytes
	w.tokens = m.tokenize(w, t.s, w.tokens[:0])
	for _, k := range w.tokens {
		start, end := t.original(int(k.start), int(k.end))
		a, b := wholeCharacters(s, int(start), int(end))
		e.push(k.id, a, b, which, *word, which)
	}
	*word++
}

// emit appends an added token.
func (w *worker) emit(e *Encoding, s string, t *text, which int32, word *int32) {
	start, end := t.original(0, len(t.s))
	e.push(t.id, int(start), int(end), which, *word, which)
	*word++
}

// wholeCharacters widens a range to the characters it touches.
func wholeCharacters(s string, a, b int) (int, int) {
	for a > 0 && a < len(s) && !utf8.RuneStart(s[a]) {
		a--
	}
	for b < len(s) && !utf8.RuneStart(s[b]) {
		b++
	}
	return a, b
}
