// Package data turns rows of text into packed batches of token ids.
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
	Targets   []int32   // [T]: the token that the model should give after row t (already shifted), or NoTarget
	Weights   []float32 // [T]: weight of each target in the loss; nil = 1
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
