package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/recipes"
	"github.com/graft-ml/graft/task"
)

// letters is a tokenizer of single letters between [CLS] and [SEP].
func letters() (tokenizer, config string) {
	vocab := map[string]int{}
	for _, t := range []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} {
		vocab[t] = len(vocab)
	}
	for c := 'a'; c <= 'z'; c++ {
		vocab[string(c)] = len(vocab)
		vocab["##"+string(c)] = len(vocab)
	}
	var special []map[string]any
	for _, t := range []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} {
		special = append(special, map[string]any{"id": vocab[t], "content": t, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
	}
	b, err := json.Marshal(map[string]any{"version": "1.0", "added_tokens": special,
		"normalizer":     map[string]any{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "lowercase": true},
		"pre_tokenizer":  map[string]any{"type": "BertPreTokenizer"},
		"post_processor": map[string]any{"type": "BertProcessing", "sep": []any{"[SEP]", 3}, "cls": []any{"[CLS]", 2}},
		"decoder":        map[string]any{"type": "WordPiece", "prefix": "##", "cleanup": true},
		"model":          map[string]any{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab}})
	if err != nil {
		panic(err)
	}
	return string(b), `{"mask_token": "[MASK]", "pad_token": "[PAD]", "unk_token": "[UNK]"}`
}

// sizes are those of all tiny bases.
const sizes = `"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 57, "max_position_embeddings": 64`

// tinyBases are small models by model_type; their heads are left to the tasks.
var tinyBases = []struct{ name, config string }{
	{"bert", `{"model_type": "bert", "architectures": ["BertModel"], "type_vocab_size": 2, ` + sizes + `}`},
	{"distilbert", `{"model_type": "distilbert", "architectures": ["DistilBertForMaskedLM"], "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "vocab_size": 57, "max_position_embeddings": 64}`},
	{"roberta", `{"model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "type_vocab_size": 2, ` + sizes + `}`},
	{"deberta-v2", `{"model_type": "deberta-v2", "architectures": ["DebertaV2ForMaskedLM"], "type_vocab_size": 0, "relative_attention": true, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": -1, "position_biased_input": false, ` + sizes + `}`},
	{"electra", `{"model_type": "electra", "architectures": ["ElectraForMaskedLM"], "embedding_size": 16, "type_vocab_size": 2, ` + sizes + `}`},
	{"qwen2", `{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "num_key_value_heads": 1, "tie_word_embeddings": true, ` + sizes + `}`},
}

// labelled are rows of each task, and what predicting them must say.
var labelled = []struct {
	name, task, rows, lines string
	score                   string // of graft eval; "" = none
	keys                    string // of a prediction
}{
	{"single label", "seq-cls", `{"text": "good", "label": "pos"}
{"text": "bad", "label": "neg"}
{"text": "fine day", "label": "pos"}
{"text": "sad day", "label": "neg"}
`, "", "accuracy", "label probability probabilities"},
	{"several labels", "seq-cls", `{"text": "red", "label": ["colour"]}
{"text": "red cat", "label": ["animal", "colour"]}
{"text": "cat", "label": ["animal"]}
{"text": "of", "label": []}
`, "", "micro_f1", "labels probabilities"},
	{"numbers of pairs", "seq-cls", `{"text": "a cat", "text2": "a cat", "label": 5.0}
{"text": "a cat", "text2": "dogs", "label": 1.5}
{"text": "dogs", "text2": "dogs", "label": 4.5}
{"text": "my day", "text2": "cats", "label": 0.0}
`, "", "mse", "value values"},
	{"entities", "token-cls", `{"tokens": ["in", "rome"], "tags": ["O", "B-LOC"]}
{"tokens": ["ann", "lee", "ran"], "tags": ["B-PER", "I-PER", "O"]}
{"tokens": ["to", "oslo"], "tags": ["O", "B-LOC"]}
`, "", "f1", "text words tags probabilities entities"},
	{"questions", "question-answering", `{"id": "q1", "question": "who ran", "context": "ann ran home", "answers": [{"text": "ann", "answer_start": 0}]}
{"id": "q2", "question": "where", "context": "bob is in rome now", "answers": [{"text": "rome", "answer_start": 10}]}
`, "", "f1", "answer start end probability best"},
	{"hidden tokens", "masked-lm", `{"text": "the cat sat on the [MASK]"}
{"text": "a dog ran to the cat"}
`, "", "", "text masks"},
}

// newTaskWorld makes a folder with a base in base/, rows in rows.jsonl and a recipe r.toml.
func newTaskWorld(t *testing.T, config, rows, taskName, lines string) {
	t.Helper()
	t.Chdir(t.TempDir())
	newBaseFolder(t, "base", config)
	for name, text := range map[string]string{"rows.jsonl": rows,
		"r.toml": fmt.Sprintf("[model]\npath = \"base\"\ntask = %q\ncompute = \"f32\"\n[method]\nr = 2\n%s[data]\npath = \"rows.jsonl\"\neval_path = \"rows.jsonl\"\n[train]\nbatch_size = 2\nmax_steps = 4\nsave_steps = 2\nlearning_rate = 1e-2\n[output]\ndir = \"run\"\n", taskName, lines)} {
		file(name, text)(t)
	}
}

// newBaseFolder makes a model of random weights for the tokenizer of letters.
func newBaseFolder(t *testing.T, dir, config string) {
	t.Helper()
	tok, tokConfig := letters()
	shape := t.TempDir()
	for name, text := range map[string]string{"config.json": config, "tokenizer.json": tok, "tokenizer_config.json": tokConfig} {
		file(filepath.Join(shape, name), text)(t)
	}
	drawBase(t, dir, shape)
}

// drawBase makes a model of random weights of a folder with its config.json and tokenizer.
func drawBase(t *testing.T, dir, shape string) {
	t.Helper()
	b, err := openFiles(shape, arithmetic{compute: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.draw(model.Want{Kind: b.config.HeadKind()}, 1); err != nil {
		t.Fatal(err)
	}
	b.model.Unfreeze()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := b.saveFull(dir); err != nil {
		t.Fatal(err)
	}
}

// TestTasks has every task trained, resumed, evaluated, merged and predicted with; the merged model does as the run.
func TestTasks(t *testing.T) {
	for i, base := range tinyBases {
		for k, x := range labelled {
			if i > 0 && !*long && (i+k)%3 != 0 { // a third of the matrix, but for the first base
				continue
			}
			m, err := model.ParseConfig([]byte(base.config))
			if err != nil {
				t.Fatal(err)
			}
			if own, err := task.Lookup(x.task); err != nil || m.Output(own.Head) == "" {
				continue // the family has no such head
			}
			t.Run(base.name+", "+x.name, func(t *testing.T) {
				newTaskWorld(t, base.config, x.rows, x.task, x.lines)
				ok(t, "check", "r.toml")
				ok(t, "train", "r.toml")
				run := evaluated(t, "run")
				if x.score != "" && (len(run.Scores) == 0 || run.Scores[0].Name != x.score) {
					t.Errorf("scores are %v, want %s first", run.Scores, x.score)
				}
				resumed(t, true)
				ok(t, "merge", "run", "-o", "merged", "--dtype", "f32")
				merged := evaluated(t, "run", "--base-only", "--set", "model.path=merged")
				if d := math.Abs(run.Loss - merged.Loss); !(d <= 1e-5) { // a few rounded products
					t.Errorf("loss of the merged model %.7f, of the run %.7f", merged.Loss, run.Loss)
				}
				samePredictions(t, strings.Count(x.rows, "\n"), x.keys)
			})
		}
	}
}

func evaluated(t *testing.T, args ...string) (e evaluation) {
	t.Helper()
	if err := json.Unmarshal([]byte(ok(t, append([]string{"eval", "--json"}, args...)...).stdout), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// resumed takes the last checkpoint and the result away: a resumed run gives the same adapter, with a head of its own or without.
func resumed(t *testing.T, head bool) {
	t.Helper()
	before, err := os.ReadFile(adapterFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run/checkpoints/step-4", "run/adapter"} {
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	ok(t, "train", "r.toml", "--resume")
	if after, err := os.ReadFile(adapterFile); err != nil || string(after) != string(before) {
		t.Errorf("the resumed run gives another adapter (%v)", err)
	}
	if !exists("run/report.html") || exists(filepath.Join("run/adapter", headFile)) != head {
		t.Errorf("the run has no report, or its adapter has %s: %v, want %v", headFile, !head, head)
	}
}

// samePredictions has the run, its adapter and the merged model answer all rows: a line each, the same from all.
func samePredictions(t *testing.T, rows int, keys string) {
	t.Helper()
	want := ok(t, "predict", "run", "--input", "rows.jsonl", "--compute", "f32").stdout
	lines := strings.Split(strings.TrimSuffix(want, "\n"), "\n")
	if len(lines) != rows {
		t.Fatalf("%d lines for %d rows:\n%s", len(lines), rows, want)
	}
	var o map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &o); err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Fields(keys) {
		if _, there := o[key]; !there {
			t.Errorf("no %q in %s", key, lines[0])
		}
	}
	if got := ok(t, "predict", "run/adapter", "--input", "rows.jsonl", "--compute", "f32").stdout; got != want {
		t.Errorf("graft predict run/adapter says\n%s, want\n%s", got, want)
	}
	if got := ok(t, "predict", "run", "--input", "rows.jsonl", "--batch-rows", "1").stdout; strings.Count(got, "\n") != rows { // numbers may differ by a rounding
		t.Errorf("graft predict --batch-rows 1 says\n%s, want %d lines", got, rows)
	}
	ok(t, "predict", "merged", "--input", "rows.jsonl", "--output", "p.jsonl")
}

// TestTasksByMethod trains a classifier by methods that store its head in other ways.
func TestTasksByMethod(t *testing.T) {
	newTaskWorld(t, tinyBases[0].config, labelled[0].rows, "seq-cls", "")
	recipe := readText(t, "r.toml")
	for _, method := range []string{
		"type = \"prefix_tuning\"\nnum_virtual_tokens = 3\n", "type = \"prompt_tuning\"\nnum_virtual_tokens = 3\n", "type = \"ia3\"\n", "type = \"ln_tuning\"\n",
		"type = \"full\"\ntrainable = '^classifier|pooler'\n", "type = \"full\"\n",
	} {
		file("m.toml", strings.Replace(recipe, "[method]\nr = 2\n", "[method]\n"+method, 1))(t)
		ok(t, "train", "m.toml", "--overwrite")
		var a, b evaluation
		for _, x := range []struct {
			e    *evaluation
			args []string
		}{{&a, []string{"run"}}, {&b, []string{"m.toml", "--adapter", "run/adapter"}}} {
			*x.e = evaluated(t, x.args...)
		}
		if a.Loss != b.Loss || len(a.Scores) == 0 {
			t.Errorf("%s: loss %g by the run and %g by its adapter, scores %v", method, a.Loss, b.Loss, a.Scores)
		}
		if out := ok(t, "predict", "run", "--input", "rows.jsonl").stdout; strings.Count(out, "\"label\":\"") < 4 {
			t.Errorf("%s: graft predict says %s", method, out)
		}
	}
}

// TestTaskIsInferred leaves out model.task.
func TestTaskIsInferred(t *testing.T) {
	for _, x := range labelled[:5] {
		t.Run(x.name, func(t *testing.T) {
			newTaskWorld(t, tinyBases[0].config, x.rows, "auto", "")
			if out := ok(t, "check", "r.toml", "--recipe").stdout; !strings.Contains(out, fmt.Sprintf("task = %q", x.task)) {
				t.Errorf("the resolved recipe is\n%s, want task %s", out, x.task)
			}
		})
	}
	t.Run("of a decoder by the shape", func(t *testing.T) {
		newTaskWorld(t, tinyBases[5].config, labelled[0].rows, "auto", "")
		if out := ok(t, "check", "r.toml", "--recipe", "--set", "data.shape=classification").stdout; !strings.Contains(out, `task = "seq-cls"`) {
			t.Errorf("the resolved recipe is\n%s, want task seq-cls", out)
		}
	})
}

// TestTaskChoices holds the choices of model.task to the table of tasks.
func TestTaskChoices(t *testing.T) {
	var want []string
	for _, x := range task.Tasks {
		want = append(want, x.Name)
	}
	for _, k := range recipes.Keys() {
		if k.Path == "model.task" && strings.Join(k.Choices, " ") != "auto "+strings.Join(want, " ") {
			t.Errorf("model.task is one of %q, want auto and %q", k.Choices, want)
		}
	}
	for _, x := range task.Tasks {
		found := false
		for _, d := range decoders {
			found = found || d.head == x.Head
		}
		if !found {
			t.Errorf("graft predict has no decoder for task %s", x.Name)
		}
	}
}

// TestEncodersDoNotGenerate asks an encoder to go on with a text.
func TestEncodersDoNotGenerate(t *testing.T) {
	base := filepath.Join(golden.Dir(t), "models", "bert-mlm")
	for _, args := range [][]string{{"generate", base, "-p", "x"}, {"chat", base}} {
		if r := graft("", args...); r.code != exitFailed || r.stdout != "" || !strings.Contains(r.stderr, "bert has a head ForMaskedLM, want ForCausalLM to generate; graft predict") {
			t.Errorf("graft %s = %d, %q, %q", strings.Join(args, " "), r.code, r.stdout, r.stderr)
		}
	}
}
