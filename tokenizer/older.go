package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// older are the files in which model folders without a tokenizer.json have their tokenizer, and the tokenizer.json that transformers
// makes of them for the tokenizer_class that tokenizer_config.json names; "" is for folders that name none.
var older = []struct {
	file    string
	classes []string
	convert func(fsys fs.FS, c olderConfig) (map[string]any, error)
	named   func(c olderConfig) config
}{
	{"vocab.txt", []string{"", "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"}, wordPieces, bertNames},
	{"merges.txt", []string{"GPT2Tokenizer"}, gpt2Merges, gpt2Names},
	{"merges.txt", []string{"RobertaTokenizer", "BartTokenizer", "LongformerTokenizer", ""}, robertaMerges, robertaNames},
}

// olderConfig is what tokenizer_config.json says about them.
type olderConfig struct {
	Class        string    `json:"tokenizer_class"`
	LowerCase    *bool     `json:"do_lower_case"`
	StripAccents *bool     `json:"strip_accents"`
	ChineseChars *bool     `json:"tokenize_chinese_chars"`
	AddSpace     bool      `json:"add_prefix_space"`
	CLS          tokenName `json:"cls_token"`
	SEP          tokenName `json:"sep_token"`
	UNK          tokenName `json:"unk_token"`
	PAD          tokenName `json:"pad_token"`
	MASK         tokenName `json:"mask_token"`
	BOS          tokenName `json:"bos_token"`
	EOS          tokenName `json:"eos_token"`
}

// Found says whether a model folder has a tokenizer that Open reads, or would if its files were in order.
func Found(fsys fs.FS) bool {
	for _, name := range []string{"tokenizer.json", older[0].file, older[1].file} {
		if _, err := fs.Stat(fsys, name); err == nil {
			return true
		}
	}
	return false
}

// readOlder makes a tokenizer.json of older files, with the names of its special tokens. missing is the error about tokenizer.json.
func readOlder(fsys fs.FS, missing error) ([]byte, config, error) {
	var c olderConfig
	if err := readOptional(fsys, "tokenizer_config.json", &c); err != nil {
		return nil, config{}, err
	}
	class, there := strings.TrimSuffix(c.Class, "Fast"), ""
	for _, o := range older {
		if _, err := fs.Stat(fsys, o.file); err != nil {
			continue
		}
		there = o.file
		if !slices.Contains(o.classes, class) {
			continue
		}
		parts, err := o.convert(fsys, c)
		if err != nil {
			return nil, config{}, fmt.Errorf("tokenizer: %w", err)
		}
		b, err := json.Marshal(parts)
		return b, o.named(c), err
	}
	if there != "" {
		return nil, config{}, fmt.Errorf("tokenizer: tokenizer_class in tokenizer_config.json is %q, whose %s graft does not read; it wants tokenizer.json, which save_pretrained of transformers writes", c.Class, there)
	}
	return nil, config{}, fmt.Errorf("tokenizer: %w", missing)
}

func given(t tokenName, otherwise string) tokenName { return t.or(tokenName{otherwise, true}) }

func bertNames(c olderConfig) config {
	return config{unk: given(c.UNK, "[UNK]"), pad: given(c.PAD, "[PAD]"), mask: given(c.MASK, "[MASK]")}
}

func gpt2Names(c olderConfig) config {
	const end = "<|endoftext|>"
	return config{bos: given(c.BOS, end), eos: given(c.EOS, end), unk: given(c.UNK, end)}
}

func robertaNames(c olderConfig) config {
	return config{bos: given(c.BOS, "<s>"), eos: given(c.EOS, "</s>"), unk: given(c.UNK, "<unk>"), pad: given(c.PAD, "<pad>"), mask: given(c.MASK, "<mask>")}
}

