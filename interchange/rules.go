package interchange

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/interchange/llamacpp"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// oldShares is a rule of all: only PEFT before 0.3 and microsoft/LoRA know branches of shares.
var oldShares = Rule{Name: "enable_lora", Source: "peft 0.3 took MergedLinear out", Find: func(c *Case) []string {
	return firstFew(says("enable_lora")(c), "%s: convert it (graft convert adapter … --to peft)")
}}

// peftRules are PEFT's: what it refuses, and what it drops in silence.
var peftRules = []Rule{
	{Name: "peft_type", Source: "peft utils/peft_types.py", Find: func(c *Case) []string {
		if slices.ContainsFunc(methods.All, func(m peft.Method) bool { return m.Type == c.Config["peft_type"] }) {
			return nil
		}
		return []string{fmt.Sprintf("peft_type is %s, which graft does not know", shown(c.Config["peft_type"]))}
	}},
	{Name: "tensors", Source: "PEFT issues alpaca-lora#446, qlora#44: files of 443 bytes", Find: func(c *Case) []string {
		if len(c.Tensors) > 0 {
			return nil
		}
		return []string{"the file holds no tensor"}
	}},
	oldShares,
	{Name: "prefix", Wrong: true, Source: "peft utils/save_and_load.py: what does not match is left out with a warning", Find: func(c *Case) []string {
		if isVirtual(c) {
			return nil
		}
		var bare []string
		for _, t := range c.Tensors {
			if !strings.HasPrefix(t.Name, "base_model.") {
				bare = append(bare, t.Name)
			}
		}
		return firstFew(bare, "%s: without base_model.model. from_pretrained leaves it out")
	}},
	{Name: "places", Wrong: true, Weights: true, Source: "peft peft_model.py: missing tensors warn, unexpected ones are left out in silence", Find: func(c *Case) []string {
		_, a, err := methods.Load(c.Dir, c.Model, peft.Allow{Idle: true, Zero: true, OtherBase: true})
		if err != nil {
			return lines(err)
		}
		a.Detach()
		return nil
	}},
	{Name: "base", Wrong: true, Weights: true, Source: "the SHA-256 of the base in the file's metadata; PEFT compares nothing", Find: func(c *Case) []string {
		_, a, err := methods.Load(c.Dir, c.Model, peft.Allow{Missing: true, Unexpected: true, Mismatched: true, NonFinite: true, Idle: true, Zero: true})
		if errors.Is(err, peft.ErrOtherBase) {
			return lines(err)
		}
		if err == nil {
			a.Detach()
		}
		return nil
	}},
}

// isVirtual says that the method's tensors are virtual tokens, whose names have no prefix.
func isVirtual(c *Case) bool {
	return slices.Contains([]any{"PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"}, c.Config["peft_type"])
}

// lines are the lines of an error.
func lines(err error) []string { return strings.Split(err.Error(), "\n") }

// vllmRules are those of vllm/lora: peft_helper.py, lora_model.py, utils.py.
var vllmRules = []Rule{
	{Name: "peft_type", Source: "vllm/lora/lora_model.py: names other than lora_A and lora_B", Find: onlyLoRA},
	oldShares,
	{Name: "required keys", Source: "vllm/lora/peft_helper.py: r, lora_alpha and target_modules have no default", Find: func(c *Case) (found []string) {
		for _, key := range []string{"r", "lora_alpha", "target_modules"} {
			if c.Config[key] == nil {
				found = append(found, key+" is missing")
			}
		}
		return found
	}},
	{Name: "rank", Source: "vllm/lora/peft_helper.py: LoRA rank is greater than max_lora_rank (--max-lora-rank, 16 if not said)", Find: func(c *Case) []string {
		for _, t := range c.Tensors {
			if r, ok := rankOf(t.Name, t.Shape); ok && r > c.MaxRank {
				return []string{fmt.Sprintf("rank %d of %s, want at most %d (--max-lora-rank)", r, t.Name, c.MaxRank)}
			}
		}
		return nil
	}},
	{Name: "modules_to_save", Source: "vllm/lora/peft_helper.py; vllm#9280", Find: says("modules_to_save")},
	{Name: "use_dora", Source: "vllm/lora/peft_helper.py; vllm#10849", Find: says("use_dora")},
	{Name: "bias", Source: "vllm/lora/peft_helper.py: Adapter bias is not supported", Find: says("bias", "none")},
	{Name: "trainable_token_indices", Source: "vllm/lora/peft_helper.py, utils.py", Find: says("trainable_token_indices")},
	{Name: "patterns", Wrong: true, Source: "vllm/lora/peft_helper.py reads one lora_alpha and one r: every module is scaled by them", Find: func(c *Case) []string {
		return append(says("rank_pattern")(c), says("alpha_pattern")(c)...)
	}},
	{Name: "tensor names", Source: "vllm/lora/utils.py parse_fine_tuned_lora_name; vllm#32599", Find: func(c *Case) []string {
		return firstFew(c.named(func(name string) bool {
			_, ok := isFactor(name)
			return !ok && !isBaseEmbedding(name)
		}), "%s: no lora_A and no lora_B")
	}},
	{Name: "architecture", Base: true, Source: "vllm/model_executor/models/gpt2.py: the class has no SupportsLoRA", Find: func(c *Case) []string {
		if c.Base.ModelType == "gpt2" {
			return []string{"model_type is gpt2, whose model takes no LoRA there"}
		}
		return nil
	}},
	{Name: "target modules", Weights: true, Source: "vllm/lora/lora_model.py: expected target modules in …, but received …", Find: strangers},
}

