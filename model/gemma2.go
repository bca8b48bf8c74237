package model

import "math"

// gemma2 norms branches before and after, caps scores and logits, and has a window in every second layer [gemma2024b].
var gemma2 = Architecture{
	ModelType: "gemma2",
	Aliases:   []Alias{{"hidden_act", "hidden_activation"}},
	Defaults: func() Config {
		window := 4096
		return Config{HiddenSize: 2304, IntermediateSize: 9216, NumHiddenLayers: 26, NumAttentionHeads: 8, NumKeyValueHeads: 4, HeadDim: 256,
			VocabSize: 256000, MaxPositionEmbeddings: 8192, HiddenAct: "gelu_pytorch_tanh", NormEps: 1e-6, InitializerRange: 0.02, RopeTheta: 10000,
			TieWordEmbeddings: true, SlidingWindow: &window, Family: &gemma2Fields{QueryScalar: 256, AttentionCap: 50, FinalCap: 30}}
	},
	Check: checkGemma2,
	Spec: func(c *Config) Spec {
		s := gemma2Spec(c)
		s.Layer = func(i int, b *Block) {
			if len(c.LayerTypes) == 0 && i%2 == 0 || len(c.LayerTypes) > 0 && c.sliding(i) {
				b.Attention.Window = c.window()
			}
		}
		return s
	},
}

type gemma2Fields struct {
	QueryScalar   float64 `json:"query_pre_attn_scalar"`
	AttentionCap  float64 `json:"attn_logit_softcapping"` // 0 or null = none
	FinalCap      float64 `json:"final_logit_softcapping"`
	Bidirectional bool    `json:"use_bidirectional_attention"`
	// Gemma 3, transformers 4
	RopeLocalBaseFreq float64 `json:"rope_local_base_freq"`
	WindowPattern     int     `json:"sliding_window_pattern"`
}

func checkGemma2(c *Config) (errs []error) {
	f := c.Family.(*gemma2Fields)
	if !(f.QueryScalar > 0) {
		errs = append(errs, c.bad("query_pre_attn_scalar", "is %g, want above 0", f.QueryScalar))
	}
	if f.AttentionCap < 0 {
		errs = append(errs, c.bad("attn_logit_softcapping", "is %g, want above 0 or null", f.AttentionCap))
	}
	if f.FinalCap < 0 {
		errs = append(errs, c.bad("final_logit_softcapping", "is %g, want above 0 or null", f.FinalCap))
	}
	if f.Bidirectional {
		errs = append(errs, c.bad("use_bidirectional_attention", "is true, which is for embedding models and not supported"))
	}
	return errs
}

// gemma2Spec is what Gemma 2 and 3 have in common.
func gemma2Spec(c *Config) Spec {
	f := c.Family.(*gemma2Fields)
	s := gemmaSpec(c)
	s.Block.AttentionNorms = NormNames{Before: "input_layernorm", Branch: "post_attention_layernorm"}
	s.Block.MLPNorms = NormNames{Before: "pre_feedforward_layernorm", Branch: "post_feedforward_layernorm"}
	s.Block.Attention.Scale = 1 / math.Sqrt(f.QueryScalar)
	s.Block.Attention.SoftCap, s.LogitsCap = f.AttentionCap, f.FinalCap
	return s
}
