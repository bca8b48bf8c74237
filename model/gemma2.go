package model

import "math"

// gemma2 norms branches before and after, caps scores and logits, and has a window in every second layer [gemma2024b].
var gemma2 = Architecture{
	ModelType: "gemma2",
	Aliases:   []Alias{{"hidden_act", "hidden_activation"}},
	Defaults: func() Config {
		window, scores, logits := 4096, 50.0, 30.0
		return Config{HiddenSize: 2304, IntermediateSize: 9216, NumHiddenLayers: 26, NumAttentionHeads: 8, NumKeyValueHeads: 4, HeadDim: 256,
			VocabSize: 256000, MaxPositionEmbeddings: 8192, HiddenAct: "gelu_pytorch_tanh", NormEps: 1e-6, InitializerRange: 0.02, RopeTheta: 10000,
			TieWordEmbeddings: true, SlidingWindow: &window, Family: &gemma2Fields{QueryScalar: 256, AttentionCap: &scores, FinalCap: &logits}}
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
	QueryScalar   float64  `json:"query_pre_attn_scalar"`
	AttentionCap  *float64 `json:"attn_logit_softcapping"` // null = none
	FinalCap      *float64 `json:"final_logit_softcapping"`
	Bidirectional bool     `json:"use_bidirectional_attention"`
	// Gemma 3, transformers 4
	RopeLocalBaseFreq float64 `json:"rope_local_base_freq"`
	WindowPattern     int     `json:"sliding_window_pattern"`
}

func checkGemma2(c *Config) (errs []error) {
	f := c.Family.(*gemma2Fields)
	if !(f.QueryScalar > 0) {
		errs = append(errs, c.bad("query_pre_attn_scalar", "is %g, want above 0", f.QueryScalar))
	}
	if v := cap0(f.AttentionCap); v < 0 {
		errs = append(errs, c.bad("attn_logit_softcapping", "is %g, want above 0 or null", v))
	}
	if v := cap0(f.FinalCap); v < 0 {
		errs = append(errs, c.bad("final_logit_softcapping", "is %g, want above 0 or null", v))
	}
	if f.Bidirectional {
		errs = append(errs, c.bad("use_bidirectional_attention", "is true, which is for embedding models and not supported"))
	}
	return errs
}

// cap0 is a cap, 0 for none.
func cap0(v *float64) float64 {
	if v == nil {
		return 0
	}
	return *v
}

// gemma2Spec is what Gemma 2 and 3 have in common.
func gemma2Spec(c *Config) Spec {
	f := c.Family.(*gemma2Fields)
	s := gemmaSpec(c)
	s.Block.AttentionNorms = NormNames{Before: "input_layernorm", Branch: "post_attention_layernorm"}
	s.Block.MLPNorms = NormNames{Before: "pre_feedforward_layernorm", Branch: "post_feedforward_layernorm"}
	s.Block.Attention.Scale = 1 / math.Sqrt(f.QueryScalar)
	s.Block.Attention.SoftCap, s.LogitsCap = cap0(f.AttentionCap), cap0(f.FinalCap)
	return s
}
