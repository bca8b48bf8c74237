package model

import "github.com/graft-ml/graft/internal/op"

// stablelm is StableLM 2 and StableLM-3B: LLaMA with LayerNorm and heads that turn in part.
var stablelm = Architecture{
	ModelType: "stablelm",
	Aliases:   []Alias{{"rms_norm_eps", "layer_norm_eps"}},
	Defaults: func() Config {
		return Config{HiddenSize: 2560, IntermediateSize: 6912, NumHiddenLayers: 32, NumAttentionHeads: 32, NumKeyValueHeads: 32,
			VocabSize: 50304, MaxPositionEmbeddings: 4096, HiddenAct: "silu", NormEps: 1e-5, InitializerRange: 0.02, RopeTheta: 10000,
			PartialRotaryFactor: 0.25, Family: &stablelmFields{}}
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*stablelmFields)
		s := llamaSpec(c)
		s.Norm = Norm{Kind: op.Center, Bias: true}
		s.Ropes = []Rope{c.rotary(c.partialRotary())}
		s.Block.Attention.InBias, s.Block.Attention.OutputBias = f.UseQKVBias, false
		if f.QKLayerNorm {
			s.Block.Attention.QueryNorm, s.Block.Attention.KeyNorm = "self_attn.q_layernorm.norms.%d", "self_attn.k_layernorm.norms.%d"
			s.Block.Attention.NormShape = EachHead
		}
		if f.UseParallelResidual {
			s.Block.Parallel, s.Block.MLPNorms.Before = true, ""
		}
		return s
	},
}

type stablelmFields struct {
	UseQKVBias          bool `json:"use_qkv_bias"`
	QKLayerNorm         bool `json:"qk_layernorm"`
	UseParallelResidual bool `json:"use_parallel_residual"`
}
