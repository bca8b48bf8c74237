package cli

import (
	"math"
	"strings"
	"testing"
)

const (
	weightsFile = "base/model.safetensors"
	adapterFile = "run/adapter/adapter_model.safetensors"
	configFile  = "run/adapter/adapter_config.json"
	firstA      = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
	logitsOf    = "logits run --ids 1,2,3 --out l.safetensors"
)

// badInputs is the table of TestBadInput.
func badInputs() (rows []bad) {
	for _, part := range [][]bad{badFlags(), badRecipes(), badWeights(), badConfigs(), badTokenizers(), badRows(), badAdapters(), badConversions(), badOutputs(), badResumes(), badMerges(), badExports()} {
		rows = append(rows, part...)
	}
	return rows
}

func badFlags() []bad {
	return []bad{
		{name: "unknown command", args: "trian r.toml", code: 2, want: `unknown command "trian", did you mean "train"? (graft help lists all)`},
		{name: "command far from any", args: "xyzzyxyzzy", code: 2, want: `unknown command "xyzzyxyzzy" (graft help lists all)`},
		{name: "unknown flag", args: "train r.toml --overwrit", code: 2, want: `train: unknown flag --overwrit, did you mean --overwrite?`},
		{name: "unknown flag of a subcommand", args: "bench gemm --shap 1x2x3", code: 2, want: `gemm: unknown flag --shap, did you mean --shape?`},
		{name: "unknown subcommand", args: "bench gem", code: 2, want: `unknown command "gem", did you mean "gemm"?`},
		{name: "flag without a value", args: "train r.toml --out", code: 2, want: `train: --out needs a value`},
		{name: "word for a number", args: "generate run --top-k many -p x", code: 2, want: `generate: --top-k is "many", want a whole number`},
		{name: "flag of one letter", args: "train -x", code: 2, want: `train: unknown flag --x (graft help train lists them)`},
		{name: "help about an unknown command", args: "help trian", code: 2, want: `unknown command "trian", did you mean "train"?`},
		{name: "list of something", args: "ls models", code: 2, want: `ls: "models", want recipes or methods`},
		{name: "version of something", args: "version graft", code: 2, want: `version: 1 arguments, want at most 0`},
		{name: "two recipes to begin with", args: "init a.toml b.toml", code: 2, want: `init: 2 arguments, want at most 1`},
		{name: "two shells", args: "completion bash zsh", code: 2, want: `completion: 2 arguments, want at most 1`},
		{name: "adapter of no adapter", args: "eval run --base-only --adapter run/adapter", code: 2, want: `eval: --adapter and --base-only contradict each other`},
		{name: "two arguments", args: "train r.toml s.toml", code: 2, want: `train: 2 arguments, want one recipe`},
		{name: "no argument", args: "generate", code: 2, want: `generate: 0 arguments, want one model, adapter or run`},
		{name: "resume and overwrite", args: "train r.toml --resume --overwrite", code: 2, want: `train: --resume and --overwrite contradict each other`},
		{name: "unknown compute mode", args: "generate run -p x --compute fp8", code: 2, want: `"fp8"`},
		{name: "bench of a bad shape", args: "bench gemm --shape 12x", code: 2, want: `bench gemm: shape "12x", want TxNxK such as 512x2048x2048`},
		{name: "bench beyond the memory", args: "bench gemm --shape 1x1048576x1048576", code: 2, want: `bench gemm: shape "1x1048576x1048576" takes 2.2 TB, want at most`},
		{name: "bench with trailing letters", args: "bench gemm --shape 1x2x3x4", code: 2, want: `bench gemm: shape "1x2x3x4", want TxNxK`},
		{name: "memory that is no size", args: "check r.toml --set train.memory=much", code: 2, want: `train.memory is "much", want a size such as 5GB`},
		{name: "memory that the program takes itself", args: "check r.toml --set train.memory=1MB", code: 2, want: `train.memory is 1MB, want more than the`},
		{name: "bench of no threads", args: "bench gemm --threads 0", code: 2, want: `bench gemm: threads "0", want numbers from 1 to 1024`},
		{name: "bench of a bad mode", args: "bench gemm --mode f16", code: 2, want: `"f16"`},
		{name: "explain an unknown key", args: "explain method.rank", code: 2, want: `method.r`},
		{name: "cat an unknown recipe", args: "cat quickstar", code: 2, want: `quickstart`},
		{name: "completion for another shell", args: "completion tcsh", code: 2, want: `completion: shell "tcsh", want bash, zsh or fish`},
		{name: "ids out of range", args: "logits run --ids 1,2048 --out l.safetensors", code: 2, want: `2048`},
		{name: "ids below zero", args: "logits run --ids=-1 --out l.safetensors", code: 2, want: `-1`},
		{name: "ids that are no numbers", args: "logits run --ids 1,x --out l.safetensors", code: 2, want: `logits: --ids: "x" in sequence 1 is not a token id`},
		{name: "ids of an empty sequence", args: "logits run --ids 1;;2 --out l.safetensors", code: 2, want: `logits: --ids: "" in sequence 2 is not a token id`},
		{name: "temperature below zero", args: "generate run -p x --temperature=-1", code: 2, want: `temperature is -1`},
		{name: "temperature that is no number", args: "generate run -p x --temperature NaN", code: 2, want: `temperature is NaN`},
		{name: "top-p above one", args: "generate run -p x --top-p 2", code: 2, want: `top_p is 2`},
		{name: "beams beyond number", args: "generate run -p x --num-beams 4611686018427387904", code: 2, want: `num_beams is 4611686018427387904, want 0 to 1024`},
		{name: "flag instead of a value", args: "train r.toml --out --resume", code: 2, want: `train: --out needs a value`},
		{name: "switch with a word", args: "inspect run --json=perhaps", code: 2, want: `inspect: --json is "perhaps", want true or false`},
		{name: "time without a unit", args: "bench gemm --time 3", code: 2, want: `gemm: --time is "3", want a time such as 300ms`},
		{name: "no prompt", args: "generate run", code: 2, want: `generate: no prompt: use --prompt`},
		{name: "chat without a template", args: "chat run", code: 2, want: `chat: base has no chat template; give one with --chat-template`},
		{name: "shard size of no bytes", args: "merge run -o m --max-shard-size 0", code: 2, want: `max-shard-size is "0", want a size such as 5GB`},
		{name: "shard size of another unit", args: "merge run -o m --max-shard-size 5parsec", code: 2, want: `max-shard-size is "5parsec", want a size such as 5GB`},
	}
}

