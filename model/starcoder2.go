package model

import "github.com/graft-ml/graft/internal/op"

// starcoder2 has LLaMA's attention with LayerNorm, biases everywhere and a plain MLP [lozhkov2024].
var starcoder2 = Architecture{
	ModelType: "starcoder2",
	Aliases:   []Alias{{"rms_norm_eps", "norm_epsilon"}},
	Defaults: func() Config {
		return Config{HiddenSize: 3072, IntermediateSize: 12288, NumHiddenLayers: 30, NumAttentionHeads: 24, NumKeyValueHeads: 2,
			VocabSize: 49152, MaxPositionEmbeddings: 4096, HiddenAct: "gelu_pytorch_tanh", NormEps: 1e-5, InitializerRange: 0.018042,
			RopeTheta: 10000, TieWordEmbeddings: true, Family: &starcoder2Fields{UseBias: true}}
	},
	Spec: func(c *Config) Spec {
		bias := c.Family.(*starcoder2Fields).UseBias
		s := llamaSpec(c)
		s.Norm = Norm{Kind: op.Center, Bias: true}
		s.Block.Attention.InBias, s.Block.Attention.OutputBias, s.Block.Attention.Window = bias, bias, c.window()
		s.Block.MLP = MLP{In: []string{"mlp.c_fc"}, InBias: bias, Down: "mlp.c_proj", OutBias: bias}
		return s
	},
}

type starcoder2Fields struct {
	UseBias bool `json:"use_bias"`
}
