package model

// llama is the LLaMA family: LLaMA 1 to 3, TinyLlama and everything else whose config.json says so [touvron2023].
var llama = Architecture{
	ModelType: "llama",
	Defaults: func() Config {
		return Config{HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32, NumAttentionHeads: 32, VocabSize: 32000,
			MaxPositionEmbeddings: 2048, HiddenAct: "silu", NormEps: 1e-6, InitializerRange: 0.02, RopeTheta: 10000}
	},
	Spec: llamaSpec,
}