func badRecipes() []bad {
	return []bad{
		{name: "recipe that is not there", args: "train my.toml", code: 2, want: `recipe my.toml: no such file, and no recipe of the program has this name`},
		{name: "recipe that is a folder", args: "train base", code: 2, want: `recipe: read base: is a directory`},
		{name: "empty recipe", setup: file("r.toml", ""), args: "train r.toml", code: 2, want: `r.toml: model.path is missing`, lines: 2},
		{name: "recipe with a typo in a key", setup: recipe("[train]", "sede = 1"), args: "train r.toml", code: 2, want: `r.toml:11:1: unknown key "train.sede" (did you mean train.seed?)`, lines: 3},
		{name: "recipe with a typo in a section", setup: recipe("[trian]", "seed = 1"), args: "train r.toml", code: 2, want: `unknown section "trian" (did you mean [train]?)`, lines: 3},
		{name: "recipe with a word of another program", setup: recipe("[method]", "lora_r = 1"), args: "check r.toml", code: 2, want: `unknown key "method.lora_r" (did you mean method.r?)`, lines: 3},
		{name: "recipe with a string for a number", setup: recipe("[train]", `epochs = "three"`), args: "train r.toml", code: 2, want: `train.epochs is "three", want a number`, lines: 3},
		{name: "recipe with a choice that is none", setup: recipe("[train]", `lr_scheduler = "cosin"`), args: "train r.toml", code: 2, want: `train.lr_scheduler is "cosin", want one of`, lines: 3},
		{name: "recipe that is no TOML", setup: file("r.toml", "[model\n"), args: "train r.toml", code: 2, want: `r.toml:2:7: expected`},
		{name: "recipe that is no UTF-8", setup: file("r.toml", "[model]\npath = \"\xff\"\n"), args: "train r.toml", code: 2, want: `r.toml:2:8: invalid UTF-8`},
		{name: "recipe that is weights", setup: nil, args: "train " + weightsFile, code: 2, want: `model.safetensors:1:1: files cannot contain NULL bytes`},
		{name: "set of an unknown key", args: "train r.toml --set train.sede=1", code: 2, want: `--set train.sede=1: unknown key "train.sede" (did you mean train.seed?)`},
		{name: "set without a value", args: "train r.toml --set train.seed", code: 2, want: `--set train.seed: it has no value, want section.key=value`},
		{name: "sequences longer than the positions", setup: recipe("[data]", "sequence_len = 65"), args: "train r.toml -o new", code: 2, want: `data.sequence_len is 65, the model was made for max_position_embeddings 64`},
		{name: "target that matches nothing", args: `train r.toml -o new --set method.target_modules=["qproj"]`, code: 1, want: `target_modules ["qproj"] match`},
		{name: "target pattern that is none", args: `train r.toml -o new --set method.target_modules=(`, code: 1, want: `target_modules`},
		{name: "layer that is not there", args: `train r.toml -o new --set method.layers_to_transform=[7]`, code: 1, want: `layers_to_transform`},
		{name: "rank of a pattern that matches nothing", args: `train r.toml -o new --set method.rank_pattern={nothing=4}`, code: 1, want: `rank_pattern`},
		{name: "rank beyond all measure", args: `train r.toml -o new --set method.r=999999999999`, code: 1, want: `lora: r is`},
		{name: "base that is not there", setup: remove("base"), args: "train r.toml -o new", code: 1, want: `model: stat base: no such file or directory`},
		{name: "base that is a file", setup: all(remove("base"), file("base", "x")), args: "train r.toml -o new", code: 1, want: `model: base is a file, want the folder`},
		{name: "base that the program has not", args: "train r.toml -o new --set model.path=builtin:llama", code: 2, want: `model.path is "builtin:llama", want a folder or "builtin:quickstart"`},
		{name: "initial values of another method", args: "train r.toml -o new --set method.init_values=" + weightsFile, code: 1, want: `method.init_values`, lines: 8},
		{name: "evaluation of nothing", args: "eval run --set data.eval_path=", code: 2, want: `eval: the recipe holds nothing out`},
		{name: "learning rate that explodes", args: "train r.toml -o new --set train.learning_rate=1e38 --set train.optimizer=sgd --set train.max_grad_norm=0", code: 1, want: `train: step`, made: "new"},
	}
}

