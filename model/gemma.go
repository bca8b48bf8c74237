package model

import "math"

// gemma is LLaMA with embeddings scaled by √hidden_size and norms that scale by 1 + w [gemma2024].
var gemma = Architecture{
	ModelType: "gemma",
	Defaults: func() Config {
		return Config{HiddenSize: 3072, IntermediateSize: 24576, NumHiddenLayers: 28, NumAttentionHeads: 16, NumKeyValueHeads: 16, HeadDim: 256,
			VocabSize: 256000, MaxPositionEmbeddings: 8192, HiddenAct: "gelu_pytorch_tanh", NormEps: 1e-6, InitializerRange: 0.02, RopeTheta: 10000,
			TieWordEmbeddings: true}
	},
	Aliases: []Alias{{"hidden_act", "hidden_activation"}},
	Complete: func(c *Config) {
		if c.HiddenAct == "gelu" { // the first files say so, but the models were trained with the tanh form
			c.HiddenAct = "gelu_pytorch_tanh"
		}
	},
	Spec: gemmaSpec,
}

// gemmaSpec is what all Gemmas have in common.
func gemmaSpec(c *Config) Spec {
	s := llamaSpec(c)
	s.Norm.Plus = 1
	s.EmbedScale = math.Sqrt(float64(c.HiddenSize))
	return s
}
