package recipes

// Bottleneck are the keys of [method] of the library adapters' methods.
type Bottleneck struct {
	Config          string  `toml:"config" for:"adapters" doc:"config string of the library adapters: names with settings in brackets, in a union put together by |" example:"seq_bn[reduction_factor=8]|lora[r=8]" syn:"adapter_config"`
	ReductionFactor float64 `toml:"reduction_factor" for:"adapters houlsby pfeiffer parallel compacter compacter++" above:"0" doc:"width of the layers over that of the bottlenecks" syn:"bottleneck_reduction"`
	NonLinearity    string  `toml:"non_linearity" for:"adapters houlsby pfeiffer parallel compacter compacter++" choice:"relu swish silu gelu gelu_new gelu_fast gelu_pytorch_tanh tanh leakyrelu" doc:"between down and up"`
	LeaveOut        []int   `toml:"leave_out" for:"adapters houlsby pfeiffer parallel compacter compacter++" doc:"layers without bottlenecks, counted from 0" example:"[0, 1]"`
	NormBefore      bool    `toml:"ln_before" for:"adapters houlsby pfeiffer parallel compacter compacter++" doc:"a trained norm of what a bottleneck reads"`
	NormAfter       bool    `toml:"ln_after" for:"adapters houlsby pfeiffer parallel compacter compacter++" doc:"a trained norm of what it writes"`
	Gating          bool    `toml:"use_gating" for:"adapters houlsby pfeiffer parallel compacter compacter++" doc:"a trained gate of each sequence multiplies what it writes"`
	AdapterName     string  `toml:"adapter_name" for:"adapters=name houlsby=name pfeiffer=name parallel=name compacter=name compacter++=name" doc:"name of the adapter, which is part of the names of its tensors" example:"sst-2"`
	PHMDim          int     `toml:"phm_dim" for:"adapters compacter compacter++" min:"1" doc:"number of Kronecker products of a weight"`
}
