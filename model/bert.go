package model

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// bert is an encoder: attention both ways, learned positions and token types, norms after the branches [devlin2019].
var bert = Architecture{
	ModelType: "bert",
	Aliases:   encoderAliases,
	Defaults: func() Config {
		return Config{HiddenSize: 768, IntermediateSize: 3072, NumHiddenLayers: 12, NumAttentionHeads: 12, VocabSize: 30522, MaxPositionEmbeddings: 512,
			TypeVocabSize: 2, HiddenAct: "gelu", NormEps: 1e-12, InitializerRange: 0.02, TieWordEmbeddings: true, Family: &bertFields{PositionType: "absolute"}}
	},
	Check: checkBert,
	Spec: func(c *Config) Spec {
		s := bertSpec("bert.")
		s.Others = []string{"cls.seq_relationship"}
		pooler := Step{Dense: "bert.pooler.dense", Activation: "tanh"}
		s.Heads = encoderHeads(
			Head{Steps: []Step{pooler}, Pool: layer.FirstRow},
			Head{Kind: SequenceLabels, Pool: layer.FirstRow, Steps: []Step{pooler}, Out: "classifier", Bias: "classifier.bias"},
			Head{Kind: MaskedToken, Steps: []Step{{Dense: "cls.predictions.transform.dense", Activation: c.HiddenAct, Norm: "cls.predictions.transform.LayerNorm"}},
				Out: "cls.predictions.decoder", Bias: "cls.predictions.bias", Tied: true})
		return s
	},
}

// encoderAliases are BERT's words.
var encoderAliases = []Alias{{"rms_norm_eps", "layer_norm_eps"}}

// bertFields are what BERT's config.json may have that graft does not follow.
type bertFields struct {
	PositionType string `json:"position_embedding_type"`
	IsDecoder    bool   `json:"is_decoder"`
	PadTokenID   int    `json:"pad_token_id"`
}

func checkBert(c *Config) (errs []error) {
	f := c.Family.(*bertFields)
	if f.PositionType != "absolute" {
		errs = append(errs, c.bad("position_embedding_type", "is %q, want \"absolute\"", f.PositionType))
	}
	if f.IsDecoder {
		errs = append(errs, c.bad("is_decoder", "is true, want false: graft has %s as an encoder", c.ModelType))
	}
	if c.TypeVocabSize < 1 {
		errs = append(errs, c.bad("type_vocab_size", "is %d, want at least 1", c.TypeVocabSize))
	}
	return errs
}

// bertSpec is the layout of BERT and of all that name their parts as it does, without heads.
func bertSpec(prefix string) Spec {
	return Spec{
		Prefix: prefix, Norm: Norm{Kind: op.Center, Bias: true},
		Embed: "embeddings.word_embeddings", Positions: "embeddings.position_embeddings", Types: "embeddings.token_type_embeddings",
		EmbedNorm: "embeddings.LayerNorm", Blocks: "encoder.layer", Buffers: []string{"embeddings.position_ids", "embeddings.token_type_ids"},
		Block: Block{
			AttentionNorms: NormNames{After: "attention.output.LayerNorm"},
			MLPNorms:       NormNames{After: "output.LayerNorm"},
			Attention: Attention{In: []string{"attention.self.query", "attention.self.key", "attention.self.value"}, InBias: true,
				Output: "attention.output.dense", OutputBias: true, BothWays: true},
			MLP: MLP{In: []string{"intermediate.dense"}, InBias: true, Down: "output.dense", OutBias: true},
		},
	}
}
