package modeltest

// Config is a small model: config.json as transformers writes it.
type Config struct {
	Name string
	JSON string
}

// Tiny has at least one row for each line of model.Architectures. Widths differ from each other wherever they may, so that
// a transposed axis cannot pass.
var Tiny = []Config{
	{"llama", `{"model_type": "llama", "hidden_size": 10, "intermediate_size": 14, "num_hidden_layers": 2, "num_attention_heads": 4,
		"num_key_value_heads": 2, "head_dim": 6, "vocab_size": 23, "max_position_embeddings": 32, "initializer_range": 0.4}`},
	{"llama, tied, with biases", `{"model_type": "llama", "hidden_size": 10, "intermediate_size": 14, "num_hidden_layers": 2,
		"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 4, "vocab_size": 23, "max_position_embeddings": 32,
		"initializer_range": 0.4, "tie_word_embeddings": true, "attention_bias": true, "mlp_bias": true}`},
	{"mistral, window of 3", `{"model_type": "mistral", "hidden_size": 10, "intermediate_size": 14, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "vocab_size": 23, "max_position_embeddings": 32,
		"initializer_range": 0.4, "sliding_window": 3}`},
	{"qwen2, window in the upper layer", `{"model_type": "qwen2", "hidden_size": 12, "intermediate_size": 14, "num_hidden_layers": 2,
		"num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 23, "max_position_embeddings": 32, "initializer_range": 0.4,
		"sliding_window": 4, "use_sliding_window": true, "max_window_layers": 1}`},
	{"qwen3", `{"model_type": "qwen3", "hidden_size": 10, "intermediate_size": 14, "num_hidden_layers": 2, "num_attention_heads": 4,
		"num_key_value_heads": 2, "head_dim": 6, "vocab_size": 23, "max_position_embeddings": 32, "initializer_range": 0.4}`},
}
