package cli

import (
	"os"
	"strings"
	"testing"
)

// badTasks are inputs about tasks that must end in one line; the world is that of newTaskWorld, trained.
func badTasks() []bad {
	const train, adapter, head = "train r.toml -o new", "run/adapter/adapter_model.safetensors", "run/adapter/" + headFile
	rows := func(text string) func(*testing.T) { return file("rows.jsonl", labelled[0].rows+text+"\n") }
	return []bad{
		{name: "task that is none", args: train + " --set model.task=seqcls", code: 2, want: `model.task is "seqcls", want one of auto, causal-lm, seq2seq-lm, seq-cls`},
		{name: "task in PEFT's word", args: train + " --set model.task=SEQ_CLS", code: 2, want: `(did you mean "seq-cls"?)`},
		{name: "task that the model cannot", args: train + " --set model.task=causal-lm", code: 1, want: `base: model: bert has no head ForCausalLM, want one of Model, ForSequenceClassification, ForMaskedLM, ForTokenClassification, ForQuestionAnswering (model.task is "causal-lm")`},
		{name: "shape of another task", args: train + " --set data.shape=qa", code: 2, want: `data.shape is "qa", which is for model.task "question-answering", not "seq-cls"`},
		{name: "rows of another task", args: train + " --set model.task=token-cls", code: 1, want: `rows.jsonl:1: columns "text", "label" fit none of the shapes tokens`},
		{name: "row without a label", setup: rows(`{"text": "x"}`), args: train, code: 1, want: `rows.jsonl:5: no field "label"`},
		{name: "row with an empty label", setup: rows(`{"text": "x", "label": " "}`), args: train, code: 1, want: `rows.jsonl:5: field "label" is empty, want a label`},
		{name: "row with a number for a label", setup: rows(`{"text": "x", "label": 0.5}`), args: train, code: 1, want: `rows.jsonl:5: field "label" is 0.5, want a label (problem_type is single_label_classification; say regression for numbers)`},
		{name: "rows with one label only", setup: file("rows.jsonl", `{"text": "x", "label": "pos"}`), args: train, code: 1, want: `data: the rows have the labels ["pos"], want at least 2`},
		{name: "held-out row of an unknown label", setup: file("eval.jsonl", labelled[0].rows+`{"text": "x", "label": "meh"}`), args: train + " --set data.eval_path=eval.jsonl", code: 1, want: `eval.jsonl:5: label "meh" is none of the labels neg, pos`},
		{name: "labels of the recipe without one of the rows", args: train + ` --set data.labels=["pos","meh"]`, code: 1, want: `label "neg" is none of the labels pos, meh`, lines: 2},
		{name: "labels of the recipe twice", args: train + ` --set data.labels=["pos","pos"]`, code: 1, want: `data: labels[1] is "pos", want another name than those before it`},
		{name: "hidden tokens without a mask", setup: all(file("base/tokenizer_config.json", "{}"), instead("base/tokenizer.json", "[MASK]", "[HIDE]"), instead("base/tokenizer.json", "[MASK]", "[HIDE]")), args: train + " --set model.task=masked-lm", code: 1, want: `data: the tokenizer has no mask_token, which model.task "masked-lm" needs`},
		{name: "hidden tokens of prompts", args: train + " --set model.task=masked-lm --set data.shape=prompt_completion", code: 2, want: `data.shape is "prompt_completion", want masked_text for model.task "masked-lm"`},
		{name: "share of hidden tokens above one", args: train + " --set data.mlm_probability=1.5", code: 2, want: `data.mlm_probability is 1.5, want above 0 and at most 1`},
		{name: "every row held out", args: train + " --set data.eval_every=1 --set data.eval_path=", code: 2, want: `data.eval_every is 1, which would hold out every row`},
		{name: "two ways to hold out", args: train + " --set data.eval_every=2", code: 2, want: `data.eval_every is set beside data.eval_path or data.eval_fraction, want one of them`},
		{name: "texts of a task that writes none", args: train + " --set eval.generate=3", code: 2, want: `eval.generate is 3, but model.task "seq-cls" writes no texts`},
		{name: "shape of sources for a classifier", args: train + " --set data.shape=seq2seq", code: 2, want: `data.shape is "seq2seq", which is for model.task "seq2seq-lm"`},
		{name: "sources for an encoder alone", args: train + " --set model.task=seq2seq-lm", code: 1, want: `seq2seq-lm`},
		{name: "head that is no JSON", setup: file(head, "{"), args: "predict run --input rows.jsonl", code: 1, want: `head.json: want an object with architectures, id2label, problem_type`},
		{name: "head of no class", setup: file(head, "{}"), args: "predict run --input rows.jsonl", code: 1, want: `head.json: architectures are [], want the class of a model with a head`},
		{name: "head with a gap in its labels", setup: file(head, `{"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "2": "b"}}`), args: "predict run --input rows.jsonl", code: 1, want: `head.json: id2label has no 1, want 0 to 1`},
		{name: "head of other labels than the adapter", setup: instead(head, `"0": "neg"`, `"0": "neg", "2": "meh"`), args: "predict run --input rows.jsonl", code: 1, want: `is [2 16], want [3 16]`, lines: 2},
		{name: "adapter without its head", setup: tensors(adapter, func(v map[string][]float32, _ map[string][]int) { delete(v, "base_model.model.classifier.weight") }), args: "merge run -o m", code: 1, want: `tensor "base_model.model.classifier.weight" is missing`},
		{name: "adapter of another task than its head", setup: file(head, `{"architectures": ["BertForQuestionAnswering"]}`), args: "predict run --input rows.jsonl", code: 1, want: `pooler.dense.lora_A.weight" is unexpected`, lines: 4},
		{name: "continuation by a classifier", args: "generate run -p x", code: 1, want: `bert has a head ForSequenceClassification, want ForCausalLM to generate; graft predict has it do what it is for`},
		{name: "prediction without rows", args: "predict run", code: 2, want: `predict: no rows: use --input, or give them on standard input`},
		{name: "prediction of a missing file", args: "predict run --input nowhere.jsonl", code: 1, want: `nowhere.jsonl`},
		{name: "prediction of an empty file", setup: file("empty.jsonl", ""), args: "predict run --input empty.jsonl", code: 1, want: `predict: no rows in the input, want at least one`},
		{name: "prediction of a row without text", setup: file("x.jsonl", `{"label": "x"}`), args: "predict run --input x.jsonl -o p.jsonl", code: 1, want: `x.jsonl:1: no field "text"`},
		{name: "prediction by a model without a head", args: "predict base --input rows.jsonl", code: 2, want: `predict: base has no head: train one with model.task`},
		{name: "prediction of no rows at a time", args: "predict run --batch-rows 0", code: 2, want: `predict: --batch-rows is 0, want at least 1`},
		{name: "prediction of no fillings", args: "predict run --top 0", code: 2, want: `predict: --top is 0, want at least 1`},
		{name: "prediction into two files", args: "predict run --input rows.jsonl -o a --output b", code: 2, want: `predict: --out and --output name two files, want one`},
		{name: "prediction below a file", args: "predict run --input rows.jsonl -o rows.jsonl/p", code: 1, want: `rows.jsonl`},
		{name: "prediction with a shape that is none", args: "predict run --input rows.jsonl --shape poem", code: 1, want: `data: shape is "poem", want one of auto`},
		{name: "merge of a head with a type that is none", args: "merge run -o m --dtype int4", code: 2, want: `int4`},
	}
}

