package tokenizer

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// letterFile is a tokenizer.json that makes a token of each letter a to h, with [CLS] and [SEP] around texts; spaces part
// words.
const letterFile = `{
	"added_tokens": [
		{"id": 9, "content": "[CLS]", "special": true, "normalized": false, "lstrip": false, "rstrip": false, "single_word": false},
		{"id": 10, "content": "[SEP]", "special": true, "normalized": false, "lstrip": false, "rstrip": false, "single_word": false}],
	"normalizer": null,
	"pre_tokenizer": {"type": "Whitespace"},
	"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 10], "cls": ["[CLS]", 9]},
	"decoder": null,
	"model": {"type": "BPE", "vocab": {"?": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8}, "merges": [], "unk_token": "?"}
}`

func letterTokenizer(t testing.TB) *Tokenizer {
	t.Helper()
	tk, err := New([]byte(letterFile))
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

// letters writes ids as letters, [CLS] as < and [SEP] as >.
func letters(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteByte("?abcdefgh<>"[id])
	}
	return b.String()
}

func TestTruncation(t *testing.T) {
	for _, c := range []struct {
		name  string
		cut   Truncation
		texts []string
		want  string   // tokens
		over  []string // what overflows
	}{
		{"what fits stays", Truncation{MaxLength: 6}, []string{"abcd"}, "<abcd>", nil},
		{"from the right", Truncation{MaxLength: 4}, []string{"abcde"}, "<ab>", []string{"<cd>", "<e>"}},
		{"from the left", Truncation{MaxLength: 4, Direction: "Left"}, []string{"abcde"}, "<de>", []string{"<bc>", "<a>"}},
		{"parts share the stride", Truncation{MaxLength: 5, Stride: 1}, []string{"abcdef"}, "<abc>", []string{"<cde>", "<ef>"}},
		{"the longest first", Truncation{MaxLength: 7}, []string{"abcdef", "gh"}, "<ab>gh>", []string{"<cd>gh>", "<ef>gh>"}},
		{"both where both are long", Truncation{MaxLength: 7}, []string{"abcd", "efgh"}, "<ab>ef>", []string{"<cd>ef>", "<cd>gh>", "<ab>gh>"}},
		{"only the first", Truncation{MaxLength: 8, Strategy: "OnlyFirst"}, []string{"abcd", "efgh"}, "<a>efgh>", []string{"<b>efgh>", "<c>efgh>", "<d>efgh>"}},
		{"only the second", Truncation{MaxLength: 8, Strategy: "OnlySecond"}, []string{"abcd", "efgh"}, "<abcd>e>", []string{"<abcd>f>", "<abcd>g>", "<abcd>h>"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := letterTokenizer(t).EncodeWith(Options{Special: true, Truncation: &c.cut}, c.texts...)
			if err != nil {
				t.Fatal(err)
			}
			var over []string
			for _, o := range e.Overflowing {
				over = append(over, letters(o.IDs))
			}
			if got := letters(e.IDs); got != c.want || !slices.Equal(over, c.over) {
				t.Errorf("EncodeWith(%q, %+v) = %s and %q, want %s and %q", c.texts, c.cut, got, over, c.want, c.over)
			}
		})
	}
	for _, c := range []struct {
		cut   Truncation
		texts []string
		want  string
	}{
		{Truncation{MaxLength: 1}, []string{"ab"}, "tokenizer: truncation: max_length is 1, want at least the 2 special tokens"},
		{Truncation{MaxLength: 4, Stride: 2}, []string{"abcd"}, "tokenizer: truncation: stride is 2, want less than the 2 tokens that are left of a text"},
		{Truncation{MaxLength: 4, Strategy: "OnlySecond"}, []string{"abcd"}, "tokenizer: truncation: strategy OnlySecond with one text, want a pair"},
		{Truncation{MaxLength: 5, Strategy: "OnlyFirst"}, []string{"ab", "cdef"}, "tokenizer: truncation: the first text has 2 tokens, want more than the 4 to cut"},
		{Truncation{MaxLength: 4, Strategy: "Middle"}, []string{"ab"}, `tokenizer: truncation: strategy is "Middle", want LongestFirst, OnlyFirst or OnlySecond`},
		{Truncation{}, nil, "tokenizer: 0 texts, want one or two"},
	} {
		if _, err := letterTokenizer(t).EncodeWith(Options{Special: true, Truncation: &c.cut}, c.texts...); err == nil || err.Error() != c.want {
			t.Errorf("EncodeWith(%q, %+v) = %v, want %q", c.texts, c.cut, err, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	tk := letterTokenizer(t)
	e := tk.EncodePair("ab c", "d", true)
	if want := []int32{-1, 0, 0, 1, -1, 0, -1}; !slices.Equal(e.Words, want) {
		t.Errorf("Words = %v, want %v", e.Words, want)
	}
	if want := []int32{-1, 0, 0, 0, -1, 1, -1}; !slices.Equal(e.Texts, want) {
		t.Errorf("Texts = %v, want %v", e.Texts, want)
	}
	t.Run("words given are counted as given", func(t *testing.T) {
		e := tk.EncodeWords([]string{"ab", "", "c d", "e"}, true)
		if want := []int32{-1, 0, 0, 2, 2, 3, -1}; !slices.Equal(e.Words, want) || letters(e.IDs) != "<abcde>" {
			t.Errorf("EncodeWords = %s with Words %v, want <abcde> with %v", letters(e.IDs), e.Words, want)
		}
		if want := [2]int{2, 3}; e.Offsets[4] != want {
			t.Errorf("Offsets[4] = %v, want %v within the word", e.Offsets[4], want)
		}
	})
}

func TestEncodeBatch(t *testing.T) {
	tk, err := New(trained(t, 300))
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{""}
	for i := range 300 {
		texts = append(texts, fmt.Sprintf("the cat %d sat on %d mats, naïve 日本 🙂", i, i*i))
	}
	var want []Encoding
	for _, s := range texts {
		want = append(want, tk.Encode(s, true))
	}
	for _, n := range []int{0, 1, 2, 7, 1000} {
		if got := tk.EncodeBatch(texts, true, n); !reflect.DeepEqual(got, want) {
			t.Errorf("EncodeBatch on %d goroutines differs from Encode one by one", n)
		}
	}
	if got := tk.EncodeBatch(nil, true, 4); len(got) != 0 {
		t.Errorf("EncodeBatch(nil) = %v, want nothing", got)
	}
}

// TestStream decodes byte by byte: no part ends inside a character, and the parts are the whole.
func TestStream(t *testing.T) {
	tk, err := New(trained(t, 258))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "plain", "naïve 日本語 🙂 👩‍👩‍👧", "\xf0\x9f", "a\xffb", "e\u0301"} {
		ids := tk.Encode(text, true).IDs
		if got, want := stream(tk, ids, true), tk.Decode(ids, true); got != want {
			t.Errorf("streaming %q = %q, want %q", text, got, want)
		}
	}
	t.Run("half a character at the end is shown as such", func(t *testing.T) {
		ids := tk.Encode("🙂", false).IDs
		d := tk.NewDecoder(true)
		for _, id := range ids[:len(ids)-1] {
			if part := d.Next(id); part != "" {
				t.Errorf("Next(%d) = %q, want nothing yet", id, part)
			}
		}
		if got := d.Flush(); got != tk.Decode(ids[:len(ids)-1], true) || got == "" {
			t.Errorf("Flush() = %q, want %q", got, tk.Decode(ids[:len(ids)-1], true))
		}
	})
}

func TestOpen(t *testing.T) {
	folder := func(files ...string) fstest.MapFS {
		f := fstest.MapFS{"tokenizer.json": {Data: []byte(letterFile)}}
		for i := 0; i < len(files); i += 2 {
			f[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
		}
		return f
	}
	const config, special = "tokenizer_config.json", "special_tokens_map.json"
	for _, c := range []struct {
		name     string
		files    fstest.MapFS
		bos, eos string
		template string // all of them
	}{
		{"nothing beside", folder(), "", "", ""},
		{"names", folder(config, `{"bos_token":"[CLS]","eos_token":{"content":"[SEP]"}}`), "[CLS]", "[SEP]", ""},
		{"the map fills in", folder(config, `{"bos_token":"[CLS]"}`, special, `{"bos_token":"a","eos_token":{"content":"[SEP]"}}`), "[CLS]", "[SEP]", ""},
		{"the map alone", folder(special, `{"bos_token":"[CLS]"}`), "[CLS]", "", ""},
		{"null is none", folder(config, `{"bos_token":null}`, special, `{"bos_token":"[CLS]"}`), "", "", ""},
		{"one template", folder(config, `{"chat_template":"x"}`), "", "", "default=x"},
		{"several templates", folder(config, `{"chat_template":[{"name":"default","template":"x"},{"name":"tool_use","template":"y"}]}`), "", "", "default=x tool_use=y"},
		{"the file wins", folder(config, `{"chat_template":"x"}`, "chat_template.jinja", "z"), "", "", "default=z"},
		{"further files", folder("chat_template.jinja", "z", "additional_chat_templates/rag.jinja", "r"), "", "", "default=z rag=r"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tk, err := Open(c.files)
			if err != nil {
				t.Fatal(err)
			}
			name := func(id int32, ok bool) string {
				if !ok {
					return ""
				}
				s, _ := tk.Token(id)
				return s
			}
			var all []string
			for _, x := range tk.ChatTemplates() {
				all = append(all, x.Name+"="+x.Source)
			}
			if bos, eos, got := name(tk.BOS()), name(tk.EOS()), strings.Join(all, " "); bos != c.bos || eos != c.eos || got != c.template {
				t.Errorf("Open: bos %q, eos %q, templates %q, want %q, %q, %q", bos, eos, got, c.bos, c.eos, c.template)
			}
		})
	}
	for _, c := range []struct {
		files fstest.MapFS
		want  string
	}{
		{fstest.MapFS{}, "tokenizer: open tokenizer.json: file does not exist"},
		{folder(config, `{"eos_token":"</s>"}`), `tokenizer: tokenizer_config.json: eos_token is "</s>", want a token of tokenizer.json`},
		{folder(config, `{"eos_token":1}`), "tokenizer: tokenizer_config.json: 1, want a token or an object with its content"},
		{folder(config, `{"chat_template":1}`), "tokenizer: tokenizer_config.json: chat_template: json: cannot unmarshal number into Go value of type []struct { Name string \"json:\\\"name\\\"\"; Template string \"json:\\\"template\\\"\" }"},
	} {
		if _, err := Open(c.files); err == nil || err.Error() != c.want {
			t.Errorf("Open = %v, want %q", err, c.want)
		}
	}
}

// TestTruncatedFile cuts tokenizer.json at every byte: an error each time, and never a panic.
func TestTruncatedFile(t *testing.T) {
	for n := range len(letterFile) {
		if _, err := New([]byte(letterFile[:n])); err == nil {
			t.Errorf("New(the first %d bytes) = nil, want an error", n)
		}
	}
}
