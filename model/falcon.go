package model

import (
	"math"

	"github.com/graft-ml/graft/internal/op"
)

// falcon has one projection for queries, keys and values in groups: one key head for all queries (7b), one for each group of
// them (40b, 180b), one for each (rw, with ALiBi) [almazrouei2023].
var falcon = Architecture{
	ModelType: "falcon",
	Aliases: []Alias{{"hidden_act", "activation"}, {"rms_norm_eps", "layer_norm_epsilon"}, {"num_key_value_heads", "num_kv_heads"},
		{"intermediate_size", "ffn_hidden_size"}, {"num_attention_heads", "n_head"}, {"num_hidden_layers", "n_layer"}, {"num_key_value_heads", "n_head_kv"}},
	Defaults: func() Config {
		return Config{HiddenSize: 4544, NumHiddenLayers: 32, NumAttentionHeads: 71, VocabSize: 65024, MaxPositionEmbeddings: 2048,
			HiddenAct: "gelu", NormEps: 1e-5, InitializerRange: 0.02, RopeTheta: 10000, TieWordEmbeddings: true,
			Family: &falconFields{MultiQuery: true, ParallelAttn: true}}
	},
	Complete: func(c *Config) {
		fourfold(c)
		switch f := c.Family.(*falconFields); {
		case f.NewDecoderArchitecture:
		case f.MultiQuery:
			c.NumKeyValueHeads = 1
		default:
			c.NumKeyValueHeads = c.NumAttentionHeads
		}
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*falconFields)
		s := Spec{
			Prefix: "transformer.", Norm: Norm{Kind: op.Center, Bias: true}, Embed: "word_embeddings", Blocks: "h", FinalNorm: "ln_f", Head: "lm_head",
			Buffers: []string{"rotary.inv_freq"},
			Block: Block{
				Parallel:       f.ParallelAttn,
				AttentionNorms: NormNames{Before: "input_layernorm"},
				Attention: Attention{In: []string{"self_attention.query_key_value"}, Grouped: true, InBias: f.Bias,
					Output: "self_attention.dense", OutputBias: f.Bias},
				MLP: MLP{In: []string{"mlp.dense_h_to_4h"}, InBias: f.Bias, Down: "mlp.dense_4h_to_h", OutBias: f.Bias},
			},
		}
		switch {
		case !f.ParallelAttn:
			s.Block.MLPNorms.Before = "post_attention_layernorm"
		case f.norms() == 2:
			s.Block.AttentionNorms.Before, s.Block.MLPNorms.Before = "ln_attn", "ln_mlp"
		}
		if f.ALiBi {
			bias := op.NewALiBi(c.NumAttentionHeads)
			bias.BF16, bias.Scale = true, float32(1/math.Sqrt(float64(c.HeadDim)))
			s.Block.Attention.Bias = bias
		} else {
			s.Ropes = []Rope{c.rotary(c.HeadDim)}
		}
		return s
	},
}

type falconFields struct {
	ALiBi                  bool `json:"alibi"`
	Bias                   bool `json:"bias"`
	MultiQuery             bool `json:"multi_query"`
	ParallelAttn           bool `json:"parallel_attn"`
	NewDecoderArchitecture bool `json:"new_decoder_architecture"`
	NumLnInParallelAttn    *int `json:"num_ln_in_parallel_attn"`
}

// norms is how many norms of its input a parallel block has.
func (f *falconFields) norms() int {
	switch {
	case f.NumLnInParallelAttn != nil:
		return *f.NumLnInParallelAttn
	case f.NewDecoderArchitecture:
		return 2
	}
	return 1
}
