package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/tokenizer"
)

// chatTemplate is one for the tokenizer of letters.
const chatTemplate = `{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}[SEP]{% endgeneration %}{% else %}{{ m.content }}[SEP]{% endif %}{% endfor %}`

// shippedBases are the models that the recipes name, as small ones of random weights.
var shippedBases = map[string]string{
	"models/all-minilm-l6-v2":      tinyBases[0].config,
	"models/bert-base-cased":       tinyBases[0].config,
	"models/bert-base-uncased":     tinyBases[0].config,
	"models/bert-base-chinese":     tinyBases[0].config,
	"models/roberta-base":          tinyBases[2].config,
	"models/qwen2.5-0.5b":          tinyBases[5].config,
	"models/qwen2.5-0.5b-instruct": tinyBases[5].config,
	"models/tinyllama-1.1b":        `{"model_type": "llama", "num_key_value_heads": 1, ` + sizes + `}`,
	"models/stories260K-hf":        `{"model_type": "llama", "num_key_value_heads": 1, ` + sizes + `}`,
	"models/t5-small":              tellers[0].config,
	"models/opus-mt-en-zh":         tellers[2].config,
	"models/gpt2-medium":           `{"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 57}`,
}

const (
	tinySentences = "play a song\nbook a table\nplay some jazz\nfind a table\n"
	tinyColumns   = "in O\nrome B-LOC\n\nann B-PER\nlee I-PER\nran O\n\nto O\noslo B-LOC\n\n"
	tinySquad     = `{"version": "1.1", "data": [{"title": "t", "paragraphs": [
{"context": "ann ran home", "qas": [{"id": "1", "question": "who ran", "answers": [{"text": "ann", "answer_start": 0}]}]},
{"context": "bob is in rome", "qas": [{"id": "2", "question": "where is bob", "answers": [{"text": "rome", "answer_start": 10}]}]},
{"context": "it is late", "qas": [{"id": "3", "question": "how is it", "answers": [{"text": "late", "answer_start": 6}]}]},
{"context": "we eat rice", "qas": [{"id": "4", "question": "what", "answers": [{"text": "rice", "answer_start": 7}]}]},
{"context": "you can go", "qas": [{"id": "5", "question": "who can go", "answers": [{"text": "you", "answer_start": 0}]}]}]}]}`
	tinyReviews     = "label\ttext_a\n1\t房间很好\n0\t太吵了\n1\t服务不错\n0\t不会再来\n"
	tinySST         = "sentence\tlabel\na good film\t1\na bad film\t0\nso good\t1\nso bad\t0\n"
	tinyInstruction = `[{"instruction": "say hello", "input": "", "output": "hello"}, {"instruction": "add", "input": "one and one", "output": "two"}, {"instruction": "name a city", "input": "", "output": "rome"}]`
	tinyChats       = `{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "who"}, {"role": "assistant", "content": "me"}]}
{"messages": [{"role": "user", "content": "where"}, {"role": "assistant", "content": "here"}]}
`
	tinyMaths = `{"question": "one and one", "answer": "two"}` + "\n" + `{"question": "two and one", "answer": "three"}` + "\n"
	tinyFacts = "name : zizzi | food : fish||zizzi has fish .\nname : cotto | food : rice||cotto has rice .\n"
)