// wordPieces reads BERT's vocab.txt, a token a line.
func wordPieces(fsys fs.FS, c olderConfig) (map[string]any, error) {
	b, err := fs.ReadFile(fsys, "vocab.txt")
	if err != nil {
		return nil, err
	}
	vocab := map[string]int32{}
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n"), "\n")
	for i, token := range lines {
		vocab[token] = int32(i) // of two lines the last counts
	}
	n := bertNames(c)
	cls, sep := given(c.CLS, "[CLS]").content, given(c.SEP, "[SEP]").content
	for _, token := range []string{n.unk.content, cls, sep} {
		if _, ok := vocab[token]; !ok {
			return nil, fmt.Errorf("vocab.txt: no token %q in %d lines", token, len(lines))
		}
	}
	piece := func(token string, typeID int) map[string]any {
		return map[string]any{"SpecialToken": map[string]any{"id": token, "type_id": typeID}}
	}
	text := func(id string, typeID int) map[string]any {
		return map[string]any{"Sequence": map[string]any{"id": id, "type_id": typeID}}
	}
	special := map[string]any{}
	for _, token := range []string{cls, sep} {
		special[token] = map[string]any{"id": token, "ids": []int32{vocab[token]}, "tokens": []string{token}}
	}
	return map[string]any{
		"added_tokens":  addedOf(vocab, false, n.pad.content, n.unk.content, cls, sep, n.mask.content),
		"normalizer":    map[string]any{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": isTrue(c.ChineseChars, true), "strip_accents": c.StripAccents, "lowercase": isTrue(c.LowerCase, true)},
		"pre_tokenizer": map[string]any{"type": "BertPreTokenizer"},
		"post_processor": map[string]any{"type": "TemplateProcessing", "special_tokens": special, "single": []any{piece(cls, 0), text("A", 0), piece(sep, 0)},
			"pair": []any{piece(cls, 0), text("A", 0), piece(sep, 0), text("B", 1), piece(sep, 1)}},
		"decoder": map[string]any{"type": "WordPiece", "prefix": "##", "cleanup": true},
		"model":   map[string]any{"type": "WordPiece", "unk_token": n.unk.content, "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab},
	}, nil
}

// addedOf are the special tokens that a vocabulary has.
func addedOf(vocab map[string]int32, normalized bool, tokens ...string) (list []map[string]any) {
	for i, token := range tokens {
		if id, ok := vocab[token]; ok && !slices.Contains(tokens[:i], token) {
			list = append(list, map[string]any{"id": id, "content": token, "special": true, "single_word": false, "lstrip": token == "<mask>", "rstrip": false, "normalized": normalized && token != "<mask>"})
		}
	}
	slices.SortFunc(list, func(a, b map[string]any) int { return int(a["id"].(int32) - b["id"].(int32)) })
	return list
}

// vocabAndMerges reads GPT-2's vocab.json and merges.txt, two tokens a line.
func vocabAndMerges(fsys fs.FS, c olderConfig, processor map[string]any, special ...string) (map[string]any, error) {
	b, err := fs.ReadFile(fsys, "vocab.json")
	if err != nil {
		return nil, err
	}
	var vocab map[string]int32
	if err := json.Unmarshal(b, &vocab); err != nil {
		return nil, fmt.Errorf("vocab.json: %w", err)
	}
	if b, err = fs.ReadFile(fsys, "merges.txt"); err != nil {
		return nil, err
	}
	merges := []string{}
	n := 0
	for line := range bytes.Lines(b) {
		n++
		s := strings.TrimRight(string(line), "\r\n")
		if s == "" || n == 1 && strings.HasPrefix(s, "#version") {
			continue
		}
		if strings.Count(s, " ") != 1 {
			return nil, fmt.Errorf("merges.txt:%d: %.60q, want two tokens with a space between", n, s)
		}
		merges = append(merges, s)
	}
	for key, token := range map[string]string{"sep": given(c.SEP, "</s>").content, "cls": given(c.CLS, "<s>").content} {
		if processor["type"] != "RobertaProcessing" {
			break
		}
		id, ok := vocab[token]
		if !ok {
			return nil, fmt.Errorf("vocab.json: no token %q in %d", token, len(vocab))
		}
		processor[key] = []any{token, id}
	}
	level := map[string]any{"type": "ByteLevel", "add_prefix_space": c.AddSpace, "trim_offsets": true, "use_regex": true}
	return map[string]any{"added_tokens": addedOf(vocab, true, special...), "pre_tokenizer": level, "post_processor": processor, "decoder": level,
		"model": map[string]any{"type": "BPE", "continuing_subword_prefix": "", "end_of_word_suffix": "", "vocab": vocab, "merges": merges}}, nil
}

func gpt2Merges(fsys fs.FS, c olderConfig) (map[string]any, error) {
	n := gpt2Names(c)
	return vocabAndMerges(fsys, c, map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}, n.bos.content, n.eos.content, n.unk.content)
}

// robertaMerges are GPT-2's files of RoBERTa's kin; of folders that do not say which, those that mark the ends of a text are theirs.
func robertaMerges(fsys fs.FS, c olderConfig) (map[string]any, error) {
	n := robertaNames(c)
	parts, err := vocabAndMerges(fsys, c, map[string]any{"type": "RobertaProcessing", "trim_offsets": true, "add_prefix_space": c.AddSpace},
		n.bos.content, n.pad.content, n.eos.content, n.unk.content, n.mask.content)
	if err != nil && c.Class == "" {
		return nil, errors.Join(err, errors.New("tokenizer_config.json does not say tokenizer_class, so that RoBERTa's was tried"))
	}
	return parts, err
}