func badWeights() []bad {
	const of = "inspect " + weightsFile
	nan := tensors(weightsFile, func(v map[string][]float32, _ map[string][]int) {
		v["model.layers.1.mlp.down_proj.weight"][5] = float32(math.NaN())
	})
	at := func(header string, data int) func(*testing.T) { return headerFile(weightsFile, header, data) }
	return []bad{
		{name: "weights missing", setup: remove(weightsFile), args: "train r.toml -o new", code: 1, want: `model.safetensors`},
		{name: "weights empty", setup: file(weightsFile, ""), args: "train r.toml -o new", code: 1, want: `model.safetensors`},
		{name: "weights cut in the header", setup: cutTo(weightsFile, 40), args: "train r.toml -o new", code: 1, want: `model.safetensors`},
		{name: "weights cut by a byte", setup: cutTo(weightsFile, -1), args: "train r.toml -o new", code: 1, want: `model.safetensors`},
		{name: "header length 2^63", setup: file(weightsFile, "\x00\x00\x00\x00\x00\x00\x00\x80{}"), args: of, code: 1, want: `model.safetensors: `},
		{name: "header length 2^63-1", setup: file(weightsFile, "\xff\xff\xff\xff\xff\xff\xff\x7f{}"), args: of, code: 1, want: `model.safetensors: `},
		{name: "header that is no JSON", setup: at(`{"a": nonsense}`, 0), args: of, code: 1, want: `model.safetensors: `},
		{name: "header that is a list", setup: at(`[1, 2]`, 0), args: of, code: 1, want: `model.safetensors: `},
		{name: "overlapping offsets", setup: at(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), args: of, code: 1, want: `model.safetensors: `},
		{name: "offsets beyond the end", setup: at(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 4), args: of, code: 1, want: `model.safetensors: `},
		{name: "offsets backwards", setup: at(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, 8), args: of, code: 1, want: `tensor "a"`},
		{name: "offsets below zero", setup: at(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}`, 8), args: of, code: 1, want: `tensor "a"`},
		{name: "bytes that belong to nothing", setup: at(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 8), args: of, code: 1, want: `model.safetensors: `},
		{name: "shape overflow", setup: at(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), args: of, code: 1, want: `tensor "a"`},
		{name: "shape below zero", setup: at(`{"a":{"dtype":"F32","shape":[-1,-2],"data_offsets":[0,8]}}`, 8), args: of, code: 1, want: `tensor "a"`},
		{name: "shape that is not the data's", setup: at(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), args: of, code: 1, want: `tensor "a"`},
		{name: "unknown dtype", setup: at(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,8]}}`, 8), args: of, code: 1, want: `F4`},
		{name: "weights that are a pickle", setup: file(weightsFile, "PK\x03\x04"+strings.Repeat("x", 100)), args: of, code: 1, want: `model.safetensors`},
		{name: "weights that a download left as a pointer", setup: file(weightsFile, "version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 12345\n"), args: of, code: 1, want: `model.safetensors`},
		{name: "NaN weights to train on", setup: nan, args: "train r.toml -o new", code: 1, want: `model: base: tensor "model.layers.1.mlp.down_proj.weight" has at 5 no finite number`},
		{name: "NaN weights to check", setup: nan, args: "check r.toml", code: 1, want: `model: base: tensor "model.layers.1.mlp.down_proj.weight" has at 5 no finite number`},
		{name: "NaN weights to draw from", setup: nan, args: "generate base -p x -t 1", code: 1, want: `generate: the logit of token 0 of sequence 0 is NaN, want finite numbers`},
		{name: "NaN weights to search in", setup: nan, args: "generate base -p x --num-beams 3", code: 1, want: `generate: the logit of token 0 of sequence 0 is NaN, want finite numbers`},
		{name: "NaN weights to evaluate", setup: nan, args: "eval r.toml --json", code: 1, want: `eval: the loss is NaN, want a finite number`},
		{name: "NaN weights to compare", setup: nan, args: "logits base --ids 1,2 --out l.safetensors", code: 1, want: `logits: row 0 has NaN for token 0, want finite numbers`},
		{name: "weights without a tensor", setup: tensors(weightsFile, func(v map[string][]float32, _ map[string][]int) { delete(v, "model.norm.weight") }),
			args: "train r.toml -o new", code: 1, want: `"model.norm.weight" is missing`},
		{name: "weights of another shape", setup: tensors(weightsFile, func(v map[string][]float32, s map[string][]int) {
			s["model.layers.0.self_attn.q_proj.weight"] = []int{8, 32}
		}), args: "train r.toml -o new", code: 1, want: `tensor "model.layers.0.self_attn.q_proj.weight" is [8 32], want [16 16] by config.json`},
		{name: "index of a shard that is not there", setup: all(remove(weightsFile), file(weightsFile+".index.json", `{"weight_map": {"a": "model-00001-of-00002.safetensors"}}`)),
			args: "inspect base", code: 1, want: `model-00001-of-00002.safetensors`},
		{name: "index that leads out of the folder", setup: all(remove(weightsFile), file(weightsFile+".index.json", `{"weight_map": {"a": "../train.jsonl"}}`)),
			args: "inspect base", code: 1, want: `../train.jsonl`},
	}
}

