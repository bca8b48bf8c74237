// Package layer holds the parts that models are assembled from, and the seams at which methods change them.
//
// A seam is a place with a name. The projection seam is a Slot: every Linear of a model, and its embedding, sits in one,
// under the checkpoint's own path ("model.layers.3.self_attn.q_proj"), and a method may wrap what it holds.
package layer

import (
	"iter"

	"github.com/graft-ml/graft/internal/op"
)

// Kind says what a slot's base layer is, which decides what methods may do with it.
type Kind uint8

// Kinds of slots.
const (
	Linear    Kind = iota // W [out, in]
	Conv1D                // W [in, out], as GPT-2 stores it
	Embedding             // W [num_embeddings, dim], rows are looked up
	Head                  // the output embedding: a Linear whose W may be tied to the input embedding
)

// Slot is a named place of the model that holds a projection, or a table of embeddings. Methods replace Projection (or
// Lookup) and keep what was there to put it back. Not safe for concurrent use with a pass. In a routed pass the rows of a group
// pass through what its overlay has in the slot (routed.go).
type Slot struct {
	Name          string // the checkpoint's path without ".weight"
	Kind          Kind
	Tied          bool // the weight is also that of another slot
	op.Projection      // of all kinds but Embedding
	Lookup        op.Lookup
	// Base is what the checkpoint gave and never changes; Projection starts as Base.
	Base *Frozen
	// Stored is Name as the checkpoint has it, where that differs: files of a bare model lack the prefix.
	Stored string
	// Copies are further names under which the checkpoint has the weight once more.
	Copies []string
	// Bias is the name of the bias, where it is not the slot's own: BERT's cls.predictions.decoder has cls.predictions.bias.
	Bias string
}

// Reading implements op.Reader.
func (s *Slot) Reading() op.Reading { return op.ReadingOf(s.Projection) }

// Param is the name of the slot's "weight" or "bias" in the model.
func (s *Slot) Param(part string) string {
	if part == "bias" && s.Bias != "" {
		return s.Bias
	}
	return s.Name + "." + part
}

// Tensor is the checkpoint's name of the slot's "weight" or "bias".
func (s *Slot) Tensor(part string) string {
	if s.Stored != "" && !(part == "bias" && s.Bias != "") {
		return s.Stored + "." + part
	}
	return s.Param(part)
}

// Model is what a method sees of a model.
type Model interface {
	// ModelType is config.json's model_type.
	ModelType() string
	// Slots yields every slot in the order of the forward pass.
	Slots() iter.Seq[*Slot]
}
