package methods_test

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/peft/pefttest"
	"github.com/graft-ml/graft/prefix"
)

// laws has a row for each line of methods.All, and variants of it.
var laws = []pefttest.Case{
	{Name: "lora", Method: lora.Method, Identity: true, Mergeable: true, Lost: lostLora,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Dropout = 0.3 })},
	{Name: "lora with rslora and gaussian A", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.UseRSLoRA, c.Init = true, "gaussian" })},
	{Name: "lora with patterns", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) {
			end := linearNames(m)
			c.TargetModules = peft.Names{List: []string{end[0], end[len(end)-1]}}
			c.RankPattern = peft.Pattern{peft.NewEntry(end[0], 5)}
			c.AlphaPattern = peft.Pattern{peft.NewEntry(end[len(end)-1], 2)}
		})},
	{Name: "lora whose B is drawn", Method: lora.Method, Variant: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Init = "false" })},
	{Name: "dora", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		// The length of W + ΔW is a constant to the gradients of ΔW [liu2024] section 4.3.
		Approximate: func(name string) bool { return !strings.HasSuffix(name, "lora_magnitude_vector") },
		Config:      loraWith(func(c *lora.Config, m layer.Model) { c.UseDoRA, c.Dropout = true, 0.2 })},
	{Name: "lora with biases", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraOnBiases},
	{Name: "lora on the embedding", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) {
			c.TargetModules = peft.Names{List: []string{embeddingName(m), linearNames(m)[0]}}
		})},
	{Name: "lora beside a trained embedding", Method: lora.Method, Variant: true, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Beside.ModulesToSave = []string{embeddingName(m)} })},
	{Name: "lora on the weights of experts", Method: lora.Method, Variant: true, Identity: true, Mergeable: true, Config: onExperts},
	{Name: "lora by olora", Method: lora.Method, Variant: true, Mergeable: true, Converted: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Init, c.Rank = "olora", 2 })},
	{Name: "lora by corda", Method: lora.Method, Variant: true, Converted: true, Mergeable: true, Config: onTwo(loraWith(sampled("corda")))},
	{Name: "lora by eva", Method: lora.Method, Variant: true, Identity: true, Mergeable: true, Config: onTwo(loraWith(sampled("eva")))},
	{Name: "lora by loftq", Method: lora.Method, Variant: true, Mergeable: true, Config: onBlocks},
	{Name: "lora over 8 bits", Method: lora.Method, Quantised: kernel.I8, Variant: true, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Dropout = 0.3 })},
	{Name: "lora over 4 bits", Method: lora.Method, Quantised: kernel.NF4, Identity: true, Mergeable: true,
		Config: loraWith(func(c *lora.Config, m layer.Model) { c.Dropout = 0.3 })},
	{Name: "dora over 4 bits", Method: lora.Method, Quantised: kernel.NF4, Variant: true, Identity: true, Mergeable: true,
		Approximate: func(name string) bool { return !strings.HasSuffix(name, "lora_magnitude_vector") },
		Config:      loraWith(func(c *lora.Config, m layer.Model) { c.UseDoRA, c.Dropout = true, 0.2 })},
	{Name: "freeze", Method: adapter.Freeze, Identity: true, Mergeable: true, Config: lastLayers(1, false)},
	{Name: "freeze of the head alone", Method: adapter.Freeze, Variant: true, Identity: true, Mergeable: true, Config: onTwo(lastLayers(0, true))},
	{Name: "bitfit", Method: adapter.BitFit, Identity: true, Mergeable: true, Config: onBiases},
	{Name: "lora of shares", Method: lora.Method, Variant: true, Identity: true, Mergeable: true, Config: onTwo(loraOfShares)},
	{Name: "prefix tuning", Method: prefix.PrefixTuning, Virtual: true, Config: tuning(false)},
	{Name: "prefix tuning with a projection", Method: prefix.PrefixTuning, Virtual: true, Variant: true, Converted: true, Config: onTwo(tuning(true))},
	{Name: "prompt tuning", Method: prefix.PromptTuning, Virtual: true, Config: func(layer.Model) peft.Config {
		c := prefix.NewPrompt()
		c.NumVirtualTokens, c.Init = 3, "SAMPLE_VOCAB"
		return c
	}},
	{Name: "p-tuning", Method: prefix.PTuning, Virtual: true, Converted: true, Config: onTwo(func(layer.Model) peft.Config {
		c := prefix.NewPTuning()
		c.NumVirtualTokens, c.EncoderHiddenSize = 3, 5
		return c
	})},
	{Name: "p-tuning by an LSTM", Method: prefix.PTuning, Virtual: true, Variant: true, Converted: true, Config: onTwo(func(layer.Model) peft.Config {
		c := prefix.NewPTuning()
		c.NumVirtualTokens, c.EncoderHiddenSize, c.Encoder, c.EncoderDropout = 3, 5, "LSTM", 0.3
		return c
	})},
	{Name: "adaption prompt", Method: prefix.AdaptionPrompt, Identity: true, Lost: adaption("nowhere", false), Config: adaption("", false)},
	// PEFT passes what is found through the output projection, whose bias then counts twice from the start.
	{Name: "adaption prompt where the output has a bias", Method: prefix.AdaptionPrompt, Variant: true, Config: adaption("", true)},
}

