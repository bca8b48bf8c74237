package llamacpp

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/model"
)

// Keys of files.
const (
	KeyArch    = "general.architecture"
	KeyType    = "general.type"      // "model", "adapter"
	KeyFile    = "general.file_type" // llama.cpp's number for the dtype of most tensors
	KeyBase    = "general.base_model.0.name"
	KeyBases   = "general.base_model.count"
	keyName    = "general.name"
	keyVersion = "general.quantization_version"
)

// whole is what is special about the whole models of an architecture.
type whole struct {
	eps         string      // key of the norms' epsilon, behind the architecture's name
	rotary      bool        // positions turn; otherwise they are learned
	parts, ends [][2]string // beside the projections
	plusOne     bool        // norms scale by 1 + w, which llama.cpp wants stored
	conv1D      bool        // projections are stored [in, out]
	tied        bool        // llama.cpp knows no head of its own
	activations []string    // that llama.cpp computes, by hidden_act
	fields      map[string]any
	partial     bool    // rotary positions may turn a part of a head
	special     special // nil = nothing
}

var (
	llamaNorms = [][2]string{{"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "ffn_norm"}}
	llamaEnds  = [][2]string{{"model.norm", "output_norm"}}
	silu       = []string{"silu", "swish"}
	geluTanh   = []string{"gelu_pytorch_tanh", "gelu_new", "gelu_fast"}

	wholeLlama = whole{eps: "attention.layer_norm_rms_epsilon", rotary: true, parts: llamaNorms, ends: llamaEnds, activations: silu}
	wholeQwen3 = whole{eps: wholeLlama.eps, rotary: true, ends: llamaEnds, activations: silu,
		parts: append([][2]string{{"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"}}, llamaNorms...)}
	wholeGemma  = whole{eps: wholeLlama.eps, rotary: true, parts: llamaNorms, ends: llamaEnds, activations: geluTanh, plusOne: true, tied: true}
	gemma2Norms = [][2]string{{"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "post_attention_norm"},
		{"pre_feedforward_layernorm", "ffn_norm"}, {"post_feedforward_layernorm", "post_ffw_norm"}}
	wholeGemma2 = whole{eps: wholeLlama.eps, rotary: true, parts: gemma2Norms, ends: llamaEnds, activations: geluTanh, plusOne: true, tied: true, special: gemma2Keys}
	wholeGemma3 = whole{eps: wholeLlama.eps, rotary: true, ends: llamaEnds, activations: geluTanh, plusOne: true, tied: true, special: gemma3Keys,
		parts: append([][2]string{{"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"}}, gemma2Norms...)}
	wholePhi3 = whole{eps: wholeLlama.eps, rotary: true, parts: llamaNorms, ends: llamaEnds, activations: silu, partial: true, special: phi3Keys}
	wholeGPT2 = whole{eps: "attention.layer_norm_epsilon", activations: geluTanh, conv1D: true,
		parts:  [][2]string{{"ln_1", "attn_norm"}, {"ln_2", "ffn_norm"}},
		ends:   [][2]string{{"transformer.wpe", "position_embd"}, {"transformer.ln_f", "output_norm"}},
		fields: map[string]any{"scale_attn_weights": true, "scale_attn_by_inverse_layer_idx": false}}
)

// keys are the sizes of a model and its positions, and what llama.cpp will not do as the model wants it.
func (x *Arch) keys(c *model.Config) (pairs []gguf.Pair, notes []string, err error) {
	add := func(key string, v any) { pairs = append(pairs, gguf.Pair{Key: x.Name + "." + key, Value: v}) }
	add("vocab_size", uint32(c.VocabSize))
	add("context_length", uint32(c.MaxPositionEmbeddings))
	add("embedding_length", uint32(c.HiddenSize))
	add("block_count", uint32(c.NumHiddenLayers))
	add("feed_forward_length", uint32(c.IntermediateSize))
	add("attention.head_count", uint32(c.NumAttentionHeads))
	add("attention.head_count_kv", uint32(c.NumKeyValueHeads))
	add(x.whole.eps, float32(c.NormEps))
	if !x.whole.rotary {
		return pairs, nil, nil
	}
	add("attention.key_length", uint32(c.HeadDim))
	add("attention.value_length", uint32(c.HeadDim))
	a, err := attentionOf(c)
	if err != nil {
		return nil, nil, err
	}
	r := a.spec.Ropes[0]
	if r.Dim != c.HeadDim && !x.whole.partial {
		return nil, nil, fmt.Errorf("partial_rotary_factor has %d of the %d numbers of a head turn, want all: others are not exported", r.Dim, c.HeadDim)
	}
	add("rope.dimension_count", uint32(r.Dim))
	if c.SlidingWindow != nil && c.UseSlidingWindow == nil && c.ModelType == "mistral" || c.UseSlidingWindow != nil && *c.UseSlidingWindow {
		notes = append(notes, "sliding_window of config.json: llama.cpp looks back without bound in this architecture")
	}
	if x.whole.special != nil {
		more, err := x.whole.special(a, add)
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, more...)
	}
	rope, err := ropeKeys(c, r.RopeParameters)
	for _, p := range rope {
		add(p.Key, p.Value)
	}
	return pairs, notes, err
}

// ropeKeys say how rotary positions are scaled. The scales of llama3 are a tensor: ropeFactors.
func ropeKeys(c *model.Config, r model.RopeParameters) ([]gguf.Pair, error) {
	pairs := []gguf.Pair{{Key: "rope.freq_base", Value: float32(r.RopeTheta)}}
	add := func(key string, v any) { pairs = append(pairs, gguf.Pair{Key: "rope.scaling." + key, Value: v}) }
	switch r.RopeType {
	case "default", "llama3":
	case "longrope":
		if c.ModelType != "phi3" { // whose keys are phi3Keys'
			return nil, fmt.Errorf("rope_type is %q, want default, linear, llama3 or yarn: others are not exported", r.RopeType)
		}
	case "linear", "yarn":
		add("type", r.RopeType)
		add("factor", float32(*r.Factor))
		if r.RopeType == "linear" {
			break
		}
		if r.AttentionFactor != nil || r.MScale != nil || r.Truncate != nil {
			return nil, fmt.Errorf("rope_type is yarn with attention_factor, mscale or truncate, which are not exported")
		}
		original := r.OriginalMaxPositionEmbeddings
		if original == 0 {
			original = c.MaxPositionEmbeddings
		}
		add("original_context_length", uint32(original))
		if r.BetaFast != nil {
			add("yarn_beta_fast", float32(*r.BetaFast))
		}
		if r.BetaSlow != nil {
			add("yarn_beta_slow", float32(*r.BetaSlow))
		}
	default:
		return nil, fmt.Errorf("rope_type is %q, want default, linear, llama3 or yarn: others are not exported", r.RopeType)
	}
	return pairs, nil
}

// ropeTensors are factors of rotary frequencies that are tensors of a file, [numbers that turn / 2]: by how much they are divided.
func ropeTensors(c *model.Config) (list []gguf.Tensor, err error) {
	r := c.Rope()
	for _, f := range []struct {
		name    string
		factors []float32
	}{{"rope_freqs.weight", ropeFactors(c)}, {"rope_factors_long.weight", float32s(r.LongFactor)}, {"rope_factors_short.weight", float32s(r.ShortFactor)}} {
		if f.factors == nil {
			continue
		}
		t, err := gguf.NewTensor(f.name, gguf.F32, []int{len(f.factors)}, f.factors)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// float32s rounds; nil stays nil.
func float32s(x []float64) (y []float32) {
	for _, v := range x {
		y = append(y, float32(v))
	}
	return y
}

// ropeFactors are by how much the frequencies of llama3 are divided [head_dim/2]; nil for other kinds.
//
// References: llama.cpp conversion/llama.py; transformers modeling_rope_utils.py, _compute_llama3_parameters.
func ropeFactors(c *model.Config) []float32 {
	r := c.Rope()
	if r.RopeType != "llama3" {
		return nil
	}
	factor, low, high, length := *r.Factor, *r.LowFreqFactor, *r.HighFreqFactor, float64(r.OriginalMaxPositionEmbeddings)
	x := make([]float32, c.HeadDim/2)
	for i := range x {
		wave := 2 * math.Pi * math.Pow(r.RopeTheta, float64(2*i)/float64(c.HeadDim))
		switch {
		case wave < length/high:
			x[i] = 1
		case wave > length/low:
			x[i] = float32(factor)
		default:
			smooth := (length/wave - low) / (high - low)
			x[i] = float32(1 / ((1-smooth)/factor + smooth))
		}
	}
	return x
}

// check refuses models that llama.cpp would compute otherwise than they were trained.
func (x *Arch) check(c *model.Config, raw []byte) error {
	known := false
	for _, a := range x.whole.activations {
		known = known || a == c.HiddenAct
	}
	if !known {
		return fmt.Errorf("hidden_act is %q, want %s: llama.cpp's %s has no other", c.HiddenAct, x.whole.activations[0], x.Name)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	for key, want := range x.whole.fields {
		if got, ok := fields[key]; ok && got != want {
			return fmt.Errorf("%s is %v, want %v: llama.cpp's %s has no other", key, got, want, x.Name)
		}
	}
	return nil
}