// shippedRows are the files that the recipes name.
var shippedRows = map[string]map[string]string{
	"snips-intents":      {"snips/train/seq.in": tinySentences, "snips/train/label": "music\nfood\nmusic\nfood\n", "snips/test/seq.in": tinySentences, "snips/test/label": "music\nfood\nmusic\nfood\n"},
	"snips-slots":        {"snips/train/seq.in": "play some jazz\nbook a table\n", "snips/train/seq.out": "O O B-genre\nO O O\n", "snips/test/seq.in": "play jazz\n", "snips/test/seq.out": "O B-genre\n"},
	"wnut17-ner":         {"wnut17/wnut17train.conll": tinyColumns, "wnut17/emerging.test.annotated": tinyColumns},
	"wikiann-ner":        {"wikiann-en/train": strings.NewReplacer("in O", "en:in\tO", "rome B", "en:rome\tB", "ann B", "en:ann\tB", "lee I", "en:lee\tI", "ran O", "en:ran\tO", "to O", "en:to\tO", "oslo B", "en:oslo\tB").Replace(tinyColumns), "wikiann-en/test": "en:in\tO\nen:rome\tB-LOC\n\n"},
	"xquad-qa":           {"xquad/xquad.en.json": tinySquad},
	"chnsenticorp":       {"chnsenticorp.zip/train.tsv": tinyReviews, "chnsenticorp.zip/dev.tsv": tinyReviews},
	"glue-roberta":       {"SST-2/train.tsv": tinySST, "SST-2/dev.tsv": tinySST},
	"domain-mlm":         {"corpus.txt": strings.Repeat("the cat sat on the mat and saw a dog in the garden of a house\n", 80)},
	"e2e-gpt2-medium":    {"e2e/train.txt": tinyFacts, "e2e/valid.txt": tinyFacts},
	"e2e-stories260k":    {"datasets/e2e-lora-format/train.txt": tinyFacts, "datasets/e2e-lora-format/valid.txt": tinyFacts},
	"alpaca-lora":        {"alpaca.json": tinyInstruction},
	"alpaca-zh-lora":     {"alpaca_zh.json": tinyInstruction},
	"chat-lora":          {"chats.jsonl": tinyChats},
	"translation-t5":     {"wmt/train.jsonl": toldRows, "wmt/valid.jsonl": toldRows},
	"translation-marian": {"opus/train.jsonl": toldRows, "opus/valid.jsonl": toldRows},
	"gsm8k-lora":         {"gsm8k/train.jsonl": tinyMaths, "gsm8k/test.jsonl": tinyMaths},
}

// shippedApart are recipes that other tests run, with the reason.
var shippedApart = map[string]string{
	"quickstart":          "its base and data are in the program: scripts run it",
	"pretrain-quickstart": "its data are made by a generator, a quarter of an hour's work",
}

// realRuns are the recipes on real data, below the folder of the assets. A tokenizer in the place of a model makes a small one of random
// weights for it.
var realRuns = map[string]struct{ model, path, eval string }{
	"snips-intents":   {"models/all-minilm-l6-v2", "datasets/snips/train/seq.in", "datasets/snips/test/seq.in"},
	"snips-slots":     {"models/all-minilm-l6-v2", "datasets/snips/train/seq.in", "datasets/snips/train/seq.in"}, // so few rows lack labels of the test
	"wnut17-ner":      {"tokenizers/bert-base-cased", "datasets/wnut17/wnut17train.conll", "datasets/wnut17/emerging.test.annotated"},
	"wikiann-ner":     {"models/all-minilm-l6-v2", "datasets/wikiann-en/train", "datasets/wikiann-en/test"},
	"xquad-qa":        {"models/all-minilm-l6-v2", "datasets/xquad/xquad.en.json", ""},
	"xquad-qa, zh":    {"tokenizers/bert-base-chinese", "datasets/xquad/xquad.zh.json", ""},
	"chnsenticorp":    {"tokenizers/bert-base-chinese", "datasets/chnsenticorp/chnsenticorp.zip/train.tsv", "datasets/chnsenticorp/chnsenticorp.zip/dev.tsv"},
	"glue-roberta":    {"tokenizers/roberta-style", "datasets/snips/train/seq.in", "datasets/snips/test/seq.in"}, // GLUE itself is not there
	"domain-mlm":      {"tokenizers/bert-base-uncased", "datasets/llama-factory-demo/wiki_demo.txt", ""},
	"e2e-gpt2-medium": {"tokenizers/gpt2", "datasets/e2e-lora-format/train.txt", "datasets/e2e-lora-format/valid.txt"},
	"e2e-stories260k": {"models/stories260K-hf", "datasets/e2e-lora-format/train.txt", "datasets/e2e-lora-format/valid.txt"},
	"alpaca-lora":     {"tokenizers/llama-2-metaspace", "datasets/llama-factory-demo/alpaca_en_demo.json", ""},
	"alpaca-zh-lora":  {"tokenizers/qwen2", "datasets/llama-factory-demo/alpaca_zh_demo.json", ""},
	"chat-lora":       {"tokenizers/qwen2", "datasets/llama-factory-demo/glaive_toolcall_en_demo.json", ""},
	"gsm8k-lora":      {"tokenizers/qwen2", "datasets/gsm8k/train.jsonl", "datasets/gsm8k/test.jsonl"},
}