func badConfigs() []bad {
	of := func(key string, value any) func(*testing.T) { return field("base/config.json", key, value) }
	const train = "train r.toml -o new"
	return []bad{
		{name: "config missing", setup: remove("base/config.json"), args: train, code: 1, want: `config.json`},
		{name: "config that is no JSON", setup: file("base/config.json", `{"model_type": `), args: train, code: 1, want: `config.json`},
		{name: "config without model_type", setup: of("model_type", nil), args: train, code: 1, want: `model: config.json: model_type is missing`},
		{name: "config of another model_type", setup: of("model_type", "llamma"), args: train, code: 1, want: `model_type is "llamma"`},
		{name: "config of endless heads", setup: of("head_dim", 1<<27), args: train, code: 1, want: `config.json: head_dim is 134217728, want 1 to 65536`},
		{name: "config of no heads", setup: of("num_attention_heads", 0), args: train, code: 1, want: `config.json: num_attention_heads is 0, want 1 to`},
		{name: "config of huge sizes", setup: of("hidden_size", 1<<40), args: train, code: 1, want: `config.json: hidden_size is 1099511627776, want 1 to`},
		{name: "config of sizes that only multiply too high", setup: all(of("vocab_size", 1<<27), of("hidden_size", 1<<27)), args: train, code: 1, want: `tensor "model.embed_tokens.weight" is [2048 16], want [134217728 134217728]`, lines: 20},
		{name: "random weights of huge sizes", setup: all(file("full.toml", tinyFull), of("vocab_size", 1<<27), of("hidden_size", 1<<27)), args: "train full.toml -o new", code: 1, want: `parameters, want at most 4294967296 for random weights`},
		{name: "config with words for numbers", setup: of("hidden_size", "sixteen"), args: train, code: 1, want: `config.json: hidden_size is a string, want a whole number`},
		{name: "config of more layers than the weights", setup: of("num_hidden_layers", 3), args: train, code: 1, want: `model.layers.2.`, lines: 9},
		{name: "config that leaves weights over", setup: of("num_hidden_layers", 1), args: train, code: 1, want: `model.layers.1.`, lines: 9},
		{name: "config of endless layers", setup: of("num_hidden_layers", 1<<28), args: train, code: 1, want: `num_hidden_layers is 268435456, the checkpoint has only 20 tensors`},
		{name: "random weights of endless layers", setup: all(file("full.toml", tinyFull), of("num_hidden_layers", 1<<28)), args: "train full.toml -o new", code: 1, want: `parameters, want at most 4294967296 for random weights`},
		{name: "config with a number for a list", setup: of("layer_types", 3), args: train, code: 1, want: `layer_types is a number, want a list`},
		{name: "config with a fraction", setup: of("hidden_size", 16.5), args: train, code: 1, want: `hidden_size is 16.5, want a whole number`},
		{name: "config with a word for a token", setup: of("eos_token_id", "end"), args: train, code: 1, want: `eos_token_id`},
		{name: "config of a negative window", setup: of("sliding_window", -3), args: train, code: 1, want: `sliding_window is -3`},
		{name: "bench make of another model", setup: file("c.json", `{"model_type": "bert"}`), args: "bench make c.json --out new", code: 1, want: `model_type is "bert", want`},
		{name: "bench make over a model", setup: file("c.json", tinyConfig), args: "bench make c.json --out base", code: 2, want: `bench make: base exists already`},
	}
}

