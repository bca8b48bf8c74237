package model

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// modernBERT is an encoder of today's parts: rotary positions, norms before the branches, gated MLPs, and a window in all
// layers but every third [warner2024].
var modernBERT = Architecture{
	ModelType: "modernbert",
	Aliases:   []Alias{{"hidden_act", "hidden_activation"}, {"rms_norm_eps", "norm_eps"}},
	Defaults: func() Config {
		return Config{HiddenSize: 768, IntermediateSize: 1152, NumHiddenLayers: 22, NumAttentionHeads: 12, VocabSize: 50368, MaxPositionEmbeddings: 8192,
			HiddenAct: "gelu", NormEps: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true,
			Family: &modernBERTFields{GlobalTheta: 160000, LocalTheta: 10000, Every: 3, Local: 128, DecoderBias: true, Pooling: "cls", Activation: "gelu"}}
	},
	Check: func(c *Config) (errs []error) {
		f := c.Family.(*modernBERTFields)
		if f.Every < 1 {
			errs = append(errs, c.bad("global_attn_every_n_layers", "is %d, want at least 1", f.Every))
		}
		if f.Local < 1 || f.Local > limit {
			errs = append(errs, c.bad("local_attention", "is %d, want 1 to %d", f.Local, limit))
		}
		if f.Pooling != "cls" && f.Pooling != "mean" {
			errs = append(errs, c.bad("classifier_pooling", "is %q, want \"cls\" or \"mean\"", f.Pooling))
		}
		if _, ok := activation(f.Activation); !ok {
			errs = append(errs, c.bad("classifier_activation", "is %q, which is none of hidden_act's", f.Activation))
		}
		return errs
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*modernBERTFields)
		return Spec{
			Prefix: "model.", Norm: Norm{Kind: op.Center, Bias: f.NormBias}, Embed: "embeddings.tok_embeddings", EmbedNorm: "embeddings.norm",
			Blocks: "layers", FinalNorm: "final_norm", Ropes: f.ropes(c),
			Block: Block{
				AttentionNorms: NormNames{Before: "attn_norm"},
				MLPNorms:       NormNames{Before: "mlp_norm"},
				Attention:      Attention{In: []string{"attn.Wqkv"}, InBias: c.AttentionBias, Output: "attn.Wo", OutputBias: c.AttentionBias, BothWays: true},
				MLP:            MLP{In: []string{"mlp.Wi"}, Gated: true, InBias: c.MLPBias, Down: "mlp.Wo", OutBias: c.MLPBias},
			},
			Layer: func(i int, b *Block) {
				if i == 0 {
					b.AttentionNorms.Before = "" // the embedding's norm has just been there
				}
				if len(c.LayerTypes) == 0 && i%f.Every != 0 || len(c.LayerTypes) > 0 && c.sliding(i) {
					b.Attention.Window, b.Attention.Rope = f.Local/2+1, 1 // half to each side, and the row itself
				}
			},
			Heads: f.heads(),
		}
	},
}

type modernBERTFields struct {
	GlobalTheta    float64 `json:"global_rope_theta"`
	LocalTheta     float64 `json:"local_rope_theta"`
	LocalBase      float64 `json:"rope_local_base_freq"` // the word of transformers 4.57
	Every          int     `json:"global_attn_every_n_layers"`
	Local          int     `json:"local_attention"`
	NormBias       bool    `json:"norm_bias"`
	DecoderBias    bool    `json:"decoder_bias"`
	Pooling        string  `json:"classifier_pooling"`
	ClassifierBias bool    `json:"classifier_bias"`
	Activation     string  `json:"classifier_activation"`
}

// ropes are the rotary positions of layers without and with a window.
func (f *modernBERTFields) ropes(c *Config) []Rope {
	full, sliding := c.ropeParameters("full_attention"), c.ropeParameters("sliding_attention")
	if c.RopeParameters == nil || c.RopeParameters.Full == nil {
		full.RopeTheta = or(c.RopeTheta, f.GlobalTheta)
	}
	if c.RopeParameters == nil || c.RopeParameters.Sliding == nil {
		sliding = RopeParameters{RopeType: "default", RopeTheta: or(f.LocalBase, f.LocalTheta)}
	}
	return []Rope{{RopeParameters: full, Dim: c.HeadDim}, {RopeParameters: sliding, Dim: c.HeadDim}}
}

func (f *modernBERTFields) heads() []Head {
	steps := []Step{{Dense: "head.dense", NoBias: !f.ClassifierBias, Activation: f.Activation, Norm: "head.norm"}}
	pool := layer.FirstRow
	if f.Pooling == "mean" {
		pool = layer.MeanRow
	}
	words := Head{Kind: MaskedToken, Steps: steps, Out: "decoder", Tied: true}
	if f.DecoderBias {
		words.Bias = "decoder.bias"
	}
	labels := Head{Kind: SequenceLabels, Pool: pool, Steps: steps, Out: "classifier", Bias: "classifier.bias"}
	tokens, answers := labels, labels // the projection has one name in all of them
	tokens.Kind, tokens.Pool = TokenLabels, layer.AllRows
	answers.Kind, answers.Pool = AnswerSpan, layer.AllRows
	return []Head{{}, words, labels, tokens, answers}
}
