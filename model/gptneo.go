package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/graft-ml/graft/internal/op"
)

// gptNeo is GPT-2 with separate projections, scores that are not scaled, and a window in every second layer [black2021].
var gptNeo = Architecture{
	ModelType: "gpt_neo",
	Aliases: []Alias{{"num_hidden_layers", "num_layers"}, {"num_attention_heads", "num_heads"}, {"hidden_act", "activation_function"},
		{"rms_norm_eps", "layer_norm_epsilon"}, {"sliding_window", "window_size"}},
	Defaults: func() Config {
		window := 256
		return Config{HiddenSize: 2048, NumHiddenLayers: 24, NumAttentionHeads: 16, VocabSize: 50257, MaxPositionEmbeddings: 2048,
			HiddenAct: "gelu_new", NormEps: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true, SlidingWindow: &window, Family: &gptNeoFields{}}
	},
	Complete: func(c *Config) {
		fourfold(c)
		if f := c.Family.(*gptNeoFields); f.AttentionLayers == nil {
			f.AttentionLayers = f.AttentionTypes
		}
	},
	Check: func(c *Config) (errs []error) {
		f := c.Family.(*gptNeoFields)
		if f.AttentionLayers != nil && len(f.AttentionLayers) != c.NumHiddenLayers {
			errs = append(errs, c.bad("attention_layers", "has %d entries, %s is %d", len(f.AttentionLayers), c.key("num_hidden_layers"), c.NumHiddenLayers))
		}
		for i, t := range f.AttentionLayers {
			if t != "global" && t != "local" {
				errs = append(errs, c.bad("attention_layers", "has %q at %d, want global or local", t, i))
			}
		}
		return errs
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*gptNeoFields)
		return Spec{
			Prefix: "transformer.", Norm: Norm{Kind: op.Center, Bias: true}, Embed: "wte", Positions: "wpe", Blocks: "h", FinalNorm: "ln_f", Head: "lm_head",
			Buffers: []string{".attention.bias", ".attention.masked_bias"},
			Block: Block{
				AttentionNorms: NormNames{Before: "ln_1"},
				MLPNorms:       NormNames{Before: "ln_2"},
				Attention: Attention{In: []string{"attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"},
					Output: "attn.attention.out_proj", OutputBias: true, Scale: 1},
				MLP: MLP{In: []string{"mlp.c_fc"}, InBias: true, Down: "mlp.c_proj", OutBias: true},
			},
			Layer: func(i int, b *Block) {
				if f.AttentionLayers == nil && i%2 == 1 || f.AttentionLayers != nil && f.AttentionLayers[i] == "local" {
					b.Attention.Window = c.window()
				}
			},
		}
	},
}

type gptNeoFields struct {
	AttentionLayers []string       `json:"attention_layers"` // "global" or "local" for each layer
	AttentionTypes  attentionTypes `json:"attention_types"`  // the same in short
}

// attentionTypes are the types of layers, which the file has as runs: [[["global", "local"], 12]].
type attentionTypes []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *attentionTypes) UnmarshalJSON(b []byte) error {
	var runs [][]json.RawMessage
	if err := json.Unmarshal(b, &runs); err != nil {
		return errors.New("attention_types is no list of pairs")
	}
	*t = nil
	for _, r := range runs {
		var types []string
		var times int
		if len(r) != 2 || json.Unmarshal(r[0], &types) != nil || json.Unmarshal(r[1], &times) != nil || times < 0 || times > headLimit || len(types) > headLimit || times*len(types) > headLimit {
			return fmt.Errorf("attention_types has %.60s, want pairs of a list of types and how often it comes", r)
		}
		*t = append(*t, slices.Repeat(types, times)...)
	}
	return nil
}
