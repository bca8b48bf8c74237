package model

import (
	"math"

	"github.com/graft-ml/graft/internal/op"
)

// bart is an encoder and a decoder with learned positions and norms after the branches and the embedding [lewis2020].
var bart = Architecture{
	ModelType: "bart",
	Aliases:   bartAliases,
	Defaults: func() Config {
		c := bartDefaults()
		c.VocabSize, c.HiddenAct, c.BOSTokenID, c.EOSTokenID = 50265, "gelu", TokenIDs{0}, TokenIDs{2}
		c.PadTokenID, c.DecoderStartTokenID = id(1), id(2)
		return c
	},
	Complete: completeBart,
	Check:    checkBart,
	Spec: func(c *Config) Spec {
		s := bartSpec(c)
		for _, x := range []struct {
			name string
			s    *Spec
		}{{"encoder", &s.Encoder.Spec}, {"decoder", &s}} {
			x.s.Positions, x.s.PositionOffset, x.s.EmbedNorm = x.name+".embed_positions", 2, x.name+".layernorm_embedding"
		}
		return s
	},
}

// bartAliases are the words of BART and Marian. The sizes of Config are the decoder's.
var bartAliases = []Alias{{"hidden_size", "d_model"}, {"num_hidden_layers", "decoder_layers"}, {"num_attention_heads", "decoder_attention_heads"},
	{"intermediate_size", "decoder_ffn_dim"}, {"hidden_act", "activation_function"}, {"initializer_range", "init_std"}}

// bartDefaults are what BART and Marian have in common.
func bartDefaults() Config {
	return Config{HiddenSize: 1024, IntermediateSize: 4096, NumHiddenLayers: 12, NumAttentionHeads: 16, MaxPositionEmbeddings: 1024,
		NormEps: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true,
		Family: &bartFields{Layers: 12, Heads: 16, FFNDim: 4096, SharedEmbeddings: true}}
}

// bartFields are the encoder's sizes, and what else is BART's and Marian's own.
type bartFields struct {
	Layers           int  `json:"encoder_layers"`
	Heads            int  `json:"encoder_attention_heads"`
	FFNDim           int  `json:"encoder_ffn_dim"`
	ScaleEmbedding   bool `json:"scale_embedding"`
	SharedEmbeddings bool `json:"share_encoder_decoder_embeddings"`
	DecoderVocab     int  `json:"decoder_vocab_size"` // 0 or null = vocab_size
}

// completeBart makes heads of the decoder's be heads of their own; there are no groups.
func completeBart(c *Config) {
	c.NumKeyValueHeads, c.HeadDim = 0, 0
	startAtPad(c)
}

func checkBart(c *Config) (errs []error) {
	f := c.Family.(*bartFields)
	for _, x := range []struct {
		key         string
		value, most int
	}{{"encoder_layers", f.Layers, limit}, {"encoder_attention_heads", f.Heads, headLimit}, {"encoder_ffn_dim", f.FFNDim, limit}} {
		if x.value < 1 || x.value > x.most {
			errs = append(errs, c.bad(x.key, "is %d, want 1 to %d", x.value, x.most))
		}
	}
	if f.Heads > 0 && c.HiddenSize%f.Heads != 0 {
		errs = append(errs, c.bad("hidden_size", "%d is not a multiple of encoder_attention_heads %d", c.HiddenSize, f.Heads))
	}
	if !f.SharedEmbeddings || f.DecoderVocab != 0 && f.DecoderVocab != c.VocabSize {
		errs = append(errs, c.bad("share_encoder_decoder_embeddings", "is false or decoder_vocab_size %d not vocab_size %d, want one embedding of both stacks", f.DecoderVocab, c.VocabSize))
	}
	return append(errs, checkStart(c)...)
}

// bartSpec is the layout of BART and Marian without positions.
func bartSpec(c *Config) Spec {
	f := c.Family.(*bartFields)
	s := f.stack("decoder", c)
	s.Block.Attention.BothWays = false
	s.Block.Cross, s.Block.CrossNorms = bartAttention("encoder_attn"), NormNames{After: "encoder_attn_layer_norm"}
	s.Heads = []Head{{Kind: TargetToken, Out: "lm_head", Tied: true}}
	s.LogitsBias = "final_logits_bias"
	e := *c
	e.NumHiddenLayers, e.IntermediateSize = f.Layers, f.FFNDim
	e.NumAttentionHeads, e.NumKeyValueHeads, e.HeadDim = f.Heads, f.Heads, c.HiddenSize/max(f.Heads, 1)
	s.Encoder = &Encoder{Config: &e, Spec: f.stack("encoder", c)}
	return s
}

// stack is the layout of one of the two stacks, of an encoder so far.
func (f *bartFields) stack(name string, c *Config) Spec {
	s := Spec{
		Prefix: "model.", Norm: Norm{Kind: op.Center, Bias: true}, Embed: "shared", EmbedAlso: []string{"encoder.embed_tokens", "decoder.embed_tokens"},
		Blocks: name + ".layers", Buffers: []string{"encoder.version", "decoder.version"}, Others: []string{"classification_head"},
		Block: Block{
			AttentionNorms: NormNames{After: "self_attn_layer_norm"},
			MLPNorms:       NormNames{After: "final_layer_norm"},
			Attention:      bartAttention("self_attn"),
			MLP:            MLP{In: []string{"fc1"}, InBias: true, Down: "fc2", OutBias: true},
		},
	}
	if f.ScaleEmbedding {
		s.EmbedScale = math.Sqrt(float64(c.HiddenSize))
	}
	return s
}

func bartAttention(name string) Attention {
	return Attention{In: []string{name + ".q_proj", name + ".k_proj", name + ".v_proj"}, InBias: true, Output: name + ".out_proj", OutputBias: true, BothWays: true}
}
