package recipes

// Virtual are the keys of [method] that belong to what is put before a text. The tag for says to which methods a key belongs: see
// Key.calledBy.
type Virtual struct {
	NumVirtualTokens  int     `toml:"num_virtual_tokens" for:"prefix_tuning prompt_tuning p_tuning" min:"1" doc:"trained tokens before every text; it can be that much shorter" example:"20" syn:"prompt_length prefix_length num_virtual_token"`
	PrefixProjection  bool    `toml:"prefix_projection" for:"prefix_tuning" doc:"make the prefix by a small network, which is thrown away when the adapter is written"`
	EncoderHiddenSize int     `toml:"encoder_hidden_size" for:"prefix_tuning p_tuning" min:"1" doc:"width of the small network; default: that of a token" syn:"prefix_hidden_size"`
	Encoder           string  `toml:"encoder_reparameterization_type" for:"p_tuning" choice:"MLP LSTM" doc:"kind of the small network" syn:"encoder_type"`
	EncoderNumLayers  int     `toml:"encoder_num_layers" for:"p_tuning" min:"1" doc:"layers of the LSTM"`
	EncoderDropout    float64 `toml:"encoder_dropout" for:"p_tuning" min:"0" below:"1" doc:"dropout between layers of the LSTM"`
	PromptInit        string  `toml:"prompt_tuning_init" for:"prompt_tuning" choice:"RANDOM TEXT SAMPLE_VOCAB" doc:"how the tokens start: N(0, 1), the embeddings of a text, or those of random tokens"`
	PromptInitText    string  `toml:"prompt_tuning_init_text" for:"prompt_tuning" doc:"the text, cut or repeated to num_virtual_tokens" example:"Describe the place."`
	AdapterLen        int     `toml:"adapter_len" for:"adaption_prompt" min:"1" doc:"trained rows that each adapted layer looks at" example:"10"`
	AdapterLayers     int     `toml:"adapter_layers" for:"adaption_prompt" min:"1" doc:"how many of the last layers are adapted" example:"30"`
}
