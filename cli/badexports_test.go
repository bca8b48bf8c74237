package cli

import (
	"math"
	"testing"
)

// badExports are rows about files for other programs and releases.
func badExports() []bad {
	const up = "model.layers.1.mlp.up_proj.weight"
	set := func(v float32) func(*testing.T) {
		return tensors(weightsFile, func(x map[string][]float32, _ map[string][]int) { x[up][5] = v })
	}
	return []bad{
		{name: "export without --out", args: "export base", code: 2, want: `export: --out is missing, want the file to write`},
		{name: "export of nothing", args: "export -o m.gguf", code: 2, want: `export: 0 arguments, want one model, adapter or run`},
		{name: "export of what is not there", args: "export nowhere -o m.gguf", code: 1, want: `nowhere: no such model, adapter or run folder`},
		{name: "export of weights", args: "export " + weightsFile + " -o m.gguf", code: 2, want: `model.safetensors is a file, want a model, adapter or run folder`},
		{name: "export of GGUF", setup: file("m.gguf", "GGUF"), args: "export m.gguf -o n.gguf", code: 2, want: `llama-quantize`},
		{name: "export in a type that is none", args: "export base -o m.gguf --type int4", code: 2, want: `export: --type is "int4", want one of f32`},
		{name: "export to a format that is none", args: "export base -o m.onnx --to onnx", code: 2, want: `export: --to is "onnx", want gguf`},
		{name: "export over a file", args: "export base -o r.toml", code: 2, want: `export: r.toml exists already`},
		{name: "export over a folder", args: "export base -o run --force", code: 2, want: `export: --out run is no file`},
		{name: "export below a file", args: "export base -o r.toml/m.gguf", code: 1, want: `r.toml`},
		{name: "export into no folder", args: "export base -o nowhere/m.gguf", code: 1, want: `nowhere/m.gguf`},
		{name: "export of numbers that are none", setup: set(float32(math.NaN())), args: "export base -o m.gguf", code: 1, want: `llamacpp: tensor "` + up + `": rows 0 and on: the number at 5 is NaN, want finite numbers`},
		{name: "export of numbers beyond the type", setup: set(1e6), args: "export base -o m.gguf", code: 1, want: `the number 1e+06 at 5 is beyond F16, which goes to 65520`},
		{name: "export of another activation", setup: field("base/config.json", "hidden_act", "relu"), args: "export base -o m.gguf", code: 1, want: `llamacpp: hidden_act is "relu", want silu: llama.cpp's llama has no other`},
		{name: "export of scaled positions", setup: field("base/config.json", "rope_scaling", map[string]any{"rope_type": "dynamic", "factor": 2}), args: "export base -o m.gguf", code: 1, want: `llamacpp: rope_type is "dynamic", want default, linear, llama3 or yarn`},
		{name: "export of an unknown cut", setup: instead("base/tokenizer.json", `(?i:'s|'t`, `(?i:'s|'x|'t`), args: "export base -o m.gguf", code: 1, want: `if llama.cpp has it, --pre gives its name`},
		{name: "export of a cut model", setup: cutTo(weightsFile, -1), args: "export base -o m.gguf", code: 1, want: `model.safetensors`},

		{name: "release of nothing", args: "release", code: 2, want: `release: 0 arguments, want a run and the folder to write`},
		{name: "release of what is not there", args: "release nowhere out", code: 1, want: `release: nowhere: no such run folder`},
		{name: "release of a model", args: "release base out", code: 2, want: `release: base has no environment.json, want the folder of a run`},
		{name: "release of a run that is not finished", setup: remove("run/adapter"), args: "release run out", code: 1, want: `run: the run has no adapter yet: it was interrupted; go on with graft train … --resume`},
		{name: "release onto the run", args: "release run run --force", code: 2, want: `release: run is or holds the run run, want another folder`},
		{name: "release above the run", args: "release run . --force", code: 2, want: `release: . is or holds the run run`},
		{name: "release onto a model", args: "release run base --force", code: 2, want: `release: base holds no release, so it is not replaced`},
		{name: "release below a file", args: "release run r.toml/out", code: 1, want: `r.toml`},
		{name: "release in a dtype of no model", args: "release run out --dtype f16", code: 2, want: `release: --dtype is for --merged`},
		{name: "release in a dtype that is none", args: "release run out --merged --dtype int8", code: 2, want: `release: --dtype is "int8", want one of bf16, f16, f32`},
		{name: "release without a recipe", setup: remove("run/recipe.toml"), args: "release run out", code: 1, want: `recipe.toml`},
		{name: "release with a report that is none", setup: file("run/report.json", "x"), args: "release run out", code: 1, want: `release: report.json: it is not JSON as graft writes it`},
		{name: "release over an archive", setup: file("out.tar.gz", "x"), args: "release run out --archive", code: 2, want: `release: out.tar.gz exists already`},
	}
}
