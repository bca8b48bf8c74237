// Package data turns rows of text into packed batches of token ids.
//
//	set, report, err := data.Build(ctx, rows, tok, chat, data.Settings{SequenceLen: 512})
//	train, eval := set.Split(0.05, seed)
//	stream, err := data.NewStream(train, data.Schedule{BatchSize: 16, MicroTokens: 4096, Seed: seed})
//	for range stream.Steps(3) {
//		step, err := stream.Next() // step.Batches: the micro-batches of one update
//	}
//	for batch, err := range eval.Batches(4096) { … }
//
// A Row is a record of a file (package source reads them), a Shape says what its fields mean, and an Example is the
// tokens that come of it with the spans that are targets, that is, count in the loss. Prompts are not targets unless
// Settings.TrainOnPrompt says so. A Set is a list of examples; a Stream walks it epoch by epoch in an order that depends on
// nothing but (seed, epoch), so that a Position is enough to go on from.
//
// A Batch holds sequences end to end without padding; its targets are already shifted by one.
package data

import "github.com/graft-ml/graft/internal/op"

// Segment is one sequence of a batch.
type Segment = op.Segment

// NoTarget marks a row without a loss.
const NoTarget = -100

// Batch holds several sequences end to end, one row per real token: there is no padding.
type Batch struct {
	Tokens    []int32   // [T]
	Positions []int32   // [T], restart at 0 in each segment
	Segments  []Segment // cover 0..T in order
	Targets   []int32   // [T]: the token that the model should give after row t (already shifted), or the label of row t itself; or NoTarget
	Weights   []float32 // [T]: weight of each target in the loss; nil = 1

	Spared int // rows that are not there because texts share them: see Share

	// Firsts are the segments' first tokens where they carry a loss, else NoTarget; nil = none does. They count only with a method
	// that puts rows before a segment, from which its first token can be told.
	Firsts       []int32   // [segments]
	FirstWeights []float32 // [segments]; nil = 1

	// Source are the texts of which the segments tell something, one for each, where an encoder reads them; nil otherwise. A segment
	// is then what a decoder reads.
	Source *op.Source

	// Of encoders and their tasks; nil otherwise.
	Types  []int32     // [T]: token types, as BERT tells the two texts of a pair apart
	Labels [][]float32 // [segments]: one class, or a value for each label (several labels, regression)
	Spans  [][2]int32  // [segments]: rows of the batch where the answer starts and ends; the segment's first row = no answer
}

// NumRows counts the tokens of the texts that pass through a model, those of the source included. What texts share counts for each.
func (b *Batch) NumRows() int {
	n := len(b.Tokens) + b.Spared
	if b.Source != nil {
		n += len(b.Source.Tokens)
	}
	return n
}

// NumTargets counts the rows that carry a target.
func (b *Batch) NumTargets() int {
	n := 0
	for _, t := range b.Targets {
		if t != NoTarget {
			n++
		}
	}
	return n
}
