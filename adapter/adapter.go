// Package adapter holds methods that leave weights alone and change what flows: IA3 scales what a projection reads or
// writes, OFT, BOFT, HRA and ROAD rotate it. LN_TUNING, the smallest of all, trains the norms themselves; BitFit and freeze train parts of
// the base, to compare with.
//
// # The library adapters
//
// Houlsby's, Pfeiffer's and parallel bottlenecks, Compacter and their relatives are those of the library `adapters`, with its
// names of settings and its files; with these come its own forms of LoRA, DoRA, VeRA, IA3, prefix and prompt tuning, and unions of
// several methods (MAM, UniPELT). A config string says which:
//
//	c, err := adapter.ParseHub("double_seq_bn[reduction_factor=8]")
//	a, err := c.Attach(m, rng)
//	err = peft.Save("runs/first/adapter", c, a)              // and methods.Load reads it
//	for name, p := range adapter.HubTensors(a) { … }         // by the names in the files
//
// A folder of the library:
//
//	adapter_config.json     {"config": {…} or {"architecture": "union", "configs": [{…}, …]}, "hidden_size", "model_class", "model_name",
//	                        "model_type", "name", "version"}; no peft_type. config.architecture is absent (bottlenecks), "lora",
//	                        "prefix_tuning" or "prompt_tuning". Keys that nobody knows survive.
//	adapter.safetensors     or pytorch_adapter.bin of torch.save, which is read only. Names are those of the modules with the name <n> of the
//	                        adapter in them:
//	  bert.encoder.layer.0.output.adapters.<n>.adapter_down.0.weight [C/f, C]    (.bias, .adapter_up.weight, …; attention.output of mh_adapter)
//	  model.layers.0.output_adapters.adapters.<n>.…                              (attention_adapters of mh_adapter)
//	  ….adapter_norm_before, once more as ….adapter_down.0; the map is adapter_down.1 then; ….adapter_norm_after, ….gate, ….scaling
//	  model.shared_parameters.<n>.phm_rule, model.invertible_adapters.<n>.F.0.weight
//	  <slot>.loras.<n>.lora_A [r, in], .lora_B [out, r], .m.weight, .gate.weight, .vera_D, .vera_B
//	  <attention>.prefix_tuning.pool.prefix_tunings.<n>.self_prefix.control_trans of every layer, and model.prefix_tuning.…, all the same
//	head_config.json, model_head.safetensors (or pytorch_model_head.bin)    a head of the library, heads.<n>.1.weight …, with its
//	                        settings; or the model's own, by its own names, "config": null
//
// Where the library averages a gate over padding, too, graft averages over the segment: what it gives for a text alone. A gate in
// a decoder sees the whole text, later rows included; in generation it averages over the rows of each pass, as there.
package adapter