func badTokenizers() []bad {
	const file_ = "base/tokenizer.json"
	of := func(key string, value any) func(*testing.T) { return field("base/config.json", key, value) }
	const train = "train r.toml -o new"
	return []bad{
		{name: "tokenizer missing", setup: remove(file_), args: train, code: 1, want: `model: base has no tokenizer.json, which is needed to read text`},
		{name: "generate without a tokenizer", setup: remove(file_), args: "generate base -p x", code: 1, want: `model: base has no tokenizer.json`},
		{name: "tokenizer cut short", setup: cutTo(file_, 5000), args: train, code: 1, want: `tokenizer.json`},
		{name: "tokenizer empty", setup: file(file_, ""), args: train, code: 1, want: `tokenizer.json`},
		{name: "tokenizer of another kind", setup: field(file_, "model", map[string]any{"type": "Morse"}), args: train, code: 1, want: `Morse`},
		{name: "tokenizer of another model", setup: all(of("vocab_size", 1000), func(t *testing.T) { synthWeights(t, "base") }), args: train, code: 1, want: `tokens, vocab_size in config.json is 1000: this is another model's tokenizer`},
		{name: "tokenizer of another model by the recipe", setup: all(file("other/tokenizer.json", `{"version":"1.0","added_tokens":[],"model":{"type":"BPE","vocab":{"a":0,"b":5000},"merges":[]}}`)),
			args: train + " --set model.tokenizer=other", code: 1, want: `tokenizer.json has 5001 tokens, vocab_size in config.json is 2048`},
		{name: "tokenizer folder that is not there", args: train + " --set model.tokenizer=other", code: 1, want: `other`},
	}
}

func badRows() []bad {
	const train = "train r.toml -o new"
	rows := func(text string) func(*testing.T) { return file("train.jsonl", text) }
	return []bad{
		{name: "rows missing", setup: remove("train.jsonl"), args: train, code: 1, want: `train.jsonl`},
		{name: "rows empty", setup: rows(""), args: train, code: 1, want: `data: train.jsonl: no rows, want at least one`},
		{name: "held-out rows empty", setup: file("eval.jsonl", "\n\n"), args: train, code: 1, want: `data: eval.jsonl: no rows, want at least one`},
		{name: "rows of other columns", setup: rows(`{"question": "a", "reply": "b"}`), args: train, code: 1, want: `train.jsonl`},
		{name: "rows of the wrong columns by the recipe", args: train + " --set data.columns={prompt=\"frage\"}", code: 1, want: `no shape fits the columns that the settings name (prompt = "frage")`},
		{name: "row that is no JSON", setup: rows(tinyRows + "{\"prompt\": \n"), args: train, code: 1, want: `train.jsonl:5`},
		{name: "row that is a list", setup: rows(tinyRows + "[1]\n"), args: train, code: 1, want: `train.jsonl:5`},
		{name: "row without a column", setup: rows(tinyRows + "{\"prompt\": \"x\"}\n"), args: train, code: 1, want: `train.jsonl:5`},
		{name: "row with a number for text", setup: rows(tinyRows + "{\"prompt\": 3, \"completion\": [1]}\n"), args: train, code: 1, want: `train.jsonl:5`},
		{name: "row of invalid UTF-8", setup: rows(tinyRows + "{\"prompt\": \"\xff\xfe\", \"completion\": \"x\"}\n"), args: train, code: 1, want: `train.jsonl:5`},
		{name: "row with half a surrogate", setup: rows(tinyRows + `{"prompt": "\ud83c", "completion": "x"}` + "\n"), args: train, code: 1, want: `train.jsonl:5`},
		{name: "row too long, to be an error", setup: rows(tinyRows + `{"prompt": "` + strings.Repeat("word ", 100) + `", "completion": "x"}` + "\n"), args: train + " --set data.overlong=raise", code: 1, want: `train.jsonl:5`},
		{name: "rows all too long, to be dropped", setup: rows(`{"prompt": "` + strings.Repeat("word ", 100) + `", "completion": "x"}` + "\n"), args: train + " --set data.overlong=drop", code: 1, want: `train.jsonl`},
		{name: "rows that have nothing to learn", setup: rows(`{"prompt": "x", "completion": ""}` + "\n"), args: train, code: 1, want: `train.jsonl`},
		{name: "chat without a template for it", setup: rows(`{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}`), args: train, code: 1, want: `template`},
		{name: "table with a short row", setup: all(file("t.csv", "prompt,completion\na,b\nc\n")), args: train + " --set data.path=t.csv", code: 1, want: `t.csv:3`},
		{name: "parquet that is none", setup: file("t.parquet", "PAR1 nothing PAR1"), args: train + " --set data.path=t.parquet", code: 1, want: `t.parquet`},
		{name: "gzip that is cut", setup: file("t.jsonl.gz", "\x1f\x8b\x08\x00\x00"), args: train + " --set data.path=t.jsonl.gz", code: 1, want: `t.jsonl.gz`},
		{name: "data of no known kind", setup: file("t.xlsx", "PK\x03\x04\x00\x00"), args: train + " --set data.path=t.xlsx", code: 1, want: `t.xlsx: the file is not text`},
		{name: "folder of no data", setup: file("empty/readme", "x"), args: train + " --set data.path=empty", code: 1, want: `empty`},
	}
}

