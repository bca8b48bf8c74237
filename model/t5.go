package model

import (
	"math"
	"strings"
)

// t5 is an encoder and a decoder that know distances rather than places: RMS norms before the branches, scores that are not scaled,
// a table of distances for each stack. Its v1.1 has a gated MLP and a head of its own [raffel2020].
var t5 = Architecture{
	ModelType: "t5",
	Aliases:   t5Aliases,
	Defaults: func() Config {
		return Config{HiddenSize: 512, HeadDim: 64, IntermediateSize: 2048, NumAttentionHeads: 8, VocabSize: 32128, MaxPositionEmbeddings: 512,
			NormEps: 1e-6, InitializerRange: 0.05, TieWordEmbeddings: true, PadTokenID: id(0), EOSTokenID: TokenIDs{1},
			Family: &t5Fields{NumLayers: 6, Buckets: 32, MaxDistance: 128, FeedForward: "relu"}}
	},
	Complete: completeT5,
	Check:    checkT5,
	Spec:     t5Spec,
}

// mt5 is T5 1.1 for many languages [xue2021].
var mt5 = Architecture{
	ModelType: "mt5",
	Aliases:   t5Aliases,
	Defaults: func() Config {
		return Config{HiddenSize: 512, HeadDim: 64, IntermediateSize: 1024, NumAttentionHeads: 6, VocabSize: 250112, MaxPositionEmbeddings: 512,
			NormEps: 1e-6, InitializerRange: 0.05, PadTokenID: id(0), EOSTokenID: TokenIDs{1},
			Family: &t5Fields{NumLayers: 8, Buckets: 32, MaxDistance: 128, FeedForward: "gated-gelu"}}
	},
	Complete: completeT5,
	Check:    checkT5,
	Spec:     t5Spec,
}

// t5Aliases are T5's words. There is no table of positions, so n_positions is only the length that it was trained with.
var t5Aliases = []Alias{{"hidden_size", "d_model"}, {"head_dim", "d_kv"}, {"intermediate_size", "d_ff"}, {"num_hidden_layers", "num_decoder_layers"},
	{"num_attention_heads", "num_heads"}, {"rms_norm_eps", "layer_norm_epsilon"}, {"max_position_embeddings", "n_positions"}, {"hidden_act", "feed_forward_proj"}}

// t5Fields are T5's own.
type t5Fields struct {
	NumLayers    int    `json:"num_layers"` // of the encoder
	Buckets      int    `json:"relative_attention_num_buckets"`
	MaxDistance  int    `json:"relative_attention_max_distance"`
	FeedForward  string `json:"feed_forward_proj"`     // an activation, perhaps "gated-" before it
	ScaleOutputs *bool  `json:"scale_decoder_outputs"` // null = tie_word_embeddings, which said both before transformers 5
}

// id is a token id that may be null.
func id(i int32) *int32 { return &i }

func completeT5(c *Config) {
	f := c.Family.(*t5Fields)
	if c.NumHiddenLayers == 0 {
		c.NumHiddenLayers = f.NumLayers
	}
	c.HiddenAct = strings.TrimPrefix(f.FeedForward, "gated-")
	if f.FeedForward == "gated-gelu" {
		c.HiddenAct = "gelu_new" // as transformers reads it
	}
	startAtPad(c)
}

// startAtPad makes texts begin with the padding token where config.json names none.
func startAtPad(c *Config) {
	if c.DecoderStartTokenID == nil {
		c.DecoderStartTokenID = c.PadTokenID
	}
}

func checkT5(c *Config) (errs []error) {
	f := c.Family.(*t5Fields)
	if f.NumLayers < 1 || f.NumLayers > limit {
		errs = append(errs, c.bad("num_layers", "is %d, want 1 to %d", f.NumLayers, limit))
	}
	if f.Buckets < 4 || f.Buckets > headLimit || f.Buckets%2 != 0 {
		errs = append(errs, c.bad("relative_attention_num_buckets", "is %d, want an even number from 4 to %d", f.Buckets, headLimit))
	}
	if f.MaxDistance <= f.Buckets/2 || f.MaxDistance > limit {
		errs = append(errs, c.bad("relative_attention_max_distance", "is %d, want more than half of %d buckets", f.MaxDistance, f.Buckets))
	}
	return append(errs, checkStart(c)...)
}

