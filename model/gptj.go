package model

import "github.com/graft-ml/graft/internal/op"

// gptj runs attention and MLP side by side on one norm, and turns neighbouring numbers of a head [wang2021].
var gptj = Architecture{
	ModelType: "gptj",
	Aliases:   gptAliases,
	Defaults: func() Config {
		return Config{HiddenSize: 4096, NumHiddenLayers: 28, NumAttentionHeads: 16, VocabSize: 50400, MaxPositionEmbeddings: 2048,
			HiddenAct: "gelu_new", NormEps: 1e-5, InitializerRange: 0.02, RopeTheta: 10000, Family: &gptjFields{RotaryDim: 64}}
	},
	Complete: fourfold,
	Spec: func(c *Config) Spec {
		r := c.rotary(c.Family.(*gptjFields).RotaryDim)
		r.Interleaved = true
		return Spec{
			Prefix: "transformer.", Norm: Norm{Kind: op.Center, Bias: true}, Embed: "wte", Blocks: "h", FinalNorm: "ln_f", Head: "lm_head", HeadBias: true,
			Ropes:   []Rope{r},
			Buffers: []string{".attn.bias", ".attn.masked_bias", ".attn.embed_positions"},
			Block: Block{
				Parallel:       true,
				AttentionNorms: NormNames{Before: "ln_1"},
				Attention:      Attention{In: []string{"attn.q_proj", "attn.k_proj", "attn.v_proj"}, Output: "attn.out_proj"},
				MLP:            MLP{In: []string{"mlp.fc_in"}, InBias: true, Down: "mlp.fc_out", OutBias: true},
			},
		}
	},
}

type gptjFields struct {
	RotaryDim int `json:"rotary_dim"`
}