// loraOfShares adapts one half of the outputs, as only files of old PEFTs say.
func loraOfShares(m layer.Model) peft.Config {
	c := lora.New()
	if err := c.Parse([]byte(`{"peft_type": "LORA", "r": 3, "lora_alpha": 7, "enable_lora": [false, true]}`)); err != nil {
		panic(err) // a constant
	}
	c.TargetModules = peft.Names{List: linearNames(m)[:2]}
	return c
}

// onTwo keeps settings to the two models that stand for all.
func onTwo(config func(m layer.Model) peft.Config) func(m layer.Model) peft.Config {
	return func(m layer.Model) peft.Config {
		if _, ok := lawTargets[m.ModelType()]; !ok {
			return nil
		}
		return config(m)
	}
}

// tuning is prefix tuning of three virtual tokens.
func tuning(projection bool) func(m layer.Model) peft.Config {
	return func(m layer.Model) peft.Config {
		if m.ModelType() == "deberta-v2" {
			return nil // its attention takes no keys and values from elsewhere, and Attach says so
		}
		c := prefix.NewTuning()
		c.NumVirtualTokens, c.Projection, c.EncoderHiddenSize = 3, projection, 5
		return c
	}
}

// adaption is LLaMA-Adapter on the last layer, for the model types that PEFT has it for, with or without a bias of the projection that
// what is found passes through.
func adaption(target string, biased bool) func(m layer.Model) peft.Config {
	return func(m layer.Model) peft.Config {
		if !slices.Contains([]string{"llama", "mistral", "gpt2"}, m.ModelType()) {
			return nil
		}
		has := false
		for s := range m.Slots() {
			has = has || strings.HasSuffix(s.Name, ".o_proj") && s.Base.Bias != nil
		}
		if has != biased {
			return nil
		}
		c := prefix.NewAdaption()
		c.AdapterLen, c.AdapterLayers, c.TargetModules = 3, 1, target
		return c
	}
}

// loraWith is LoRA on all linear layers, with rank and alpha off the fixed point alpha = r.
func loraWith(set func(c *lora.Config, m layer.Model)) func(m layer.Model) peft.Config {
	return func(m layer.Model) peft.Config {
		c := lora.New()
		c.Rank, c.Alpha, c.TargetModules = 3, 7, peft.Names{Pattern: peft.AllLinear}
		set(c, m)
		return c
	}
}

// loraOnBiases adapts the layers that have a bias; nil if none has. Only these can take a bias of B in when they are merged.
func loraOnBiases(m layer.Model) peft.Config {
	c := lora.New()
	c.Rank, c.Alpha, c.LoraBias, c.Beside.Bias = 3, 7, true, "all"
	for s := range m.Slots() {
		if s.Base.Bias != nil {
			c.TargetModules.List = append(c.TargetModules.List, s.Name)
		}
	}
	if len(c.TargetModules.List) == 0 {
		return nil
	}
	return c
}

// onExperts adapts the weights of experts as transformers sees them, and a projection; nil where there are none.
func onExperts(m layer.Model) peft.Config {
	if x, ok := m.(interface{ Fused() []layer.Fused }); !ok || x.Fused() == nil {
		return nil
	}
	c := lora.New()
	c.Rank, c.Alpha, c.TargetModules.List, c.TargetParameters = 3, 7, []string{"q_proj"}, []string{"experts.gate_up_proj", "mlp.experts.down_proj"}
	return c
}

// sampled is an initialiser that looks at what passes through the model.
func sampled(name string) func(c *lora.Config, m layer.Model) {
	return func(c *lora.Config, _ layer.Model) {
		c.Init = name
		c.Sample = func(m layer.Model) error {
			x := m.(*model.Model)
			set := modeltest.Set(x.Config.VocabSize)
			b := set.Batch(modeltest.All(set))
			x.Hidden(op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena()), b.Tokens)
			return nil
		}
	}
}

