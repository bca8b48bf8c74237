package model

// gemma3Text is the language model of Gemma 3: Gemma 2 with normed queries and keys, and rotary positions of their own in
// the layers that have a window [gemma2025].
var gemma3Text = Architecture{
	ModelType: "gemma3_text",
	Aliases:   []Alias{{"hidden_act", "hidden_activation"}},
	Defaults: func() Config {
		window := 4096
		return Config{HiddenSize: 2304, IntermediateSize: 9216, NumHiddenLayers: 26, NumAttentionHeads: 8, NumKeyValueHeads: 4, HeadDim: 256,
			VocabSize: 262208, MaxPositionEmbeddings: 131072, HiddenAct: "gelu_pytorch_tanh", NormEps: 1e-6, InitializerRange: 0.02, RopeTheta: 1000000,
			TieWordEmbeddings: true, SlidingWindow: &window, Family: &gemma2Fields{QueryScalar: 256, RopeLocalBaseFreq: 10000, WindowPattern: 6}}
	},
	Check: func(c *Config) []error {
		errs := checkGemma2(c)
		if f := c.Family.(*gemma2Fields); f.WindowPattern < 1 {
			errs = append(errs, c.bad("sliding_window_pattern", "is %d, want at least 1", f.WindowPattern))
		}
		return errs
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*gemma2Fields)
		s := gemma2Spec(c)
		s.Block.Attention.QueryNorm, s.Block.Attention.KeyNorm = "self_attn.q_norm", "self_attn.k_norm"
		s.Ropes = []Rope{{RopeParameters: c.ropeParameters("full_attention"), Dim: c.HeadDim}, {RopeParameters: f.local(c), Dim: c.HeadDim}}
		s.Layer = func(i int, b *Block) {
			if len(c.LayerTypes) == 0 && (i+1)%f.WindowPattern != 0 || len(c.LayerTypes) > 0 && c.sliding(i) {
				b.Attention.Window, b.Attention.Rope = c.window(), 1
			}
		}
		return s
	},
}

// local is the rope of layers with a window, which transformers 4 never scaled.
func (f *gemma2Fields) local(c *Config) RopeParameters {
	if c.RopeParameters != nil && c.RopeParameters.Sliding != nil {
		return c.ropeParameters("sliding_attention")
	}
	return RopeParameters{RopeType: "default", RopeTheta: f.RopeLocalBaseFreq}
}
