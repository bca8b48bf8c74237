package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Prompt is what a method puts before the tokens of one segment: n virtual tokens, as rows of input embeddings or as keys and
// values of every layer. The zero value is none. Of two stacks the encoder gets the rows, and the decoder's attention to its own rows
// the keys and values.
type Prompt struct {
	Rows      mat.Tensor // [n, EmbedDim], or nil
	KeyValues mat.Tensor // [n, Layers·2·KeyValueHeads·HeadDim], or nil; op.Pass.Prefixes says where what is
	// Still says that the text keeps its positions. Rows are then no embeddings of tokens but come behind the whole embedding:
	// [n, HiddenSize].
	Still bool
}

// Moves is by how many positions the text moves up.
func (x *Prompt) Moves(rows, keyValues int) int {
	if x.Still {
		return 0
	}
	return rows + keyValues
}

// Prompter gives the prompts of a pass; it is how a method reaches the seams "input embeddings" and "keys and values".
type Prompter interface {
	// Prompts gives the prompt of each segment. Segments may share values of the graph; it is called once for a pass.
	Prompts(p *op.Pass) []Prompt
	// Leads says that virtual tokens pass through the layers as rows, so that the last of them tells the first token of a text.
	Leads() bool
	// NumVirtualTokens is the most virtual tokens that a segment can get: so much shorter must texts be.
	NumVirtualTokens() int
}

// PromptShape is what prompts must fit.
type PromptShape struct {
	Stacks                                int // 2 of an encoder with its decoder, whose sizes these are; else 1
	Layers, Heads, KeyValueHeads, HeadDim int
	HiddenSize                            int
	EmbedDim                              int // of input embeddings
	VocabSize                             int
	MaxPositions                          int // that the model was made for
}

// Prompted is a model that takes prompts.
type Prompted interface {
	Model
	// PromptShape says what prompts must fit.
	PromptShape() PromptShape
	// Prompter is what was set, nil at first.
	Prompter() Prompter
	// SetPrompter makes every later pass begin with the prompts of x; nil for none.
	SetPrompter(x Prompter)
	// InputEmbedding is row id [EmbedDim] of the input embeddings as a prompt would have it.
	InputEmbedding(dst []float32, id int)
	// Attentions lists the attentions that take keys and values: one of each layer, or none where the layers attend otherwise.
	Attentions() []*Attention
}