func badConversions() []bad {
	return []bad{
		{name: "conversion to nowhere", args: "convert adapter run --to gguf", code: 2, want: `convert adapter: 1 arguments, want IN and OUT`},
		{name: "conversion to no format", args: "convert adapter run x", code: 2, want: `convert adapter: --to is missing, want one of peft, adapters, gguf, mlx, loralib`},
		{name: "conversion to an unknown format", args: "convert adapter run x --to onnx", code: 2, want: `format "onnx", want one of peft, adapters, gguf, mlx, loralib`},
		{name: "conversion to the library adapters without a base", setup: field(configFile, "base_model_name_or_path", "meta/llama"), args: "convert adapter run x --to adapters", code: 1, want: `the base's config.json is needed`},
		{name: "conversion of something else", args: "convert model base x", code: 2, want: `unknown command "model"`},
		{name: "conversion of a model", args: "convert adapter base x --to gguf", code: 1, want: `base: no adapter in it`},
		{name: "conversion of nothing", args: "convert adapter nowhere x --to gguf", code: 1, want: `nowhere: no such file`},
		{name: "conversion to a dtype that is none", args: "convert adapter run x --to gguf --dtype q4_0", code: 2, want: `convert adapter: --dtype is "q4_0", want f32, f16 or bf16`},
		{name: "conversion with a base that is not there", args: "convert adapter run x --to gguf --model nowhere", code: 1, want: `nowhere: no such file`},
		{name: "conversion without a base", setup: field(configFile, "base_model_name_or_path", "meta/llama"), args: "convert adapter run x --to gguf", code: 1, want: `want its config.json`},
		{name: "conversion of a method that is not LoRA", setup: field(configFile, "peft_type", "IA3"), args: "convert adapter run x --to gguf", code: 1, want: `peft_type is "IA3", want one of LORA`},
		{name: "conversion of half an adapter", setup: cutTo(adapterFile, -4), args: "convert adapter run x --to mlx", code: 1, want: `adapter_model.safetensors`},
		{name: "GGUF cut short", setup: file("a.gguf", "GGUF\x03\x00\x00\x00\x01"), args: "convert adapter a.gguf x --to peft", code: 1, want: `a.gguf: gguf: file is cut off`},
		{name: "GGUF of version 1", setup: file("a.gguf", "GGUF\x01\x00\x00\x00"), args: "convert adapter a.gguf x --to peft", code: 1, want: `version is 1, want 2 or 3`},
		{name: "state dict that is none", setup: file("a.bin", "hello"), args: "convert adapter a.bin x --to peft --alpha 1", code: 1, want: `a.bin`},
		{name: "check of a model", args: "check-adapter base", code: 1, want: `base: no folder of PEFT's`},
		{name: "check for an unknown program", args: "check-adapter run --for tgi", code: 2, want: `check-adapter: --for is "tgi", want one of peft, vllm, llama.cpp`},
		{name: "check of an adapter cut short", setup: cutTo(adapterFile, -4), args: "check-adapter run", code: 1, want: `adapter_model.safetensors`},
		{name: "check of a config cut short", setup: cutTo(configFile, 40), args: "check-adapter run", code: 1, want: `adapter_config.json`},
	}
}

