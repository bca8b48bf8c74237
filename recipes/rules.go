package recipes

import (
	"slices"
	"strings"
)

// rule is a contradiction between keys, or something that is needed.
type rule struct {
	key     string // that the problem is shown at
	message string
	broken  func(r *Recipe) bool
}

// rulesTable lists what keys demand of each other.
var rulesTable = []rule{
	{"model.path", "model.path is missing, want the folder of the base model, or \"builtin:quickstart\"",
		func(r *Recipe) bool { return r.Model.Path == "" }},
	{"data.path", "data.path is missing, want a file or folder, or [[data.sources]]",
		func(r *Recipe) bool { return r.Data.Path == "" && len(r.Data.Sources) == 0 }},
	{"data.sources", "data.path and data.sources are both set, want one of them",
		func(r *Recipe) bool { return r.Data.Path != "" && len(r.Data.Sources) > 0 }},
	{"data.eval_fraction", "data.eval_path and data.eval_fraction are both set, want one of them",
		func(r *Recipe) bool { return r.Data.EvalPath != "" && r.Data.EvalFraction > 0 }},
	{"train.class_weights", "train.class_weights and train.balance_classes are both set, want one of them",
		func(r *Recipe) bool { return len(r.Train.ClassWeights) > 0 && r.Train.BalanceClasses }},
	{"data.eval_every", "data.eval_every is set beside data.eval_path or data.eval_fraction, want one of them",
		func(r *Recipe) bool {
			return r.Data.EvalEvery > 0 && (r.Data.EvalPath != "" || r.Data.EvalFraction > 0)
		}},
	{"data.eval_every", "data.eval_every is 1, which would hold out every row, want at least 2",
		func(r *Recipe) bool { return r.Data.EvalEvery == 1 }},
	{"train.warmup_ratio", "train.warmup_steps and train.warmup_ratio are both set, want one of them",
		func(r *Recipe) bool { return r.Train.WarmupSteps > 0 && r.Train.WarmupRatio > 0 }},
	{"train.max_steps", "train.epochs and train.max_steps are both set, want one of them",
		func(r *Recipe) bool { return r.Train.MaxSteps > 0 && r.given["train.epochs"] }},
	{"train.batch_size", "train.batch_size and data.batch_tokens are both set, want one of them",
		func(r *Recipe) bool { return r.Data.BatchTokens > 0 && r.given["train.batch_size"] }},
	{"train.early_stopping_patience", "train.early_stopping_patience needs evaluations: set eval.steps and data.eval_path or data.eval_fraction",
		func(r *Recipe) bool {
			return r.Train.EarlyStopping > 0 && (r.Eval.Steps == 0 || !r.Data.holdsOut())
		}},
	{"eval.load_best", "eval.load_best needs held-out data: set data.eval_path or data.eval_fraction",
		func(r *Recipe) bool { return r.Eval.LoadBest && !r.Data.holdsOut() }},
	{"generate.num_beams", "generate.num_beams and generate.temperature are both set, want one of them: beams are not sampled",
		func(r *Recipe) bool { return r.Generate.NumBeams > 1 && r.Generate.Temperature > 0 }},
	{"method.init_values", "method.init_values and method.adapter are both set, want one of them",
		func(r *Recipe) bool { return r.Method.InitValues != "" && r.Method.Adapter != "" }},
	{"method.layers_pattern", "method.layers_pattern is set without method.layers_to_transform",
		func(r *Recipe) bool { return len(r.Method.LayersPattern) > 0 && r.Method.LayersToTransform == nil }},
	{"method.layers_to_transform", "method.layers_to_transform needs method.target_modules to be a list or \"all-linear\", not a pattern",
		func(r *Recipe) bool {
			p := r.Method.TargetModules.Pattern
			return r.Method.LayersToTransform != nil && p != "" && p != "all-linear"
		}},
	{"method.lora_bias", "method.lora_bias and method.use_dora are both true, want one of them",
		func(r *Recipe) bool { return r.Method.LoraBias && r.Method.UseDoRA }},
	{"method.lora_bias", "method.lora_bias is true, want method.init_lora_weights true or false",
		func(r *Recipe) bool {
			return r.Method.LoraBias && r.Method.InitWeights != "true" && r.Method.InitWeights != "false"
		}},
	{"method.trainable_token_indices", "method.trainable_token_indices has a number below 0, want ids of tokens",
		func(r *Recipe) bool { return r.Method.TokenIndices.below(0) }},
	{"model.init", "model.init is \"random\", want method.type = \"full\": a random base is worth no adapter",
		func(r *Recipe) bool { return r.Model.Init == "random" && r.Method.Type != "full" }},
	{"model.quantize", "model.quantize needs weights that stay frozen: method.type \"full\" and \"freeze\" train them",
		func(r *Recipe) bool { return r.Model.Quantize != "none" && r.Method.TrainsBase() }},
	{"method.type", "method.token_indices is missing, want ids of tokens",
		func(r *Recipe) bool {
			return r.Method.Type == "trainable_tokens" && len(r.Method.TokensToTrain) == 0 && r.Method.Adapter == ""
		}},
	{"method.type", "method.num_virtual_tokens is missing, want a number such as 20",
		func(r *Recipe) bool {
			return r.Method.has("prefix_tuning", "prompt_tuning", "p_tuning") && r.Method.NumVirtualTokens == 0
		}},
	{"method.type", "method.adapter_len and method.adapter_layers are missing, want both, such as 10 and the number of layers",
		func(r *Recipe) bool {
			return r.Method.has("adaption_prompt") && (r.Method.AdapterLen == 0 || r.Method.AdapterLayers == 0)
		}},
	{"method.prompt_tuning_init", "method.prompt_tuning_init_text belongs to method.prompt_tuning_init = \"TEXT\", want both or none",
		func(r *Recipe) bool { return (r.Method.PromptInit == "TEXT") != (r.Method.PromptInitText != "") }},
	{"data.concatenate", "data.concatenate is for data.shape \"text\" or \"masked_text\"",
		func(r *Recipe) bool {
			return r.Data.Concatenate && !slices.Contains([]string{"auto", "text", "masked_text"}, r.Data.Shape)
		}},
	{"train.optimizer", "train.optimizer is \"lora_fa\", want method.type = \"lora\": it trains the B of its branches",
		func(r *Recipe) bool { return r.Train.Optimizer == "lora_fa" && r.Method.Type != "lora" }},
	{"train.learning_rate", "train.learning_rate is 0, which would train nothing",
		func(r *Recipe) bool { return r.Train.LearningRate == 0 && r.given["train.learning_rate"] }},
}

// holdsOut says that some rows are for evaluation.
func (d *Data) holdsOut() bool { return d.EvalPath != "" || d.EvalFraction > 0 || d.EvalEvery > 0 }

// TrainsBase says that weights of the base themselves are trained.
func (m *Method) TrainsBase() bool { return m.has("full", "freeze") }

// has says that a new adapter of one of the types is trained.
func (m *Method) has(types ...string) bool { return m.Adapter == "" && slices.Contains(types, m.Type) }

// rules checks the recipe as a whole.
func (d *decoder) rules() {
	for _, x := range rulesTable {
		if x.broken(d.recipe) {
			d.bad(strings.Split(x.key, "."), "%s", x.message)
		}
	}
	d.meaningless()
	if t := d.recipe.Method.Type; t != "lora" && t != "adalora" && d.recipe.given["train.loraplus_lr_ratio"] && d.recipe.Train.LoraPlusRatio > 0 {
		d.bad([]string{"train", "loraplus_lr_ratio"}, "train.loraplus_lr_ratio means nothing for method.type %q", t)
	}
}
