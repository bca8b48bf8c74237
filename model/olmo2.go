package model

// olmo2 norms what the branches add instead of what they read, and all queries and all keys at once [olmo2024].
var olmo2 = Architecture{
	ModelType: "olmo2",
	Defaults: func() Config {
		return Config{HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32, NumAttentionHeads: 32, VocabSize: 50304,
			MaxPositionEmbeddings: 2048, HiddenAct: "silu", NormEps: 1e-5, InitializerRange: 0.02, RopeTheta: 10000}
	},
	Spec: func(c *Config) Spec {
		s := llamaSpec(c)
		s.Block.AttentionNorms = NormNames{Branch: "post_attention_layernorm"}
		s.Block.MLPNorms = NormNames{Branch: "post_feedforward_layernorm"}
		s.Block.Attention.QueryNorm, s.Block.Attention.KeyNorm = "self_attn.q_norm", "self_attn.k_norm"
		s.Block.Attention.NormShape = AllHeads
		return s
	},
}
