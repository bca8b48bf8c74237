package model

// smollm3 is LLaMA with no positions at all in every fourth layer [yang2025b].
var smollm3 = Architecture{
	ModelType: "smollm3",
	Defaults: func() Config {
		return Config{HiddenSize: 2048, IntermediateSize: 11008, NumHiddenLayers: 36, NumAttentionHeads: 16, NumKeyValueHeads: 4,
			VocabSize: 128256, MaxPositionEmbeddings: 32768, HiddenAct: "silu", NormEps: 1e-6, InitializerRange: 0.02, RopeTheta: 2000000,
			TieWordEmbeddings: true, Family: &smollm3Fields{Interval: 4}}
	},
	Check: func(c *Config) (errs []error) {
		f := c.Family.(*smollm3Fields)
		if f.Layers != nil && len(f.Layers) != c.NumHiddenLayers {
			errs = append(errs, c.bad("no_rope_layers", "has %d entries, num_hidden_layers is %d", len(f.Layers), c.NumHiddenLayers))
		}
		if f.Interval < 1 {
			errs = append(errs, c.bad("no_rope_layer_interval", "is %d, want at least 1", f.Interval))
		}
		return errs
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*smollm3Fields)
		s := llamaSpec(c)
		s.Layer = func(i int, b *Block) {
			b.Attention.NoRope = (i+1)%f.Interval == 0
			if f.Layers != nil {
				b.Attention.NoRope = f.Layers[i] == 0
			}
			if len(c.LayerTypes) > 0 && c.sliding(i) {
				b.Attention.Window = c.window()
			}
		}
		return s
	},
}

type smollm3Fields struct {
	Layers   []int `json:"no_rope_layers"` // 1 = the layer has rotary positions, whatever the name says
	Interval int   `json:"no_rope_layer_interval"`
}
