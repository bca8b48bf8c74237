package model

import "github.com/graft-ml/graft/internal/op"

// bloom has ALiBi for positions, one projection for queries, keys and values, head by head, and a norm of the embeddings
// [scao2022].
var bloom = Architecture{
	ModelType: "bloom",
	Aliases: []Alias{{"hidden_size", "n_embed"}, {"num_hidden_layers", "n_layer"}, {"num_attention_heads", "n_head"},
		{"rms_norm_eps", "layer_norm_epsilon"}, {"max_position_embeddings", "seq_length"}},
	Defaults: func() Config {
		return Config{HiddenSize: 64, NumHiddenLayers: 2, NumAttentionHeads: 8, VocabSize: 250880, MaxPositionEmbeddings: 2048,
			HiddenAct: "gelu_pytorch_tanh", NormEps: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true, Family: &bloomFields{}}
	},
	Complete: fourfold,
	Spec: func(c *Config) Spec {
		return Spec{
			Prefix: "transformer.", Norm: Norm{Kind: op.Center, Bias: true}, Embed: "word_embeddings", EmbedNorm: "word_embeddings_layernorm",
			Blocks: "h", FinalNorm: "ln_f", Head: "lm_head",
			Block: Block{
				FromNorm:       c.Family.(*bloomFields).ResidualFromNorm,
				AttentionNorms: NormNames{Before: "input_layernorm"},
				MLPNorms:       NormNames{Before: "post_attention_layernorm"},
				Attention: Attention{In: []string{"self_attention.query_key_value"}, Grouped: true, InBias: true,
					Output: "self_attention.dense", OutputBias: true, Bias: op.NewALiBi(c.NumAttentionHeads)},
				MLP: MLP{In: []string{"mlp.dense_h_to_4h"}, InBias: true, Down: "mlp.dense_4h_to_h", OutBias: true},
			},
		}
	},
}

type bloomFields struct {
	ResidualFromNorm bool `json:"apply_residual_connection_post_layernorm"`
}