func badAdapters() []bad {
	of := func(key string, value any) func(*testing.T) { return field(configFile, key, value) }
	change := func(f func(map[string][]float32, map[string][]int)) func(*testing.T) { return tensors(adapterFile, f) }
	return []bad{
		{name: "adapter without weights", setup: remove(adapterFile), args: logitsOf, code: 1, want: `adapter_model.safetensors`},
		{name: "adapter of a pickle that is none", setup: all(remove(adapterFile), file("run/adapter/adapter_model.bin", "PK")), args: logitsOf, code: 1, want: `run/adapter/adapter_model.bin: begins with "PK", want a zip archive or a pickle`},
		{name: "adapter without a tensor", setup: change(func(v map[string][]float32, _ map[string][]int) { delete(v, firstA) }), args: logitsOf, code: 1, want: `adapter_model.safetensors: tensor "` + firstA + `" is missing`},
		{name: "adapter with one tensor too many", setup: change(func(v map[string][]float32, s map[string][]int) {
			v["base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"], s["base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"] = v[firstA], s[firstA]
		}), args: logitsOf, code: 1, want: `layers.9.self_attn.q_proj.lora_A.weight" is unexpected`},
		{name: "adapter of another shape", setup: change(func(v map[string][]float32, s map[string][]int) { s[firstA] = []int{4, 8} }), args: logitsOf, code: 1, want: `is [4 8], want [2 16]`},
		{name: "adapter of another rank", setup: of("r", 3), args: logitsOf, code: 1, want: `is [2 16], want [3 16]`, lines: 8},
		{name: "adapter that changes nothing", setup: change(func(v map[string][]float32, _ map[string][]int) {
			for name := range v {
				if strings.Contains(name, "lora_B") {
					clear(v[name])
				}
			}
		}), args: logitsOf, code: 1, want: `the adapter changes nothing`},
		{name: "adapter that is not finite", setup: change(func(v map[string][]float32, _ map[string][]int) { v[firstA][3] = float32(math.Inf(1)) }), args: logitsOf, code: 1, want: `has at 3 no finite number`},
		{name: "merge of an adapter that is not finite", setup: change(func(v map[string][]float32, _ map[string][]int) { v[firstA][3] = float32(math.NaN()) }), args: "merge run -o m", code: 1, want: `has at 3 no finite number`},
		{name: "merge of an adapter that overflows", setup: change(func(v map[string][]float32, _ map[string][]int) {
			for name := range v {
				for i := range v[name] {
					v[name][i] = 1e30
				}
			}
		}), args: "merge run -o m", code: 1, want: `merge: "model.layers.0.self_attn.q_proj.weight": row 0 and on: the delta is +Inf`},
		{name: "adapter of an unknown peft_type", setup: of("peft_type", "LORAX"), args: logitsOf, code: 1, want: `adapter_config.json: peft_type is "LORAX", want one of`},
		{name: "adapter without peft_type", setup: of("peft_type", nil), args: logitsOf, code: 1, want: `peft_type is missing`},
		{name: "adapter config that is no JSON", setup: cutTo(configFile, 50), args: logitsOf, code: 1, want: `adapter_config.json`},
		{name: "adapter of rank 0", setup: of("r", 0), args: logitsOf, code: 1, want: `r is 0, want 1 to`},
		{name: "adapter whose rank is a word", setup: of("r", "eight"), args: logitsOf, code: 1, want: `r is`},
		{name: "adapter whose targets match nothing", setup: of("target_modules", []string{"qproj"}), args: logitsOf, code: 1, want: `target_modules ["qproj"] match`},
		{name: "adapter of DoRA without magnitudes", setup: of("use_dora", true), args: logitsOf, code: 1, want: `lora_magnitude_vector" is missing`, lines: 4},
		{name: "adapter that uses what graft does not", setup: of("use_qalora", true), args: logitsOf, code: 1, want: `use_qalora is true, which is not supported`},
		{name: "adapter whose base is not here", setup: of("base_model_name_or_path", "meta/llama"), args: logitsOf, code: 2, want: `its base "meta/llama" is not a folder here, want --base FOLDER`},
		{name: "adapter whose base is not named", setup: of("base_model_name_or_path", nil), args: logitsOf, code: 2, want: `names no base_model_name_or_path, want --base FOLDER`},
		{name: "adapter of another base", setup: nil, args: logitsOf + " --base builtin:quickstart", code: 1, want: `the adapter was trained on another base (--allow-other-base attaches it all the same)`},
		{name: "adapter of another base, wanted", args: logitsOf + " --base builtin:quickstart --allow-other-base", code: 1, want: `is [2 16], want [2 160]`, lines: 20},
		{name: "adapter of which a part was not trained", setup: change(func(v map[string][]float32, _ map[string][]int) { clear(v[firstA]) }), args: logitsOf, code: 1, want: `tensor "` + firstA + `" is all zero (one of 1): it was not trained`},
		{name: "adapter weights cut short", setup: cutTo(adapterFile, -4), args: logitsOf, code: 1, want: `adapter_model.safetensors`},
		{name: "merge of a model", args: "merge base -o m", code: 2, want: `merge: base has no adapter to fold`},
		{name: "merge to nowhere", args: "merge run", code: 2, want: `merge: --out is missing, want the folder to write`},
		{name: "merge into a type that is none", args: "merge run -o m --dtype int4", code: 2, want: `int4`},
		{name: "run that is not finished", setup: remove("run/adapter"), args: "generate run -p x", code: 1, want: `run: the run has no adapter yet`},
		{name: "folder that holds nothing of ours", setup: file("other/x", ""), args: "generate other -p x", code: 1, want: `other: no config.json, adapter_config.json or environment.json in it`},
		{name: "folder that is not there", args: "generate nowhere -p x", code: 1, want: `nowhere: no such model, adapter or run folder`},
		{name: "inspect what is not there", args: "inspect nowhere", code: 1, want: `inspect: stat nowhere: no such file or directory`},
		{name: "inspect a folder of nothing", setup: file("other/x", ""), args: "inspect other", code: 1, want: `inspect: other: no environment.json`},
	}
}

