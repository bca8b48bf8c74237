package synth

import "fmt"

// family is how models of one model_type are laid out.
type family struct {
	modelType string
	aliases   [][2]string // the family's words for fields: {field, word}
	defaults  config      // of fields that its config.json need not have
	fourfold  bool        // intermediate_size is four times hidden_size where the file gives none
	positions bool        // there is a table of max_position_embeddings rows
	layout    func(c *config, l *layout)
}

// families are the model types that a checkpoint can be made of.
var families = []family{
	{modelType: "llama", defaults: config{InitializerRange: 0.02}, layout: llama},
	{modelType: "qwen2", defaults: config{InitializerRange: 0.02, QKVBias: true}, layout: llama},
	{modelType: "gpt2", defaults: config{InitializerRange: 0.02, TieWordEmbeddings: true}, fourfold: true, positions: true, layout: gpt2,
		aliases: [][2]string{{"hidden_size", "n_embd"}, {"intermediate_size", "n_inner"}, {"num_hidden_layers", "n_layer"},
			{"num_attention_heads", "n_head"}, {"max_position_embeddings", "n_positions"}}},
}

// llama is the layout of LLaMA and its kin: projections [out, in].
func llama(c *config, l *layout) {
	h, q, kv := c.HiddenSize, c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	l.matrix("model.embed_tokens", c.VocabSize, h)
	for i := range c.NumHiddenLayers {
		p := fmt.Sprintf("model.layers.%d.", i)
		l.linear(p+"self_attn.q_proj", q, h, c.AttentionBias || c.QKVBias)
		l.linear(p+"self_attn.k_proj", kv, h, c.AttentionBias || c.QKVBias)
		l.linear(p+"self_attn.v_proj", kv, h, c.AttentionBias || c.QKVBias)
		l.linear(p+"self_attn.o_proj", h, q, c.AttentionBias)
		l.linear(p+"mlp.gate_proj", c.IntermediateSize, h, c.MLPBias)
		l.linear(p+"mlp.up_proj", c.IntermediateSize, h, c.MLPBias)
		l.linear(p+"mlp.down_proj", h, c.IntermediateSize, c.MLPBias)
		l.constant(p+"input_layernorm.weight", h, 1)
		l.constant(p+"post_attention_layernorm.weight", h, 1)
	}
	l.constant("model.norm.weight", h, 1)
	if !c.TieWordEmbeddings {
		l.matrix("lm_head", c.VocabSize, h)
	}
}

// gpt2 is the layout of GPT-2: projections [in, out], learned positions.
func gpt2(c *config, l *layout) {
	h := c.HiddenSize
	l.matrix("transformer.wte", c.VocabSize, h)
	l.matrix("transformer.wpe", c.MaxPositionEmbeddings, h)
	for i := range c.NumHiddenLayers {
		p := fmt.Sprintf("transformer.h.%d.", i)
		l.norm(p+"ln_1", h)
		l.conv1D(p+"attn.c_attn", h, 3*h)
		l.conv1D(p+"attn.c_proj", h, h)
		l.norm(p+"ln_2", h)
		l.conv1D(p+"mlp.c_fc", h, c.IntermediateSize)
		l.conv1D(p+"mlp.c_proj", c.IntermediateSize, h)
	}
	l.norm("transformer.ln_f", h)
	if !c.TieWordEmbeddings {
		l.matrix("lm_head", c.VocabSize, h)
	}
}
