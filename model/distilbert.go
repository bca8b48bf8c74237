package model

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// distilBERT is BERT with half of the layers, without token types and pooler [sanh2019].
var distilBERT = Architecture{
	ModelType: "distilbert",
	Aliases: []Alias{{"hidden_size", "dim"}, {"intermediate_size", "hidden_dim"}, {"num_hidden_layers", "n_layers"}, {"num_attention_heads", "n_heads"},
		{"hidden_act", "activation"}},
	Defaults: func() Config {
		return Config{HiddenSize: 768, IntermediateSize: 3072, NumHiddenLayers: 6, NumAttentionHeads: 12, VocabSize: 30522, MaxPositionEmbeddings: 512,
			HiddenAct: "gelu", NormEps: 1e-12, InitializerRange: 0.02, TieWordEmbeddings: true}
	},
	Spec: func(c *Config) Spec {
		return Spec{
			Prefix: "distilbert.", Norm: Norm{Kind: op.Center, Bias: true}, Embed: "embeddings.word_embeddings", Positions: "embeddings.position_embeddings",
			EmbedNorm: "embeddings.LayerNorm", Blocks: "transformer.layer", Buffers: []string{"embeddings.position_ids"},
			Block: Block{
				AttentionNorms: NormNames{After: "sa_layer_norm"},
				MLPNorms:       NormNames{After: "output_layer_norm"},
				Attention: Attention{In: []string{"attention.q_lin", "attention.k_lin", "attention.v_lin"}, InBias: true, Output: "attention.out_lin",
					OutputBias: true, BothWays: true},
				MLP: MLP{In: []string{"ffn.lin1"}, InBias: true, Down: "ffn.lin2", OutBias: true},
			},
			Heads: encoderHeads(
				Head{},
				Head{Kind: SequenceLabels, Pool: layer.FirstRow, Steps: []Step{{Dense: "pre_classifier", Activation: "relu"}}, Out: "classifier", Bias: "classifier.bias"},
				Head{Kind: MaskedToken, Steps: []Step{{Dense: "vocab_transform", Activation: c.HiddenAct, Norm: "vocab_layer_norm"}}, Out: "vocab_projector",
					Bias: "vocab_projector.bias", Tied: true}),
		}
	},
}
