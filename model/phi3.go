package model

// phi3 is Phi-3 and Phi-4-mini: LLaMA with queries, keys and values in one projection, gate and up in another [abdin2024].
var phi3 = Architecture{
	ModelType: "phi3",
	Defaults: func() Config {
		return Config{HiddenSize: 3072, IntermediateSize: 8192, NumHiddenLayers: 32, NumAttentionHeads: 32, VocabSize: 32064,
			MaxPositionEmbeddings: 4096, HiddenAct: "silu", NormEps: 1e-5, InitializerRange: 0.02, RopeTheta: 10000, PartialRotaryFactor: 1,
			Family: &phi3Fields{OriginalMaxPositionEmbeddings: 4096}}
	},
	Spec: func(c *Config) Spec {
		s := llamaSpec(c)
		s.Block.Attention.In, s.Block.Attention.Window = []string{"self_attn.qkv_proj"}, c.window()
		s.Block.MLP.In = []string{"mlp.gate_up_proj"}
		r := c.rotary(c.partialRotary())
		if r.OriginalMaxPositionEmbeddings == 0 {
			r.OriginalMaxPositionEmbeddings = c.Family.(*phi3Fields).OriginalMaxPositionEmbeddings
		}
		s.Ropes = []Rope{r}
		return s
	},
}

type phi3Fields struct {
	OriginalMaxPositionEmbeddings int `json:"original_max_position_embeddings"`
}
