package model

// granite is LLaMA with four factors: of the embeddings, the scores, the branches and the logits.
var granite = Architecture{
	ModelType: "granite",
	Defaults: func() Config {
		return Config{HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32, NumAttentionHeads: 32, VocabSize: 32000,
			MaxPositionEmbeddings: 2048, HiddenAct: "silu", NormEps: 1e-6, InitializerRange: 0.02, RopeTheta: 10000,
			Family: &graniteFields{Embedding: 1, Attention: 1, Residual: 1, Logits: 1}}
	},
	Check: func(c *Config) (errs []error) {
		f := c.Family.(*graniteFields)
		for _, x := range []struct {
			key   string
			value float64
		}{{"embedding_multiplier", f.Embedding}, {"attention_multiplier", f.Attention}, {"residual_multiplier", f.Residual}, {"logits_scaling", f.Logits}} {
			if !(x.value > 0) {
				errs = append(errs, c.bad(x.key, "is %g, want above 0", x.value))
			}
		}
		return errs
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*graniteFields)
		s := llamaSpec(c)
		s.ScaleRows = true
		s.EmbedScale, s.Block.Attention.Scale, s.Block.Scale, s.LogitsScale = f.Embedding, f.Attention, f.Residual, 1/f.Logits
		return s
	},
}

type graniteFields struct {
	Embedding float64 `json:"embedding_multiplier"`
	Attention float64 `json:"attention_multiplier"`
	Residual  float64 `json:"residual_multiplier"`
	Logits    float64 `json:"logits_scaling"`
}
