package tokenizer

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// components are sections of tokenizer.json in all their kinds, to start from.
var components = []string{
	`"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "StripAccents"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}`,
	`"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}`,
	`"normalizer": {"type": "Prepend", "prepend": "▁"}`,
	`"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}`,
	`"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}`,
	`"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}`,
	`"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\d"}, "behavior": "Isolated", "invert": false}`,
	`"decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}`,
	`"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true}`,
	`"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"a": {"id": "a", "ids": [1], "tokens": ["a"]}}}`,
}

// Small tokenizers as BERT's and T5's are built.
const (
	wordPieceFile = `{
	"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
	"pre_tokenizer": {"type": "BertPreTokenizer"},
	"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
	"model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1, "##b": 2, "the": 3, "##e": 4, "日": 5}, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}}`
	unigramFile = `{
	"normalizer": {"type": "NFKC"},
	"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
	"decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
	"model": {"type": "Unigram", "vocab": [["<unk>", 0], ["a", -1.5], ["▁", -2], ["▁the", -3], ["ab", -2]], "unk_id": 0, "byte_fallback": false}}`
)

// FuzzNew reads arbitrary files; what loads has to tokenize and decode.
func FuzzNew(f *testing.F) {
	f.Add([]byte(letterFile))
	f.Add(trained(f, 270))
	for _, c := range components {
		name, _, _ := strings.Cut(c, ":")
		changed := strings.Replace(letterFile, name+": null", c, 1)
		if changed == letterFile {
			i := strings.Index(letterFile, name)
			changed = letterFile[:i] + c + letterFile[i+strings.IndexByte(letterFile[i:], '\n')-1:]
		}
		f.Add([]byte(changed))
	}
	f.Add([]byte(wordPieceFile))
	f.Add([]byte(unigramFile))
	f.Add([]byte(`{"model": {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		tk, err := New(b)
		if err != nil {
			return
		}
		e := tk.EncodePair("ab ▁c é", "日 \xff", true)
		tk.Decode(e.IDs, true)
	})
}

// FuzzEncode encodes arbitrary bytes: ids are known, offsets lie at characters of the text, byte-level texts come back.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", " ", "the cat", "naïve 日本語 🙂", "\xff\xfe", "a\xf0\x9f\x99", "<s>", "e\u0301\u200d\u2028", strings.Repeat("a ", 100), "\x00\r\n\t"} {
		f.Add(s)
	}
	bytelevel, err := New(trained(f, 300))
	if err != nil {
		f.Fatal(err)
	}
	all := []*Tokenizer{bytelevel, letterTokenizer(f)}
	for _, file := range []string{wordPieceFile, unigramFile} {
		tk, err := New([]byte(file))
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, tk)
	}
	f.Fuzz(func(t *testing.T, s string) {
		valid := strings.ToValidUTF8(s, "\uFFFD")
		for i, tk := range all {
			e := tk.Encode(s, true)
			for k, id := range e.IDs {
				if _, ok := tk.Token(id); !ok {
					t.Fatalf("tokenizer %d: Encode(%q): id %d is no token", i, s, id)
				}
				o := e.Offsets[k]
				if o[0] < 0 || o[0] > o[1] || o[1] > len(valid) || !utf8.ValidString(valid[o[0]:o[1]]) {
					t.Fatalf("tokenizer %d: Encode(%q): offsets %v of token %d do not lie at characters", i, s, o, k)
				}
			}
			if got, want := stream(tk, e.IDs, true), tk.Decode(e.IDs, true); got != want {
				t.Fatalf("tokenizer %d: streaming %q = %q, want %q", i, s, got, want)
			}
		}
		if got := bytelevel.Decode(bytelevel.Encode(s, false).IDs, false); got != valid {
			t.Fatalf("Decode(Encode(%q)) = %q", s, got)
		}
	})
}
