package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/graft-ml/graft/internal/golden"
)

// TestOlderFilesAreTheSameTokenizer takes the tokenizers of the goldens apart into older files: the answers stay those of the reference.
func TestOlderFilesAreTheSameTokenizer(t *testing.T) {
	for _, c := range []struct {
		name, class string
		files       func(t *testing.T, dir string) fstest.MapFS
	}{
		{"bert-base-uncased", "", func(t *testing.T, dir string) fstest.MapFS {
			return fstest.MapFS{"vocab.txt": fileOf(t, dir, "vocab.txt")}
		}},
		{"bert-base-uncased", "BertTokenizerFast", func(t *testing.T, dir string) fstest.MapFS {
			return fstest.MapFS{"vocab.txt": fileOf(t, dir, "vocab.txt")}
		}},
		{"gpt2", "GPT2Tokenizer", takenApart},
	} {
		t.Run(c.name+", class "+c.class, func(t *testing.T) {
			var g goldenFile
			path := filepath.Join(golden.Dir(t), "tokenizers", c.name+".json")
			if _, err := os.Stat(path); err != nil {
				t.Skipf("no golden: %v", err)
			}
			readJSON(t, path, &g)
			files := c.files(t, filepath.Join(golden.Assets(t), "tokenizers", c.name))
			if c.class != "" {
				files["tokenizer_config.json"] = &fstest.MapFile{Data: fmt.Appendf(nil, `{"tokenizer_class": %q}`, c.class)}
			}
			if !Found(files) {
				t.Error("Found() = false")
			}
			tk, err := Open(files)
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, tk, &g)
		})
	}
}

func fileOf(t *testing.T, dir, name string) *fstest.MapFile {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("no asset: %v", err)
	}
	return &fstest.MapFile{Data: b}
}

// takenApart are vocab.json and merges.txt of a tokenizer.json.
func takenApart(t *testing.T, dir string) fstest.MapFS {
	t.Helper()
	var j struct {
		Model struct {
			Vocab  map[string]int32
			Merges []json.RawMessage
		}
		Added []struct {
			ID      int32
			Content string
		} `json:"added_tokens"`
	}
	if err := json.Unmarshal(fileOf(t, dir, "tokenizer.json").Data, &j); err != nil {
		t.Fatal(err)
	}
	for _, a := range j.Added {
		j.Model.Vocab[a.Content] = a.ID
	}
	vocab, err := json.Marshal(j.Model.Vocab)
	if err != nil {
		t.Fatal(err)
	}
	var merges strings.Builder
	merges.WriteString("#version: 0.2\n")
	for _, m := range j.Model.Merges {
		var pair []string
		var joined string
		if json.Unmarshal(m, &pair) == nil {
			joined = strings.Join(pair, " ")
		} else if err := json.Unmarshal(m, &joined); err != nil {
			t.Fatal(err)
		}
		merges.WriteString(joined + "\n")
	}
	return fstest.MapFS{"vocab.json": {Data: vocab}, "merges.txt": {Data: []byte(merges.String())}}
}

// tinyBERTVocab begins as BERT's own does.
const tinyBERTVocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nab\n##c\n好\n店\nAb\n"

const tinyByteVocab = `{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7, "Ġ": 8, "Ġa": 9}`

