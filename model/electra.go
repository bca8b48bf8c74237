package model

import "github.com/graft-ml/graft/model/layer"

// electra is BERT with embeddings of a width of their own; its small generator is a masked language model [clark2020].
var electra = Architecture{
	ModelType: "electra",
	Aliases:   encoderAliases,
	Defaults: func() Config {
		return Config{EmbeddingSize: 128, HiddenSize: 256, IntermediateSize: 1024, NumHiddenLayers: 12, NumAttentionHeads: 4, VocabSize: 30522,
			MaxPositionEmbeddings: 512, TypeVocabSize: 2, HiddenAct: "gelu", NormEps: 1e-12, InitializerRange: 0.02, TieWordEmbeddings: true,
			Family: &bertFields{PositionType: "absolute"}}
	},
	Check: checkBert,
	Spec: func(c *Config) Spec {
		s := bertSpec("electra.")
		s.EmbedDim = c.EmbeddingSize
		if s.EmbedDim != 0 && s.EmbedDim != c.HiddenSize {
			s.Widen = "embeddings_project"
		}
		s.Others = []string{"discriminator_predictions"}
		s.Heads = encoderHeads(
			Head{},
			Head{Kind: SequenceLabels, Pool: layer.FirstRow, Steps: []Step{{Dense: "classifier.dense", Activation: "gelu"}}, Out: "classifier.out_proj",
				Bias: "classifier.out_proj.bias"},
			Head{Kind: MaskedToken, Steps: []Step{{Dense: "generator_predictions.dense", Width: c.EmbeddingSize, Activation: "gelu", Norm: "generator_predictions.LayerNorm"}},
				Out: "generator_lm_head", Bias: "generator_lm_head.bias", Tied: true})
		return s
	},
}
