package model

// qwen3 norms queries and keys head by head and has no biases unless the file says so [yang2025].
var qwen3 = Architecture{
	ModelType: "qwen3",
	Defaults: func() Config {
		window := 4096
		return Config{HiddenSize: 4096, IntermediateSize: 22016, NumHiddenLayers: 32, NumAttentionHeads: 32, NumKeyValueHeads: 32,
			HeadDim: 128, VocabSize: 151936, MaxPositionEmbeddings: 32768, HiddenAct: "silu", NormEps: 1e-6, InitializerRange: 0.02,
			RopeTheta: 10000, SlidingWindow: &window, MaxWindowLayers: 28}
	},
	Spec: func(c *Config) Spec {
		s := llamaSpec(c)
		s.Block.Attention.QueryNorm, s.Block.Attention.KeyNorm = "self_attn.q_norm", "self_attn.k_norm"
		s.Layer = func(i int, b *Block) { b.Attention.Window = c.qwenWindow(i) }
		return s
	},
}
