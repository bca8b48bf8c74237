package model

import (
	"math"
	"slices"

	"github.com/graft-ml/graft/model/layer"
)

// debertaV2 is DeBERTa 2 and 3: BERT whose attention knows distances rather than places [he2021].
var debertaV2 = Architecture{
	ModelType: "deberta-v2",
	Aliases:   encoderAliases,
	Defaults: func() Config {
		return Config{HiddenSize: 1536, IntermediateSize: 6144, NumHiddenLayers: 24, NumAttentionHeads: 24, VocabSize: 128100, MaxPositionEmbeddings: 512,
			HiddenAct: "gelu", NormEps: 1e-7, InitializerRange: 0.02, TieWordEmbeddings: true,
			Family: &debertaFields{MaxRelative: -1, Buckets: -1, PositionBiased: true, PoolerAct: "gelu", ConvGroups: 1, ConvAct: "tanh", Legacy: true}}
	},
	Check: checkDeberta,
	Spec: func(c *Config) Spec {
		f := c.Family.(*debertaFields)
		s := bertSpec("deberta.")
		if !f.PositionBiased {
			s.Positions = ""
		}
		if c.TypeVocabSize == 0 {
			s.Types = ""
		}
		s.Block.Attention.In = []string{"attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"}
		s.Block.Attention.Relative = f.relative(c)
		if f.ConvKernel > 0 {
			s.Conv = &Conv{Weight: "encoder.conv.conv", Kernel: f.ConvKernel, Activation: f.ConvAct, Norm: "encoder.conv.LayerNorm"}
		}
		s.Others = []string{"lm_predictions", "mask_predictions"}
		words := Head{Kind: MaskedToken, Steps: []Step{{Dense: "cls.predictions.transform.dense", Activation: c.HiddenAct, Norm: "cls.predictions.transform.LayerNorm"}},
			Out: "cls.predictions.decoder", Bias: "cls.predictions.bias", Tied: true}
		if !f.Legacy {
			words = Head{Kind: MaskedToken, Steps: []Step{{Dense: "lm_predictions.lm_head.dense", Activation: c.HiddenAct, Norm: "lm_predictions.lm_head.LayerNorm"}},
				Out: "lm_predictions.lm_head.decoder", Bias: "lm_predictions.lm_head.bias", Tied: true}
		}
		s.Heads = encoderHeads(
			Head{},
			Head{Kind: SequenceLabels, Pool: layer.FirstRow, Steps: []Step{{Dense: "pooler.dense", Activation: f.PoolerAct}}, Out: "classifier", Bias: "classifier.bias"},
			words)
		return s
	},
}

type debertaFields struct {
	RelativeAttention bool     `json:"relative_attention"`
	MaxRelative       int      `json:"max_relative_positions"` // below 1 = max_position_embeddings
	Buckets           int      `json:"position_buckets"`       // below 1 = a row for each distance
	PosAttType        []string `json:"pos_att_type"`
	ShareKey          bool     `json:"share_att_key"`
	NormRelative      string   `json:"norm_rel_ebd"`
	PositionBiased    bool     `json:"position_biased_input"`
	PoolerAct         string   `json:"pooler_hidden_act"`
	PoolerSize        int      `json:"pooler_hidden_size"`
	ConvKernel        int      `json:"conv_kernel_size"` // 0 = no convolution
	ConvGroups        int      `json:"conv_groups"`
	ConvAct           string   `json:"conv_act"`
	Legacy            bool     `json:"legacy"`
}

func checkDeberta(c *Config) (errs []error) {
	f := c.Family.(*debertaFields)
	if f.ConvKernel < 0 || f.ConvKernel > headLimit || f.ConvKernel > 0 && f.ConvKernel%2 == 0 {
		errs = append(errs, c.bad("conv_kernel_size", "is %d, want 0 or an odd number", f.ConvKernel))
	}
	if f.ConvGroups != 1 {
		errs = append(errs, c.bad("conv_groups", "is %d, want 1", f.ConvGroups))
	}
	if _, ok := activation(f.ConvAct); !ok {
		errs = append(errs, c.bad("conv_act", "is %q, which is none of hidden_act's", f.ConvAct))
	}
	if c.EmbeddingSize != 0 && c.EmbeddingSize != c.HiddenSize {
		errs = append(errs, c.bad("embedding_size", "is %d, want hidden_size %d", c.EmbeddingSize, c.HiddenSize))
	}
	if f.PoolerSize != 0 && f.PoolerSize != c.HiddenSize {
		errs = append(errs, c.bad("pooler_hidden_size", "is %d, want hidden_size %d", f.PoolerSize, c.HiddenSize))
	}
	if _, ok := activation(f.PoolerAct); !ok {
		errs = append(errs, c.bad("pooler_hidden_act", "is %q, which is none of hidden_act's", f.PoolerAct))
	}
	for i, t := range f.PosAttType {
		if t != "c2p" && t != "p2c" {
			errs = append(errs, c.bad("pos_att_type", "has %q at %d, want c2p or p2c", t, i))
		}
	}
	most := f.maxRelative(c)
	if f.Buckets > limit || f.Buckets > 0 && (f.Buckets < 2 || most-1 <= f.Buckets/2) {
		errs = append(errs, c.bad("position_buckets", "is %d, want at least 2 and fewer than twice the %d relative positions, or -1", f.Buckets, most))
	}
	if most > limit {
		errs = append(errs, c.bad("max_relative_positions", "is %d, want at most %d", most, limit))
	}
	return errs
}

func (f *debertaFields) maxRelative(c *Config) int {
	if f.MaxRelative < 1 {
		return c.MaxPositionEmbeddings
	}
	return f.MaxRelative
}

// relative describes the terms of distance, nil without any.
func (f *debertaFields) relative(c *Config) *Relative {
	keys, queries := slices.Contains(f.PosAttType, "c2p"), slices.Contains(f.PosAttType, "p2c")
	if !f.RelativeAttention || !keys && !queries {
		return nil
	}
	r := &Relative{Table: "encoder.rel_embeddings", Span: f.maxRelative(c), Terms: 1}
	if f.NormRelative == "layer_norm" {
		r.Norm = "encoder.LayerNorm"
	}
	if keys {
		r.Keys = "attention.self.pos_key_proj"
		r.Terms++
	}
	if queries {
		r.Queries = "attention.self.pos_query_proj"
		r.Terms++
	}
	r.Shared = f.ShareKey
	bucket := func(d int) int { return d }
	if f.Buckets > 0 {
		mid, most := f.Buckets/2, f.maxRelative(c)
		r.Span, bucket = f.Buckets, func(d int) int { return logBucket(d, mid, most) }
	}
	r.Row = func(d int) int { return min(max(bucket(d)+r.Span, 0), 2*r.Span-1) }
	return r
}

// logBucket is a distance up to mid, and beyond that one of mid buckets that grow with it. It rounds as transformers does, in
// float32 (make_log_bucket_position).
func logBucket(d, mid, most int) int {
	far := max(d, -d)
	if far <= mid {
		return d
	}
	log := func(x float64) float32 { return float32(math.Log(float64(float32(x)))) }
	n := log(float64(far)/float64(mid)) / log(float64(most-1)/float64(mid)) * float32(mid-1)
	b := int(math.Ceil(float64(n))) + mid
	if d < 0 {
		return -b
	}
	return b
}
