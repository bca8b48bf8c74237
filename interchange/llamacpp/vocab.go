package llamacpp

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/tokenizer"
)

// Kinds of tokens in a file.
const (
	normalToken  int32 = 1
	unknownToken int32 = 2
	controlToken int32 = 3
	userToken    int32 = 4
	unusedToken  int32 = 5
	byteToken    int32 = 6
)

// farScore is that of tokens that no merge makes.
const farScore = -1e6

// vocabulary is what tokenizer.json says beyond the tokens.
type vocabulary struct {
	Model struct {
		Type         string    `json:"type"`
		ByteFallback bool      `json:"byte_fallback"`
		UnkToken     *string   `json:"unk_token"`
		Merges       []joining `json:"merges"`
	} `json:"model"`
	PreTokenizer *preTokenizer `json:"pre_tokenizer"`
}

// joining is a pair of tokens that become one: "a b" or ["a", "b"].
type joining [2]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *joining) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		m[0], m[1], _ = strings.Cut(s, " ")
		return nil
	}
	return json.Unmarshal(b, (*[2]string)(m))
}

// preTokenizer is how texts are cut into words.
type preTokenizer struct {
	Type    string         `json:"type"`
	Steps   []preTokenizer `json:"pretokenizers"`
	Pattern struct {
		Regex string
	} `json:"pattern"`
	Behavior         string `json:"behavior"`
	Invert           bool   `json:"invert"`
	UseRegex         *bool  `json:"use_regex"`
	AddPrefixSpace   *bool  `json:"add_prefix_space"`
	IndividualDigits bool   `json:"individual_digits"`
}

// cuts are the pre-tokenisers that have a name in llama.cpp (llama-vocab.cpp, tokenizer.ggml.pre), by what key writes.
var cuts = []struct{ key, name string }{
	{"bytes by words", "gpt-2"},
	{"digits, bytes by words", "smollm"},
	{`split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+, bytes`, "llama-bpe"},
	{`split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+, bytes`, "qwen2"},
	{`split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+, bytes`, "tekken"},
}

// key writes a pre-tokeniser as the table cuts has it.
func (p *preTokenizer) key() string {
	if p == nil {
		return "none"
	}
	switch {
	case p.Type == "Sequence":
		var list []string
		for i := range p.Steps {
			list = append(list, p.Steps[i].key())
		}
		return strings.Join(list, ", ")
	case p.Type == "ByteLevel" && (p.UseRegex == nil || *p.UseRegex):
		return "bytes by words"
	case p.Type == "ByteLevel":
		return "bytes"
	case p.Type == "Digits" && p.IndividualDigits:
		return "digits"
	case p.Type == "Split" && p.Behavior == "Isolated" && !p.Invert:
		return "split " + p.Pattern.Regex
	}
	return p.Type
}

// cutName is llama.cpp's name for the pre-tokeniser.
func (v *vocabulary) cutName() (string, error) {
	key := v.PreTokenizer.key()
	var names []string
	for _, c := range cuts {
		if c.key == key {
			return c.name, nil
		}
		names = append(names, c.name)
	}
	return "", fmt.Errorf("tokenizer.json: pre_tokenizer %q is none of %s; if llama.cpp has it, --pre gives its name", key, strings.Join(names, ", "))
}

