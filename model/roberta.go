package model

import "github.com/graft-ml/graft/model/layer"

// roberta is BERT whose positions begin after the padding token's number, with heads of its own [liu2019].
var roberta = robertaKin("roberta", 50265)

// xlmRoberta is RoBERTa over a hundred languages [conneau2020].
var xlmRoberta = robertaKin("xlm-roberta", 30522)

func robertaKin(modelType string, vocab int) Architecture {
	return Architecture{
		ModelType: modelType,
		Aliases:   encoderAliases,
		Defaults: func() Config {
			return Config{HiddenSize: 768, IntermediateSize: 3072, NumHiddenLayers: 12, NumAttentionHeads: 12, VocabSize: vocab, MaxPositionEmbeddings: 512,
				TypeVocabSize: 2, HiddenAct: "gelu", NormEps: 1e-12, InitializerRange: 0.02, TieWordEmbeddings: true,
				Family: &bertFields{PositionType: "absolute", PadTokenID: 1}}
		},
		// The rows before the first position count in the file's max_position_embeddings.
		Complete: func(c *Config) { c.MaxPositionEmbeddings -= c.Family.(*bertFields).PadTokenID + 1 },
		Check: func(c *Config) []error {
			errs := checkBert(c)
			if pad := c.Family.(*bertFields).PadTokenID; pad < 0 || pad > limit {
				errs = append(errs, c.bad("pad_token_id", "is %d, want 0 to %d", pad, limit))
			}
			return errs
		},
		Spec: func(c *Config) Spec {
			s := bertSpec("roberta.")
			s.PositionOffset = c.Family.(*bertFields).PadTokenID + 1
			s.Heads = encoderHeads(
				Head{Steps: []Step{{Dense: "roberta.pooler.dense", Activation: "tanh"}}, Pool: layer.FirstRow},
				Head{Kind: SequenceLabels, Pool: layer.FirstRow, Steps: []Step{{Dense: "classifier.dense", Activation: "tanh"}}, Out: "classifier.out_proj",
					Bias: "classifier.out_proj.bias"},
				Head{Kind: MaskedToken, Steps: []Step{{Dense: "lm_head.dense", Activation: "gelu", Norm: "lm_head.layer_norm"}}, Out: "lm_head.decoder",
					Bias: "lm_head.bias", Tied: true})
			return s
		},
	}
}
