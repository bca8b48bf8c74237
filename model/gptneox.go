package model

import "github.com/graft-ml/graft/internal/op"

// gptNeoX is GPT-NeoX and Pythia: one projection for queries, keys and values, head by head; attention and MLP side by
// side, each with its norm [black2022].
var gptNeoX = Architecture{
	ModelType: "gpt_neox",
	Aliases:   []Alias{{"rms_norm_eps", "layer_norm_eps"}, {"partial_rotary_factor", "rotary_pct"}, {"rope_theta", "rotary_emb_base"}},
	Defaults: func() Config {
		return Config{HiddenSize: 6144, IntermediateSize: 24576, NumHiddenLayers: 44, NumAttentionHeads: 64, VocabSize: 50432,
			MaxPositionEmbeddings: 2048, HiddenAct: "gelu", NormEps: 1e-5, InitializerRange: 0.02, RopeTheta: 10000, PartialRotaryFactor: 0.25,
			AttentionBias: true, Family: &gptNeoXFields{UseParallelResidual: true}}
	},
	Spec: func(c *Config) Spec {
		return Spec{
			Prefix: "gpt_neox.", Norm: Norm{Kind: op.Center, Bias: true}, Embed: "embed_in", Blocks: "layers", FinalNorm: "final_layer_norm", Head: "embed_out",
			Ropes:   []Rope{c.rotary(c.partialRotary())},
			Buffers: []string{".attention.bias", ".attention.masked_bias"},
			Block: Block{
				Parallel:       c.Family.(*gptNeoXFields).UseParallelResidual,
				AttentionNorms: NormNames{Before: "input_layernorm"},
				MLPNorms:       NormNames{Before: "post_attention_layernorm"},
				Attention: Attention{In: []string{"attention.query_key_value"}, Grouped: true, InBias: c.AttentionBias,
					Output: "attention.dense", OutputBias: c.AttentionBias},
				MLP: MLP{In: []string{"mlp.dense_h_to_4h"}, InBias: true, Down: "mlp.dense_4h_to_h", OutBias: true},
			},
		}
	},
}

type gptNeoXFields struct {
	UseParallelResidual bool `json:"use_parallel_residual"`
}
