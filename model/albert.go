package model

import (
	"fmt"

	"github.com/graft-ml/graft/model/layer"
)

// albert is BERT whose layers share their weights, by groups, and whose embeddings are narrower [lan2020].
var albert = Architecture{
	ModelType: "albert",
	Aliases:   encoderAliases,
	Defaults: func() Config {
		return Config{EmbeddingSize: 128, HiddenSize: 4096, IntermediateSize: 16384, NumHiddenLayers: 12, NumAttentionHeads: 64, VocabSize: 30000,
			MaxPositionEmbeddings: 512, TypeVocabSize: 2, HiddenAct: "gelu_new", NormEps: 1e-12, InitializerRange: 0.02, TieWordEmbeddings: true,
			Family: &albertFields{bertFields: bertFields{PositionType: "absolute"}, Groups: 1, Inner: 1}}
	},
	Check: func(c *Config) (errs []error) {
		f := c.Family.(*albertFields)
		if f.Groups < 1 || f.Groups > c.NumHiddenLayers {
			errs = append(errs, c.bad("num_hidden_groups", "is %d, want 1 to num_hidden_layers %d", f.Groups, c.NumHiddenLayers))
		}
		if f.Inner < 1 || f.Inner > headLimit {
			errs = append(errs, c.bad("inner_group_num", "is %d, want 1 to %d", f.Inner, headLimit))
		}
		if f.PositionType != "absolute" {
			errs = append(errs, c.bad("position_embedding_type", "is %q, want \"absolute\"", f.PositionType))
		}
		if c.TypeVocabSize < 1 || c.EmbeddingSize < 1 {
			errs = append(errs, c.bad("type_vocab_size", "is %d and embedding_size %d, want at least 1", c.TypeVocabSize, c.EmbeddingSize))
		}
		return errs
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*albertFields)
		s := bertSpec("albert.")
		s.EmbedDim, s.Widen = c.EmbeddingSize, "encoder.embedding_hidden_mapping_in"
		s.Count = c.NumHiddenLayers * f.Inner
		s.Shared = func(i int) string {
			group := i / f.Inner * f.Groups / c.NumHiddenLayers
			return fmt.Sprintf("encoder.albert_layer_groups.%d.albert_layers.%d", group, i%f.Inner)
		}
		s.Block.AttentionNorms, s.Block.MLPNorms = NormNames{After: "attention.LayerNorm"}, NormNames{After: "full_layer_layer_norm"}
		s.Block.Attention.In = []string{"attention.query", "attention.key", "attention.value"}
		s.Block.Attention.Output = "attention.dense"
		s.Block.MLP.In, s.Block.MLP.Down = []string{"ffn"}, "ffn_output"
		s.Others = []string{"sop_classifier"}
		pooler := Step{Dense: "albert.pooler", Activation: "tanh"}
		s.Heads = encoderHeads(
			Head{Steps: []Step{pooler}, Pool: layer.FirstRow},
			Head{Kind: SequenceLabels, Pool: layer.FirstRow, Steps: []Step{pooler}, Out: "classifier", Bias: "classifier.bias"},
			Head{Kind: MaskedToken, Steps: []Step{{Dense: "predictions.dense", Width: c.EmbeddingSize, Activation: c.HiddenAct, Norm: "predictions.LayerNorm"}},
				Out: "predictions.decoder", Bias: "predictions.bias", Tied: true})
		return s
	},
}

type albertFields struct {
	bertFields
	Groups int `json:"num_hidden_groups"`
	Inner  int `json:"inner_group_num"` // layers of a group
}