// llamaRules are those of the converter and of the loader.
var llamaRules = []Rule{
	{Name: "peft_type", Source: "convert_lora_to_gguf.py", Find: onlyLoRA},
	oldShares,
	{Name: "use_dora", Source: "convert_lora_to_gguf.py: Unexpected name … Not a lora_A or lora_B tensor", Find: says("use_dora")},
	{Name: "modules_to_save", Source: "convert_lora_to_gguf.py: Embeddings is present in the adapter; llama.cpp#9948", Find: says("modules_to_save")},
	{Name: "tensor names", Source: "convert_lora_to_gguf.py get_tensors", Find: func(c *Case) []string {
		return firstFew(c.named(func(name string) bool {
			_, ok := isFactor(name)
			return !ok && !strings.HasSuffix(name, endBase)
		}), "%s: no lora_A and no lora_B")
	}},
	{Name: "use_rslora", Wrong: true, Source: "convert_lora_to_gguf.py writes lora_alpha, src/llama-adapter.h divides by r: not by √r. graft convert adapter --to gguf takes care", Find: says("use_rslora")},
	{Name: "alpha_pattern", Wrong: true, Source: "convert_lora_to_gguf.py writes one lora_alpha. graft convert adapter --to gguf takes care", Find: says("alpha_pattern")},
	{Name: "architecture", Base: true, Source: "general.architecture must be the model's; names that graft knows", Find: func(c *Case) []string {
		if _, err := llamacpp.ArchOf(c.Base); err != nil {
			return lines(err)
		}
		return nil
	}},
	{Name: "modules", Base: true, Source: "src/llama-adapter.cpp: LoRA tensor … does not exist in base model", Find: func(c *Case) (found []string) {
		x, err := llamacpp.ArchOf(c.Base)
		if err != nil {
			return nil // the rule above
		}
		for _, m := range c.modules() {
			if _, err := x.ToGGUF(m); err != nil {
				found = append(found, m)
			}
		}
		return firstFew(found, "%s: no part of llama.cpp's "+x.Name)
	}},
	{Name: "tied ends", Base: true, Source: "convert_lora_to_gguf.py: lm_head is present in adapter, but is ignored in base model; llama.cpp#9065", Find: func(c *Case) []string {
		if !c.Base.TieWordEmbeddings {
			return nil
		}
		return firstFew(slices.DeleteFunc(c.modules(), func(m string) bool { return m != "lm_head" && !isEmbedding(m) }), "%s: embedding and head are one tensor there")
	}},
	{Name: "transposed weights", Wrong: true, Base: true, Source: "convert_hf_to_gguf.py transposes GPT-2's weights, and with them factors that are not transposed. graft convert adapter --to gguf takes care",
		Find: func(c *Case) []string {
			if c.Base.ModelType != "gpt2" {
				return nil
			}
			return firstFew(slices.DeleteFunc(c.modules(), func(m string) bool { return !storedInOut(m) }), "%s")
		}},
}

// strangers finds adapted modules whose last part no module of the model has.
func strangers(c *Case) []string {
	ends := map[string]bool{}
	for s := range c.Model.Slots() {
		_, last, _ := cutLast(s.Name)
		ends[last] = true
	}
	var found []string
	for _, m := range c.modules() {
		if _, last, _ := cutLast(m); !ends[last] {
			found = append(found, m)
		}
	}
	return firstFew(found, "%s: no module of the base")
}

// rankOf is the rank by the shape of a lora_A.
func rankOf(name string, shape []int) (int, bool) {
	if len(shape) == 2 && (strings.HasSuffix(name, endA) || strings.HasSuffix(name, endEmbeddingA)) {
		return shape[0], true
	}
	return 0, false
}