// checkStart reports a first token of texts that is none.
func checkStart(c *Config) (errs []error) {
	if s := c.DecoderStartTokenID; s == nil || *s < 0 || int(*s) >= c.VocabSize {
		errs = append(errs, c.bad("decoder_start_token_id", "is null or beyond the vocabulary, want 0 to vocab_size %d - 1", c.VocabSize))
	}
	return errs
}

func t5Spec(c *Config) Spec {
	f := c.Family.(*t5Fields)
	s := f.stack("decoder", false)
	s.Heads = []Head{{Kind: TargetToken, Out: "lm_head", Tied: true}}
	if f.ScaleOutputs == nil && c.TieWordEmbeddings || f.ScaleOutputs != nil && *f.ScaleOutputs {
		s.LogitsScale = 1 / math.Sqrt(float64(c.HiddenSize))
	}
	e := *c
	e.NumHiddenLayers = f.NumLayers
	s.Encoder = &Encoder{Config: &e, Spec: f.stack("encoder", true)}
	return s
}

// stack is the layout of one of the two stacks.
func (f *t5Fields) stack(name string, encoder bool) Spec {
	attention := func(part string) Attention {
		return Attention{In: []string{part + ".q", part + ".k", part + ".v"}, Output: part + ".o", Scale: 1, BothWays: encoder}
	}
	s := Spec{
		Embed: "shared", EmbedAlso: []string{"encoder.embed_tokens", "decoder.embed_tokens"}, Blocks: name + ".block", FinalNorm: name + ".final_layer_norm",
		Buffers: []string{"EncDecAttention.relative_attention_bias.weight"}, // of old files; nothing reads it
		Block:   Block{AttentionNorms: NormNames{Before: "layer.0.layer_norm"}, Attention: attention("layer.0.SelfAttention")},
	}
	s.Block.Attention.Distances = &Distances{Table: name + ".block.0.layer.0.SelfAttention.relative_attention_bias", Rows: f.Buckets,
		Row: func(d int) int { return t5Bucket(d, f.Buckets, f.MaxDistance, encoder) }}
	mlp := "layer.1."
	if !encoder {
		s.Block.Cross, s.Block.CrossNorms = attention("layer.1.EncDecAttention"), NormNames{Before: "layer.1.layer_norm"}
		mlp = "layer.2."
	}
	s.Block.MLPNorms = NormNames{Before: mlp + "layer_norm"}
	s.Block.MLP = MLP{In: []string{mlp + "DenseReluDense.wi"}, Down: mlp + "DenseReluDense.wo"}
	if strings.HasPrefix(f.FeedForward, "gated-") {
		s.Block.MLP.In, s.Block.MLP.Gated = []string{mlp + "DenseReluDense.wi_0", mlp + "DenseReluDense.wi_1"}, true
	}
	return s
}

// t5Bucket is the row of a distance, key minus query: one each for near ones, then rows that grow with the distance up to most, beyond
// which all have the last. Both ways, later keys have rows of their own. It rounds as transformers does, in float32
// (_relative_position_bucket).
func t5Bucket(d, buckets, most int, bothWays bool) int {
	first := 0
	switch {
	case bothWays:
		buckets /= 2
		if d > 0 {
			first = buckets
		}
		d = max(d, -d)
	default:
		d = max(-d, 0)
	}
	near := buckets / 2
	if d < near {
		return first + d
	}
	log := float32(math.Log(float64(float32(d)/float32(near)))) / float32(math.Log(float64(most)/float64(near)))
	return first + min(near+int(log*float32(buckets-near)), buckets-1)
}