func badOutputs() []bad {
	return []bad{
		{name: "run folder that holds a run", args: "train r.toml", code: 1, want: `train: run: the folder holds a run with 4 of 4 steps; resume it, overwrite it, or choose another folder`},
		{name: "run folder that holds something else", args: "train r.toml -o base --overwrite", code: 1, want: `train: base: the folder exists and holds no run but config.json`},
		{name: "run folder that is a file", args: "train r.toml -o r.toml", code: 1, want: `r.toml`},
		{name: "run folder below a file", args: "train r.toml -o r.toml/run", code: 1, want: `r.toml`},
		{name: "merge into a folder that is there", setup: file("other/config.json", "{}"), args: "merge run -o other", code: 2, want: `merge: other exists already (--force replaces a model folder)`},
		{name: "merge into a folder of something else", setup: file("other/x", "y"), args: "merge run -o other --force", code: 1, want: `other`},
		{name: "merge onto its own adapter", args: "merge run -o run/adapter --force", code: 1, want: `merge: run/adapter: holds an adapter, so it is not replaced`},
		{name: "merge onto a checkpoint of its run", args: "merge run -o run/checkpoints/step-4 --force", code: 1, want: `merge: run/checkpoints/step-4: holds no model, so it is not replaced`},
		{name: "merge onto its own base", args: "merge run -o base --force", code: 1, want: `merge: base: is or holds the base `},
		{name: "merge below a file", args: "merge run -o r.toml/m", code: 1, want: `r.toml`},
		{name: "logits onto a folder", args: "logits run --ids 1 --out base", code: 1, want: `base: is not a regular file`},
		{name: "logits below a file", args: "logits run --ids 1 --out r.toml/l", code: 1, want: `r.toml`},
		{name: "logits below no folder", args: "logits run --ids 1 --out nowhere/l", code: 1, want: `nowhere/l`},
		{name: "copy onto a file", args: "cp quickstart r.toml", code: 2, want: `r.toml exists already (--force replaces a file)`},
		{name: "copy below no folder", args: "cp quickstart nowhere/q.toml", code: 1, want: `nowhere/q.toml`},
		{name: "init onto a file", args: "init r.toml", code: 2, want: `r.toml exists already (--force replaces a file)`},
	}
}

func badResumes() []bad {
	const resume = "train r.toml --resume"
	return []bad{
		{name: "resume with another recipe", args: resume + " --set train.learning_rate=1e-3", code: 1, want: `train: run: resume with another recipe: train.learning_rate`},
		{name: "resume with other rows", setup: instead("train.jsonl", "Stone", "Ston"), args: resume, code: 1, want: `train: run: resume with another recipe: every key is the same, so the rows are not`},
		{name: "resume with another base", setup: tensors(weightsFile, func(v map[string][]float32, _ map[string][]int) { v["model.norm.weight"][0] = 2 }), args: resume, code: 1, want: `train: run: resume with another base`},
		{name: "resume with an environment that is none", setup: file("run/environment.json", "{"), args: resume, code: 1, want: `environment.json`},
		{name: "eval of a run whose recipe is gone", setup: remove("run/recipe.toml"), args: "eval run", code: 2, want: `eval: run has no recipe.toml, want a run folder or a recipe`},
		{name: "eval of a run whose recipe is spoilt", setup: instead("run/recipe.toml", "seed", "sede"), args: "eval run", code: 2, want: `run/recipe.toml`, lines: 3},
		{name: "inspect of a run whose environment is spoilt", setup: file("run/environment.json", "{"), args: "inspect run", code: 1, want: `environment.json`},
	}
}
