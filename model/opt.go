package model

import "github.com/graft-ml/graft/internal/op"

// opt has learned positions that begin in row 2 of their table; its 350m norms after the branches and keeps narrower
// embeddings [zhang2022].
var opt = Architecture{
	ModelType: "opt",
	Aliases:   []Alias{{"intermediate_size", "ffn_dim"}, {"hidden_act", "activation_function"}, {"initializer_range", "init_std"}},
	Defaults: func() Config {
		return Config{HiddenSize: 768, IntermediateSize: 3072, NumHiddenLayers: 12, NumAttentionHeads: 12, VocabSize: 50272, MaxPositionEmbeddings: 2048,
			HiddenAct: "relu", NormEps: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true,
			Family: &optFields{NormBefore: true, EnableBias: true, NormAffine: true}}
	},
	Check: func(c *Config) (errs []error) {
		if f := c.Family.(*optFields); f.EmbedDim < 0 || f.EmbedDim > limit {
			errs = append(errs, c.bad("word_embed_proj_dim", "is %d, want 1 to %d", f.EmbedDim, limit))
		}
		return errs
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*optFields)
		s := Spec{
			Prefix: "model.", Norm: Norm{Kind: op.Center, Bias: true, Frozen: !f.NormAffine}, Embed: "decoder.embed_tokens", EmbedDim: f.EmbedDim,
			Positions: "decoder.embed_positions", PositionOffset: 2, Blocks: "decoder.layers", Head: "lm_head",
			Block: Block{
				AttentionNorms: NormNames{Before: "self_attn_layer_norm"},
				MLPNorms:       NormNames{Before: "final_layer_norm"},
				Attention: Attention{In: []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, InBias: f.EnableBias,
					Output: "self_attn.out_proj", OutputBias: f.EnableBias},
				MLP: MLP{In: []string{"fc1"}, InBias: f.EnableBias, Down: "fc2", OutBias: f.EnableBias},
			},
		}
		switch {
		case !f.NormBefore:
			s.Block.AttentionNorms = NormNames{After: s.Block.AttentionNorms.Before}
			s.Block.MLPNorms = NormNames{After: s.Block.MLPNorms.Before}
		case !f.NoFinalNorm:
			s.FinalNorm = "decoder.final_layer_norm"
		}
		if f.EmbedDim != 0 && f.EmbedDim != c.HiddenSize {
			s.ProjectIn, s.ProjectOut = "decoder.project_in", "decoder.project_out"
		}
		return s
	},
}

type optFields struct {
	NormBefore  bool `json:"do_layer_norm_before"`
	EmbedDim    int  `json:"word_embed_proj_dim"` // 0 or null = hidden_size
	NoFinalNorm bool `json:"_remove_final_layer_norm"`
	EnableBias  bool `json:"enable_bias"`
	NormAffine  bool `json:"layer_norm_elementwise_affine"`
}
