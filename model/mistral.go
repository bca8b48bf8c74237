package model

// mistral is LLaMA with a sliding window in every layer [jiang2023].
var mistral = Architecture{
	ModelType: "mistral",
	Defaults: func() Config {
		window := 4096
		return Config{HiddenSize: 4096, IntermediateSize: 14336, NumHiddenLayers: 32, NumAttentionHeads: 32, NumKeyValueHeads: 8,
			VocabSize: 32000, MaxPositionEmbeddings: 131072, HiddenAct: "silu", NormEps: 1e-6, InitializerRange: 0.02, RopeTheta: 10000,
			SlidingWindow: &window}
	},
	Spec: func(c *Config) Spec {
		s := llamaSpec(c)
		s.Block.Attention.Window = c.window()
		return s
	},
}
