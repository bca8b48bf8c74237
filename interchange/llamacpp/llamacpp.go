// Package llamacpp knows llama.cpp's files: what it calls the parts of architectures, and how a whole model becomes one GGUF file.
//
//	folded, err := merge.NewFolded(merge.Job{Base: base, Deltas: deltas}) // a model, with or without an adapter
//	if err != nil {
//		return err
//	}
//	report, err := llamacpp.Export(ctx, llamacpp.Job{Model: folded, Type: "q8_0", Out: "model.gguf", …})
//
// A model is read from the memory map and written a block of rows at a time, several blocks at once, so memory stays small; only matrices
// that are stored [in, out] and must be turned are held whole. Numbers are computed in float32 and rounded once, an adapter's included.
//
// What differs from Hugging Face's files:
//
//	llama, mistral  rows of queries and keys go by neighbours: see Permute
//	gemma           norms are stored as 1 + w
//	gpt2            projections are stored [out, in]
//	tied heads      are left out: llama.cpp takes the embedding
//	llama3 scaling  of rotary frequencies is a tensor, rope_freqs.weight
//	tokenizer       tokenizer.json becomes keys; merges of sentencepiece's kind become scores
//
// Words: a stem is a tensor's name without its ending .weight or .bias.
//
// References: conversion/*.py, gguf-py/gguf/constants.py, src/llama-quant.cpp and src/llama-vocab.cpp of github.com/ggml-org/llama.cpp.
package llamacpp
