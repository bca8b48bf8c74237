package lora

// PEFT's target_modules by model_type for methods whose choice is not that of LoRA everywhere (utils/constants.py).
var (
	adaloraTargets = map[string][]string{
		"t5": t5Linear, "mt5": mt5Linear, "bart": bartLinear, "opt": bartLinear,
		"roberta": {"query", "key", "value", "dense"}, "deberta-v2": {"query_proj", "key_proj", "value_proj", "dense"},
	}
	vbloraTargets = map[string][]string{
		"t5": t5Linear, "mt5": mt5Linear, "bart": bartLinear, "opt": bartLinear, "deberta-v2": {"query_proj", "key_proj", "value_proj", "dense"},
	}
	t5Linear   = []string{"q", "k", "v", "o", "wi", "wo"}
	mt5Linear  = []string{"q", "k", "v", "o", "wi_0", "wi_1", "wo"}
	bartLinear = []string{"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}

	// spectralTargets are those of C3A, FourierFT and WaveFT.
	spectralTargets = map[string][]string{"gpt2": {"mlp.c_proj"}}
)