func TestOlderFiles(t *testing.T) {
	for _, c := range []struct {
		name, vocab, merges, config, text string
		want                              []int32
		mask, eos                         int32 // -1 = none
	}{
		{"BERT's without settings: lower case, a character of Chinese a word", tinyBERTVocab, "", "", "Abc 好店 [MASK]", []int32{2, 5, 6, 7, 8, 4, 3}, 4, -1},
		{"as it is written", tinyBERTVocab, "", `{"do_lower_case": false}`, "Abc", []int32{2, 9, 6, 3}, 4, -1},
		{"lines of Windows", strings.ReplaceAll(tinyBERTVocab, "\n", "\r\n"), "", "", "abc", []int32{2, 5, 6, 3}, 4, -1},
		{"other names", "<p>\n<u>\n<c>\n<s>\n<m>\nab\n", "", `{"pad_token": "<p>", "unk_token": "<u>", "cls_token": "<c>", "sep_token": {"content": "<s>"}, "mask_token": "<m>"}`, "ab <m>", []int32{2, 5, 4, 3}, 4, -1},
		{"RoBERTa's", tinyByteVocab, "#version: 0.2\na b\nĠ a\n", "", "ab a<mask>", []int32{0, 7, 9, 4, 2}, 4, 2},
		{"BART's by its class", tinyByteVocab, "a b\n", `{"tokenizer_class": "BartTokenizer"}`, "ab", []int32{0, 7, 2}, 4, 2},
	} {
		tk, err := Open(olderFS(c.vocab, c.merges, c.config))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := tk.Encode(c.text, true).IDs; fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %q is %v, want %v", c.name, c.text, got, c.want)
		}
		if id, ok := tk.MASK(); !ok && c.mask >= 0 || ok && id != c.mask {
			t.Errorf("%s: MASK() = %d, %v, want %d", c.name, id, ok, c.mask)
		}
		if id, ok := tk.EOS(); ok != (c.eos >= 0) || ok && id != c.eos {
			t.Errorf("%s: EOS() = %d, %v, want %d", c.name, id, ok, c.eos)
		}
	}
}

func olderFS(vocab, merges, config string) fstest.MapFS {
	files := fstest.MapFS{}
	if merges == "" {
		files["vocab.txt"] = &fstest.MapFile{Data: []byte(vocab)}
	} else {
		files["vocab.json"], files["merges.txt"] = &fstest.MapFile{Data: []byte(vocab)}, &fstest.MapFile{Data: []byte(merges)}
	}
	if config != "" {
		files["tokenizer_config.json"] = &fstest.MapFile{Data: []byte(config)}
	}
	return files
}

func TestBadOlderFiles(t *testing.T) {
	for _, c := range []struct{ name, vocab, merges, config, want string }{
		{"no special tokens", "a\nb\n", "", "", `tokenizer: vocab.txt: no token "[UNK]" in 2 lines`},
		{"another class", tinyBERTVocab, "", `{"tokenizer_class": "MPNetTokenizer"}`, `tokenizer: tokenizer_class in tokenizer_config.json is "MPNetTokenizer", whose vocab.txt graft does not read; it wants tokenizer.json, which save_pretrained of transformers writes`},
		{"merges of three", tinyByteVocab, "a b c\n", "", "tokenizer: merges.txt:1: \"a b c\", want two tokens with a space between\ntokenizer_config.json does not say tokenizer_class, so that RoBERTa's was tried"},
		{"a merge of what is no token", tinyByteVocab, "a z\n", "", `tokenizer: tokenizer.json: model.merges[0]: "a" and "z" make "az", want three tokens of the vocabulary`},
		{"a vocabulary cut off", tinyByteVocab[:20], "a b\n", `{"tokenizer_class": "RobertaTokenizer"}`, "tokenizer: vocab.json: unexpected end of JSON input"},
		{"nothing", "", "", "", `tokenizer: vocab.txt: no token "[UNK]" in 1 lines`},
	} {
		_, err := Open(olderFS(c.vocab, c.merges, c.config))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := Open(fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), "tokenizer.json") {
		t.Errorf("an empty folder: %v", err)
	}
}

func FuzzOlderFiles(f *testing.F) {
	f.Add(tinyBERTVocab, "", "")
	f.Add(tinyByteVocab, "#version: 0.2\na b\n", `{"tokenizer_class": "GPT2Tokenizer"}`)
	f.Fuzz(func(t *testing.T, vocab, merges, config string) {
		if tk, err := Open(olderFS(vocab, merges, config)); err == nil {
			tk.Decode(tk.Encode("ab 好", true).IDs, false)
		}
	})
}