// TestShippedRecipesOnRealData runs the first rows of every recipe's data: so many that XQuAD's fifth paragraph is among them.
func TestShippedRecipesOnRealData(t *testing.T) {
	if !*long {
		t.Skip("the recipes on real data are run with -long")
	}
	assets := golden.Assets(t)
	for title, x := range realRuns {
		t.Run(title, func(t *testing.T) {
			t.Chdir(t.TempDir())
			name, _, _ := strings.Cut(title, ",")
			args := []string{"train", name, "-o", "run", "--set", "data.path=" + filepath.Join(assets, x.path), "--set", "data.max_rows=96", "--set", "data.eval_max_rows=12"}
			if x.eval != "" {
				args = append(args, "--set", "data.eval_path="+filepath.Join(assets, x.eval))
			}
			base := filepath.Join(assets, x.model)
			if strings.HasPrefix(x.model, "tokenizers/") {
				base = "base"
				randomBase(t, name, filepath.Join(assets, x.model))
			}
			trainBriefly(t, name, append(args, "--set", "model.path="+base))
		})
	}
}

// randomBase makes a small model of the kind that a recipe names, for a real tokenizer.
func randomBase(t *testing.T, name, tok string) {
	t.Helper()
	r := shippedRecipe(t, name)
	if err := os.CopyFS("shape", os.DirFS(tok)); err != nil {
		t.Fatal(err)
	}
	k, err := tokenizer.Open(os.DirFS("shape"))
	if err != nil {
		t.Fatal(err)
	}
	size := fmt.Sprintf(`"vocab_size": %d`, k.VocabSize())
	file("shape/config.json", strings.NewReplacer(`"vocab_size": 57`, size, longer[0], longer[1], longer[2], longer[3]).Replace(shippedBases[r.Model.Path]))(t)
	drawBase(t, "base", "shape")
}

// longer are replacements for models of longer texts.
var longer = []string{`"max_position_embeddings": 64`, `"max_position_embeddings": 2048`, `"n_positions": 64`, `"n_positions": 2048`}

func shippedRecipe(t *testing.T, name string) *recipes.Recipe {
	t.Helper()
	src, err := recipes.Shipped(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := recipes.Load(name, src, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestShippedRecipes runs every recipe of the program as it is, on small models and a few rows under the names that it has for them.
func TestShippedRecipes(t *testing.T) {
	for _, name := range recipes.ShippedNames() {
		rows, ok := shippedRows[name]
		if !ok {
			if shippedApart[name] == "" {
				t.Errorf("recipe %s has no rows in the table", name)
			}
			continue
		}
		t.Run(name, func(t *testing.T) { runShipped(t, name, rows) })
	}
}

func runShipped(t *testing.T, name string, rows map[string]string) {
	t.Chdir(t.TempDir())
	r := shippedRecipe(t, name)
	config, ok := shippedBases[r.Model.Path]
	if !ok {
		t.Fatalf("model.path is %q, which the table of bases lacks", r.Model.Path)
	}
	newBaseFolder(t, r.Model.Path, strings.NewReplacer(longer...).Replace(config))
	if r.Data.Shape == "chat" || r.Data.Template == "chat" {
		file(filepath.Join(r.Model.Path, "chat_template.jinja"), chatTemplate)(t)
	}
	for path, text := range rows {
		file(path, text)(t)
	}
	trainBriefly(t, name, []string{"train", name, "-o", "run"})
}

// trainBriefly runs a recipe into the folder run with less to do.
func trainBriefly(t *testing.T, name string, args []string) {
	t.Helper()
	if r := shippedRecipe(t, name); r.Train.MaxSteps > 0 {
		args = append(args, "--set", "train.max_steps=2")
	} else {
		args = append(args, "--set", "train.epochs=2")
	}
	if out := graft("", args...); out.code != exitOK {
		t.Fatalf("graft %s: %s", strings.Join(args, " "), out.stderr)
	}
	for _, file := range []string{"adapter/adapter_model.safetensors", "report.html", "metrics.jsonl"} {
		if _, err := os.Stat(filepath.Join("run", file)); err != nil {
			t.Error(err)
		}
	}
}
