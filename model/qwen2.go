package model

// qwen2 is Qwen 1.5 to 2.5: biases on queries, keys and values, a sliding window in the upper layers if the file says so.
var qwen2 = Architecture{
	ModelType: "qwen2",
	Defaults: func() Config {
		window := 4096
		return Config{HiddenSize: 4096, IntermediateSize: 22016, NumHiddenLayers: 32, NumAttentionHeads: 32, NumKeyValueHeads: 32,
			VocabSize: 151936, MaxPositionEmbeddings: 32768, HiddenAct: "silu", NormEps: 1e-6, InitializerRange: 0.02, RopeTheta: 10000,
			SlidingWindow: &window, MaxWindowLayers: 28}
	},
	Spec: func(c *Config) Spec {
		s := llamaSpec(c)
		s.Block.Attention.InBias, s.Block.Attention.OutputBias = true, false
		s.Layer = func(i int, b *Block) { b.Attention.Window = c.qwenWindow(i) }
		return s
	},
}

// qwenWindow is the sliding window of a layer: of those that layer_types names, else of those from max_window_layers on.
func (c *Config) qwenWindow(layer int) int {
	if c.SlidingWindow == nil || c.UseSlidingWindow == nil || !*c.UseSlidingWindow {
		return 0
	}
	sliding := layer >= c.MaxWindowLayers
	if len(c.LayerTypes) > 0 {
		sliding = c.sliding(layer)
	}
	if !sliding {
		return 0
	}
	return *c.SlidingWindow
}
