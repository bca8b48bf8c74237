package model

import (
	"math"

	"github.com/graft-ml/graft/internal/op"
)

// gpt2 has learned positions, LayerNorm, a plain MLP and weights stored [in, out] [radford2019].
var gpt2 = Architecture{
	ModelType: "gpt2",
	Aliases:   gptAliases,
	Defaults: func() Config {
		return Config{HiddenSize: 768, NumHiddenLayers: 12, NumAttentionHeads: 12, VocabSize: 50257, MaxPositionEmbeddings: 1024,
			HiddenAct: "gelu_new", NormEps: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true, Family: &gpt2Fields{ScaleAttnWeights: true}}
	},
	Complete: fourfold,
	Spec: func(c *Config) Spec {
		f := c.Family.(*gpt2Fields)
		scale := 1.0
		if f.ScaleAttnWeights {
			scale = 1 / math.Sqrt(float64(c.HeadDim))
		}
		return Spec{
			Prefix: "transformer.", Norm: Norm{Kind: op.Center, Bias: true}, Embed: "wte", Positions: "wpe", Blocks: "h", FinalNorm: "ln_f", Head: "lm_head",
			Buffers: []string{".attn.bias", ".attn.masked_bias"},
			Block: Block{
				Conv1D:         true,
				AttentionNorms: NormNames{Before: "ln_1"},
				MLPNorms:       NormNames{Before: "ln_2"},
				Attention:      Attention{In: []string{"attn.c_attn"}, InBias: true, Output: "attn.c_proj", OutputBias: true, Scale: scale},
				MLP:            MLP{In: []string{"mlp.c_fc"}, InBias: true, Down: "mlp.c_proj", OutBias: true},
			},
			Layer: func(i int, b *Block) {
				if f.ScaleAttnByInverseLayerIdx {
					b.Attention.Scale = scale / float64(i+1)
				}
			},
		}
	},
}

type gpt2Fields struct {
	ScaleAttnWeights           bool `json:"scale_attn_weights"`
	ScaleAttnByInverseLayerIdx bool `json:"scale_attn_by_inverse_layer_idx"`
}

// fourfold is the width of the MLP where the file gives none.
func fourfold(c *Config) {
	if c.IntermediateSize == 0 {
		c.IntermediateSize = 4 * c.HiddenSize
	}
}

// gptAliases are the words of GPT-2 and GPT-J.
var gptAliases = []Alias{{"hidden_size", "n_embd"}, {"num_hidden_layers", "n_layer"}, {"num_attention_heads", "n_head"}, {"intermediate_size", "n_inner"},
	{"max_position_embeddings", "n_positions"}, {"hidden_act", "activation_function"}, {"rms_norm_eps", "layer_norm_epsilon"}}