// TestBadTasks gives the program one bad input about tasks after the other.
func TestBadTasks(t *testing.T) {
	newTaskWorld(t, tinyBases[0].config, labelled[0].rows, "seq-cls", "")
	ok(t, "train", "r.toml")
	origin, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range badTasks() {
		t.Run(b.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.CopyFS(".", os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			if b.setup != nil {
				b.setup(t)
			}
			before := listing(t)
			b.judge(t, b.run(t))
			b.nothingLeft(t, before, listing(t))
		})
	}
}

// TestHeadNeedsTraining gives methods that cannot train a new head, or only a part of it.
func TestHeadNeedsTraining(t *testing.T) {
	newTaskWorld(t, tinyBases[0].config, labelled[0].rows, "seq-cls", "")
	plain := strings.Replace(readText(t, "r.toml"), "r = 2\n", "", 1)
	for _, x := range []struct{ method, want string }{
		{"type = \"full\"\ntrainable = '^classifier.weight$'\n", `has no tensor "classifier.bias", which model.task "seq-cls" needs`},
		{"type = \"full\"\ntrainable = 'nothing'\n", `method.trainable is "nothing", which no weight's name has in it; there are bert.embeddings.word_embeddings.weight`},
		{"type = \"full\"\ntrainable = '('\n", `method.trainable: error parsing regexp`},
	} {
		file("bad.toml", strings.Replace(plain, "[method]\n", "[method]\n"+x.method, 1))(t)
		if r := graft("", "check", "bad.toml"); r.code == exitOK || !strings.Contains(r.stderr, x.want) {
			t.Errorf("graft check with %q = %d, %s; want %q", x.method, r.code, r.stderr, x.want)
		}
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