// onBlocks quantises the projections whose numbers make whole blocks of 64; nil where none do.
func onBlocks(m layer.Model) peft.Config {
	c := lora.New()
	c.Rank, c.Alpha, c.Init = 2, 7, "loftq"
	for s := range m.Slots() {
		if in, out := dims(s); in*out%64 == 0 && in > 0 {
			c.TargetModules.List = append(c.TargetModules.List, s.Name)
		}
	}
	if c.TargetModules.List == nil {
		return nil
	}
	return c
}

func dims(s *layer.Slot) (in, out int) {
	if s.Kind == layer.Embedding {
		return 0, 0
	}
	return s.Dims()
}

// lastLayers trains the last layers and perhaps the head.
func lastLayers(n int, head bool) func(m layer.Model) peft.Config {
	return func(m layer.Model) peft.Config {
		if !slices.Contains([]string{"gpt2", "mixtral", "albert", "deberta-v2"}, m.ModelType()) { // layers of every shape
			return nil
		}
		c := adapter.Freeze.New().(*adapter.BaselineConfig)
		c.Layers, c.Head = n, head
		return c
	}
}

// onBiases is BitFit where a model of a few that stand for all has biases.
func onBiases(m layer.Model) peft.Config {
	for s := range m.Slots() {
		if s.Base.Bias != nil && slices.Contains([]string{"qwen2", "gpt2", "bert", "deberta-v2"}, m.ModelType()) {
			return adapter.BitFit.New()
		}
	}
	return nil
}

func lostLora(layer.Model) peft.Config {
	c := lora.New()
	c.TargetModules = peft.Names{List: []string{"nowhere_proj"}}
	return c
}

// embeddingName is the last part of the name of the input embedding.
func embeddingName(m layer.Model) string {
	for s := range m.Slots() {
		if s.Kind == layer.Embedding {
			return s.Name[strings.LastIndexByte(s.Name, '.')+1:]
		}
	}
	return ""
}

// linearNames lists the last parts of the names of all linear slots, in the model's order.
func linearNames(m layer.Model) (ends []string) {
	for s := range m.Slots() {
		if s.Kind == layer.Linear || s.Kind == layer.Conv1D {
			ends = append(ends, s.Name[strings.LastIndexByte(s.Name, '.')+1:])
		}
	}
	return ends
}

// long asks for the whole of what the default run does a part of.
var long = flag.Bool("long", false, "run the heavier suites in full")

// standIns are the models that stand for all in the default run: a decoder, for all rows, and an encoder, for those that are no variants.
var standIns = []string{"qwen2, window in the upper layer", "bert"}

// besides are models of the default run beside these, for methods that depend on how a model is built; by row.
var besides = map[string][]string{
	"the library's prompt tuning":    {"gpt2"},
	"pfeiffer":                       {"gpt2"},
	"compacter with shared weights":  {"gpt2"},
	"the library's lora":             {"gpt2"},
	"ia3":                            {"gpt2"},
	"oft":                            {"gpt2"},
	"lora on the weights of experts": {"mixtral"},
	"dora":                           {"phi3"},
	"lora on the embedding":          {"t5", "albert, two groups of two"},
	"prefix tuning":                  {"bloom", "gemma3", "t5 1.1", "bart"},
	"prompt tuning":                  {"opt, norms after, projected", "t5", "deberta-v2", "marian"},
	"houlsby":                        {"falcon, new", "gemma2", "albert, two groups of two"},
	"adaption prompt":                {"llama"},
	"adaption prompt where the output has a bias": {"llama, tied, with biases"},
}

// wanted are the models that a row goes over: LoRA all, the others those that stand for them, of which the first shows all laws; with
// -long all show all.
func wanted(row pefttest.Case) func(model string) pefttest.Extent {
	if *long {
		return nil
	}
	return func(model string) pefttest.Extent {
		switch {
		case model == standIns[0]:
			return pefttest.All
		case row.Name == "lora" || !row.Variant && slices.Contains(standIns, model) || slices.Contains(besides[row.Name], model):
			return pefttest.Most
		}
		return pefttest.Nothing
	}
}

// TestLaws holds every method to the laws, on every architecture if asked for.
func TestLaws(t *testing.T) {
	has := map[string]bool{}
	for _, c := range slices.Concat(laws, hubLaws, othersLaws()) {
		has[c.Method.Name] = has[c.Method.Name] || !c.Variant
		t.Run(c.Name, func(t *testing.T) { pefttest.Run(t, c, wanted(c)) })
	}
	for _, m := range methods.All {
		if !has[m.Name] && !slices.Contains(untrainable, m.Name) {
			t.Errorf("method %q has no row in laws", m.Name)
		}
	}
}