// vocabKeys are the tokenizer; without one llama.cpp works on ids.
func (j *Job) vocabKeys(size int) (pairs []gguf.Pair, notes []string, err error) {
	add := func(key string, v any) { pairs = append(pairs, gguf.Pair{Key: "tokenizer." + key, Value: v}) }
	if j.Tokenizer == nil {
		add("ggml.model", "none")
		return pairs, []string{"no tokenizer.json in the model's folder: the file has none, and programs must give it token ids"}, nil
	}
	if n := j.Tokenizer.VocabSize(); n > size {
		return nil, nil, fmt.Errorf("tokenizer.json has %d tokens, vocab_size in config.json is %d", n, size)
	}
	var v vocabulary
	if err := json.Unmarshal(j.TokenizerJSON, &v); err != nil {
		return nil, nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	if v.Model.Type != "" && v.Model.Type != "BPE" {
		return nil, nil, fmt.Errorf("tokenizer.json: model is %s, want BPE: llama.cpp's decoders have no other", v.Model.Type)
	}
	pieces := v.Model.ByteFallback // as sentencepiece has them, with ▁ for spaces
	pre := j.Pre
	switch {
	case pre == "" && pieces:
		pre = "default"
	case pre == "":
		if pre, err = v.cutName(); err != nil {
			return nil, nil, err
		}
	}
	add("ggml.model", map[bool]string{true: "llama", false: "gpt2"}[pieces])
	add("ggml.pre", pre)
	unknown, hasUnknown := j.Tokenizer.UNK()
	if name := v.Model.UnkToken; name != nil && !hasUnknown {
		unknown, hasUnknown = j.Tokenizer.TokenID(*name)
	}
	if !hasUnknown {
		unknown = -1
	}
	tokens, kinds := j.tokens(size, pieces, unknown)
	add("ggml.tokens", tokens)
	if pieces {
		add("ggml.scores", v.scores(tokens, kinds))
	}
	add("ggml.token_type", kinds)
	if pieces {
		add("ggml.add_space_prefix", j.spacePrefix())
	} else {
		add("ggml.merges", v.merges())
	}
	pairs = append(pairs, j.specialKeys(unknown)...)
	return append(pairs, j.templateKeys()...), notes, nil
}

var bytePiece = regexp.MustCompile(`^<0x[0-9A-Fa-f]{2}>$`)

// tokens are all tokens by id and what they are.
func (j *Job) tokens(size int, pieces bool, unknown int32) (tokens []string, kinds []int32) {
	added := map[int32]tokenizer.AddedToken{}
	for _, t := range j.Tokenizer.AddedTokens() {
		added[t.ID] = t
	}
	for id := range int32(size) {
		token, ok := j.Tokenizer.Token(id)
		t, isAdded := added[id]
		kind := normalToken
		switch {
		case !ok:
			token, kind = fmt.Sprintf("[PAD%d]", id), unusedToken
		case pieces && id == unknown:
			kind = unknownToken
		case isAdded && (t.Special || looksSpecial(token)):
			kind = controlToken
		case isAdded:
			token, kind = strings.ReplaceAll(token, "▁", " "), userToken // llama.cpp looks for these in the text as it was
		case pieces && bytePiece.MatchString(token):
			kind = byteToken
		}
		tokens, kinds = append(tokens, token), append(kinds, kind)
	}
	return tokens, kinds
}

// looksSpecial is what llama.cpp's converter takes for control tokens though the file does not say so.
func looksSpecial(token string) bool {
	around := func(start, end string) bool { return strings.HasPrefix(token, start) && strings.HasSuffix(token, end) }
	return slices.Contains([]string{"<pad>", "<mask>", "<2mass>", "[@BOS@]"}, token) || around("<|", "|>") || around("<｜", "｜>") || around("<unused", ">")
}

// scores order the merges: llama.cpp joins the two neighbours whose token scores highest. A token's score is how late a merge makes it.
func (v *vocabulary) scores(tokens []string, kinds []int32) []float32 {
	rank := map[string]int{}
	for i, m := range slices.Backward(v.Model.Merges) {
		rank[m[0]+m[1]] = i
	}
	list := make([]float32, len(tokens))
	for i, t := range tokens {
		r, made := rank[t]
		switch {
		case made:
			list[i] = float32(-r)
		case kinds[i] == normalToken && len([]rune(t)) > 1:
			list[i] = farScore
		}
	}
	return list
}

// merges are "a b"; a space within a token is written as the byte-level letter for it.
func (v *vocabulary) merges() []string {
	list := make([]string, len(v.Model.Merges))
	for i, m := range v.Model.Merges {
		list[i] = strings.ReplaceAll(m[0], " ", "Ġ") + " " + strings.ReplaceAll(m[1], " ", "Ġ")
	}
	return list
}

// spacePrefix says whether a text gets a space before it, by what becomes of one.
func (j *Job) spacePrefix() bool {
	e := j.Tokenizer.Encode("a", false)
	if e.Len() == 0 {
		return false
	}
	token, _ := j.Tokenizer.Token(e.IDs[0])
	return strings.HasPrefix(token, "▁")
}

// specialKeys are the tokens that begin and end texts.
func (j *Job) specialKeys(unknown int32) (pairs []gguf.Pair) {
	t, c := j.Tokenizer, j.config
	bos, hasBOS := t.BOS()
	if !hasBOS && len(c.BOSTokenID) > 0 {
		bos, hasBOS = c.BOSTokenID[0], true
	}
	eos, hasEOS := t.EOS()
	if !hasEOS && len(c.EOSTokenID) > 0 {
		eos, hasEOS = c.EOSTokenID[0], true
	}
	pad, hasPAD := t.PAD()
	mask, hasMASK := t.MASK()
	for _, s := range []struct {
		key string
		id  int32
		has bool
	}{{"bos", bos, hasBOS}, {"eos", eos, hasEOS}, {"unknown", unknown, true}, {"padding", pad, hasPAD}, {"mask", mask, hasMASK}} {
		if s.has && s.id >= 0 && int(s.id) < c.VocabSize {
			pairs = append(pairs, gguf.Pair{Key: "tokenizer.ggml." + s.key + "_token_id", Value: uint32(s.id)})
		}
	}
	return append(pairs, gguf.Pair{Key: "tokenizer.ggml.add_bos_token", Value: t.AddBOS()}, gguf.Pair{Key: "tokenizer.ggml.add_eos_token", Value: t.AddEOS()})
}

// templateKeys are the chat templates: the usual one, and others by name.
func (j *Job) templateKeys() (pairs []gguf.Pair) {
	var names []string
	for _, t := range j.Tokenizer.ChatTemplates() {
		key := "tokenizer.chat_template"
		if t.Name != "default" {
			names = append(names, t.Name)
			key += "." + t.Name
		}
		pairs = append(pairs, gguf.Pair{Key: key, Value: t.Source})
	}
	if len(names) > 0 {
		pairs = append(pairs, gguf.Pair{Key: "tokenizer.chat_templates", Value: names})
	}
	return pairs
}
