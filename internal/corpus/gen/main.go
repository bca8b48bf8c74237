// Command gen writes the files that graft's own small base model is pretrained on and the task of the quickstart:
//
//	go run ./internal/corpus/gen -out DIR
//
//	corpus.txt       texts of all kinds, one blank line between two
//	train.jsonl      the quickstart's training rows, {"prompt", "completion"}
//	eval.jsonl       its held-out rows
//	tokenizer.json, tokenizer_config.json   byte-level BPE trained on corpus.txt
//
// The same flags give the same bytes.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/internal/corpus"
	"github.com/graft-ml/graft/tokenizer"
)

func main() {
	out := flag.String("out", ".", "folder to write to")
	texts := flag.Int("texts", 60000, "texts in corpus.txt")
	vocab := flag.Int("vocab", 1536, "tokens of the vocabulary")
	train, eval := flag.Int("train", 800, "training rows of the task"), flag.Int("eval", 100, "held-out rows of the task")
	seed := flag.Uint64("seed", 20261124, "seed of all draws")
	flag.Parse()
	if err := write(*out, *texts, *vocab, *train, *eval, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(out string, texts, vocab, train, eval int, seed uint64) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	g := corpus.New(seed)
	all := make([]string, texts)
	for i := range all {
		all[i] = g.Text()
	}
	rows := corpus.New(seed+1).Task(train+eval, nil)
	files := map[string][]byte{
		"corpus.txt":  []byte(strings.Join(all, "\n\n") + "\n"),
		"train.jsonl": lines(rows[:train]),
		"eval.jsonl":  lines(rows[train:]),
	}
	tok, err := tokenizer.TrainBPE(func(yield func(string) bool) {
		// A tenth of the texts holds every word of the lists many times.
		for _, t := range all[:texts/10] {
			if !yield(t) {
				return
			}
		}
	}, tokenizer.TrainOptions{VocabSize: vocab, Special: []string{"<s>", "</s>"}, BOS: "<s>"})
	if err != nil {
		return err
	}
	files["tokenizer.json"] = tok
	files["tokenizer_config.json"] = []byte(`{
  "add_bos_token": true,
  "add_eos_token": false,
  "bos_token": "<s>",
  "eos_token": "</s>",
  "clean_up_tokenization_spaces": false,
  "model_max_length": 512,
  "tokenizer_class": "PreTrainedTokenizerFast"
}
`)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(out, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func lines(rows []corpus.Row) []byte {
	var b bytes.Buffer
	for _, r := range rows {
		b.Write(r.JSON())
		b.WriteByte('\n')
	}
	return b.Bytes()
}
