package cli

import (
	"math"
	"os"
	"strings"
	"testing"
)

// second makes another model, other/, of the base.
func second(t *testing.T) {
	if err := os.CopyFS("other", os.DirFS("base")); err != nil {
		t.Fatal(err)
	}
}

// badMerges are rows about making one model or adapter of several.
func badMerges() []bad {
	const (
		otherFile = "other/model.safetensors"
		linear    = "merge --method linear base other --weights 1,1 -o new"
		q         = "model.layers.0.self_attn.q_proj.weight"
	)
	other := func(change func(map[string][]float32, map[string][]int)) func(*testing.T) {
		return all(second, tensors(otherFile, change))
	}
	recipe := func(lines ...string) func(*testing.T) {
		return all(second, file("m.toml", strings.Join(lines, "\n")))
	}
	return []bad{
		{name: "models of other shapes", setup: other(func(_ map[string][]float32, s map[string][]int) { s[q] = []int{8, 32} }), args: linear, code: 1, want: `merge: "` + q + `" is [16 16] in base and [8 32] in other`},
		{name: "model that lacks a tensor", setup: other(func(v map[string][]float32, _ map[string][]int) { delete(v, q) }), args: linear, code: 1, want: `merge: other has no tensor "` + q + `"`},
		{name: "model with one tensor too many", setup: other(func(v map[string][]float32, s map[string][]int) {
			v["lm_head.weight"], s["lm_head.weight"] = []float32{1}, []int{1}
		}), args: linear, code: 1, want: `merge: other has the tensor "lm_head.weight", base has not`},
		{name: "model that is not finite", setup: other(func(v map[string][]float32, _ map[string][]int) { v[q][7] = float32(math.NaN()) }), args: linear, code: 1, want: `merge: "` + q + `": the result is NaN at 7`},
		{name: "models whose sum is beyond the dtype", setup: other(func(v map[string][]float32, _ map[string][]int) { v[q][7] = 1e30 }), args: linear + " --dtype f16", code: 1, want: `at 7 is beyond F16; a wider dtype may hold it`},
		{name: "models of other kinds", setup: all(second, field("other/config.json", "model_type", "mistral")), args: linear, code: 1, want: `merge: model_type of base is "llama" and of other "mistral"`},
		{name: "model that is cut", setup: all(second, cutTo(otherFile, -1)), args: linear, code: 1, want: `other/model.safetensors`},
		{name: "model without a config", setup: all(second, remove("other/config.json")), args: linear, code: 1, want: `config.json`},
		{name: "model that is not there", args: linear, code: 1, want: `merge: other: no such model folder`},
		{name: "adapter among models", args: "merge --method linear base run/adapter --weights 1,1 -o new", code: 2, want: `merge: run/adapter is an adapter, want a model`},
		{name: "merge onto an input", setup: second, args: "merge --method linear base other --weights 1,1 -o other --force", code: 1, want: `merge: other: is or holds the base other`},
		{name: "merge onto a run", setup: second, args: "merge --method linear base other --weights 1,1 -o run --force", code: 1, want: `merge: run: holds no model, so it is not replaced`},
		{name: "merge of models below a file", setup: second, args: "merge --method linear base other --weights 1,1 -o r.toml/m", code: 1, want: `r.toml`},
		{name: "merge of models without --out", args: "merge --method linear base base", code: 2, want: `merge: --out is missing`},
		{name: "method of no models", args: "merge --method linear -o new", code: 2, want: `merge: no arguments, want the models`},
		{name: "method that is none", args: "merge --method tie base base -o new", code: 2, want: `merge_method is "tie", want one of linear`},
		{name: "method without its base", args: "merge --method ties base base --weights 1,1 -o new", code: 2, want: `merge: base_model is missing, which ties needs`},
		{name: "method without a parameter", setup: second, args: "merge --method slerp base other -o new", code: 1, want: `merge: parameters.t is missing`},
		{name: "parameter of another method", args: "merge --method slerp base base --param density=1 -o new", code: 2, want: `merge: parameters.density: slerp has no such parameter, want one of t`},
		{name: "parameter out of range", args: "merge --method ties --base base other --weights 1 --param density=7 -o new", code: 2, want: `merge: parameters.density is 7, want 0 to 1`},
		{name: "parameter that is a word", args: "merge --method slerp base base --param t=half -o new", code: 2, want: `merge: --param t=half: want name=value`},
		{name: "weights of another number", args: "merge --method linear base base --weights 1 -o new", code: 2, want: `merge: --weights has 1 numbers, want 2`},
		{name: "weights that are words", args: "merge --method linear base base --weights a,b -o new", code: 2, want: `merge: --weights: "a" is not a number`},
		{name: "models to verify", args: "merge --method linear base base --weights 1,1 -o new --verify", code: 2, want: `merge: --verify compares with an adapter`},
		{name: "verify on a text that is not there", args: "merge run -o new --verify --verify-text nowhere.txt", code: 2, want: `nowhere.txt`},
		{name: "verify on an empty text", setup: file("empty.txt", ""), args: "merge run -o new --verify --verify-text empty.txt", code: 2, want: `merge: --verify-text empty.txt is empty`},
		{name: "weights to fold", args: "merge run --weights 1 -o new", code: 2, want: `merge: --weights is for --method`},
		{name: "merge recipe that is not there", args: "merge my.toml -o new", code: 2, want: `my.toml: no such file`},
		{name: "merge recipe that is no TOML", setup: recipe("models = ["), args: "merge m.toml -o new", code: 2, want: `merge: m.toml:1:`},
		{name: "merge recipe with a typo", setup: recipe(`merge_metod = "linear"`), args: "merge m.toml -o new", code: 2, want: `merge: m.toml: unknown key "merge_metod"`},
		{name: "merge recipe without out", setup: recipe(`merge_method = "linear"`, `models = [{ model = "base", parameters = { weight = 1 } }]`), args: "merge m.toml", code: 2, want: `merge: --out is missing and m.toml has no key out`},
		{name: "merge recipe of layers that are not there", setup: recipe(`merge_method = "passthrough"`, `slices = [{ sources = [{ model = "base", layer_range = [0, 3] }] }]`), args: "merge m.toml -o new", code: 1, want: `layer_range is [0 3], base has 2 layers`},

		{name: "adapters of other shapes", setup: all(copied("run/adapter", "a"), tensors("a/adapter_model.safetensors", func(v map[string][]float32, s map[string][]int) {
			s[firstA], v[firstA] = []int{2, 8}, v[firstA][:16]
		})), args: "combine run a -o new", code: 1, want: `factor: "model.layers.0.self_attn.q_proj": the products are [16, 16] and [16, 8], want adapters of one base`},
		{name: "adapter to combine that lacks a factor", setup: tensors(adapterFile, func(v map[string][]float32, _ map[string][]int) { delete(v, firstA) }), args: "combine run -o new", code: 1, want: `factor: tensor "` + firstA + `" is missing`},
		{name: "adapter to combine that is not finite", setup: tensors(adapterFile, func(v map[string][]float32, _ map[string][]int) { v[firstA][3] = float32(math.Inf(1)) }), args: "combine run -o new", code: 1, want: `has at 3 no finite number`},
		{name: "adapter of DoRA to combine", setup: field(configFile, "use_dora", true), args: "combine run -o new", code: 1, want: `lora: use_dora is true`},
		{name: "adapter of another rank than it says", setup: field(configFile, "r", 3), args: "combine run -o new", code: 1, want: `is of rank 2, want r 3`, lines: 4},
		{name: "adapter to combine that is no LoRA", setup: field(configFile, "peft_type", "LOHA"), args: "combine run -o new", code: 1, want: `peft_type is "LOHA", want one of LORA`},
		{name: "adapter to combine that is no IA3", setup: field(configFile, "peft_type", "IA3"), args: "combine run -o new", code: 1, want: `lora_A.weight" is no vector of IA3`},
		{name: "combine nothing", args: "combine -o new", code: 2, want: `combine: no arguments`},
		{name: "combine a model", args: "combine base -o new", code: 1, want: `base: no adapter_config.json in it, want an adapter or run folder`},
		{name: "combine what is not there", args: "combine nowhere -o new", code: 1, want: `nowhere: no such adapter or run folder`},
		{name: "combine by a type that is none", args: "combine run --type dogs -o new", code: 1, want: `combination_type is "dogs", want one of cat`},
		{name: "combine onto an input", args: "combine run -o run/adapter --force", code: 2, want: `combine: --out run/adapter is or holds the adapter`},
		{name: "combine below a file", args: "combine run -o r.toml/m", code: 1, want: `r.toml`},

		{name: "resize to nothing", args: "resize run --rank 0 -o new", code: 2, want: `resize: --rank is 0, want at least 1`},
		{name: "resize by two rules", args: "resize run --rank 1 --energy 0.5 -o new", code: 2, want: `resize: want one of --rank, --energy and --error`},
		{name: "extract by more than all", args: "extract base --base base --energy 2 -o new", code: 2, want: `extract: --energy is 2, want above 0 and at most 1`},
		{name: "extract of another architecture", setup: other(func(v map[string][]float32, s map[string][]int) { delete(v, q) }), args: "extract other --base base --rank 1 -o new", code: 1, want: `"` + q + `" is missing`},
		{name: "extract from itself", args: "extract base --base base --rank 1 -o new", code: 1, want: `factor: no weight that can get factors differs`},
		{name: "extract onto the base", setup: second, args: "extract other --base base --rank 1 -o base --force", code: 2, want: `extract: base holds no adapter, so it is not replaced`},
		{name: "diff of one", args: "diff base", code: 2, want: `diff: 1 arguments, want two models`},
		{name: "diff with nothing there", args: "diff base nowhere", code: 1, want: `nowhere`},
	}
}

// copied copies a folder.
func copied(from, to string) func(*testing.T) {
	return func(t *testing.T) {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
}
