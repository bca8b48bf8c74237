package model

// mixtral is Mistral with a mixture of experts for an MLP [jiang2024].
var mixtral = Architecture{
	ModelType: "mixtral",
	Defaults: func() Config {
		return Config{HiddenSize: 4096, IntermediateSize: 14336, NumHiddenLayers: 32, NumAttentionHeads: 32, NumKeyValueHeads: 8,
			VocabSize: 32000, MaxPositionEmbeddings: 131072, HiddenAct: "silu", NormEps: 1e-5, InitializerRange: 0.02, RopeTheta: 1000000,
			Family: &mixtralFields{Experts: 8, TopK: 2}}
	},
	Check: func(c *Config) (errs []error) {
		f := c.Family.(*mixtralFields)
		if f.Experts < 1 || f.Experts > 1<<12 {
			errs = append(errs, c.bad("num_local_experts", "is %d, want 1 to %d", f.Experts, 1<<12))
		}
		if f.TopK < 1 || f.TopK > f.Experts {
			errs = append(errs, c.bad("num_experts_per_tok", "is %d, want 1 to num_local_experts %d", f.TopK, f.Experts))
		}
		return errs
	},
	Spec: func(c *Config) Spec {
		f := c.Family.(*mixtralFields)
		s := llamaSpec(c)
		s.Block.Attention.Window = c.window()
		s.Block.MLP = MLP{Router: "block_sparse_moe.gate", Experts: f.Experts, TopK: f.TopK, Fused: "mlp.experts",
			In: []string{"block_sparse_moe.experts.%d.w1", "block_sparse_moe.experts.%d.w3"}, Down: "block_sparse_moe.experts.%d.w2"}
		return s
	},
}

type mixtralFields struct {
	Experts int `json:"num_local_experts"`
	TopK    int `json:"num_experts_per_tok"`
}
