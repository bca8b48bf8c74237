package model

import (
	"fmt"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// Spec says how a model is put together and what its parts are called in the checkpoint. An architecture is a function
// from its config to a Spec; what it leaves empty is not there.
type Spec struct {
	Prefix string // of all names but the head's; files of the bare model lack it
	Norm   Norm   // what every norm of the model is

	Embed          string   // input embedding
	EmbedAlso      []string // further names of it, of which files have some, or which they have instead
	EmbedScale     float64
	ScaleRows      bool   // EmbedScale is also of embeddings that come from elsewhere than the table
	EmbedDim       int    // its width, 0 = hidden_size
	ProjectIn      string // from there to hidden_size
	Positions      string // learned absolute positions, for max_position_embeddings
	PositionOffset int    // of the row of position 0, and so many rows more
	Sinusoids      bool   // positions are sines and cosines
	Types          string // embedding of token types
	EmbedNorm      string
	Widen          string // from EmbedDim to hidden_size, after the norm

	Blocks  string                // the list of layers
	Shared  func(i int) string    // the name of a layer, nil = Blocks.i; layers of one name are one
	Count   int                   // of layers, 0 = num_hidden_layers
	Block   Block                 // what its layers have in common
	Layer   func(i int, b *Block) // what differs, nil = nothing
	Conv    *Conv                 // after the first layer, nil = none
	Ropes   []Rope                // rotary positions, by Attention.Rope
	Buffers []string              // ends of the names of stored tensors that are no weights

	FinalNorm   string
	ProjectOut  string // from hidden_size to the head's width, EmbedDim
	Head        string // output embedding
	HeadBias    bool
	LogitsScale float64 // 0 = 1
	LogitsCap   float64 // 0 = none
	LogitsBias  string  // a stored vector that is added to the logits and never trained; "" = none

	Encoder *Encoder // whose rows the layers look at; nil = a model of one stack

	Heads  []Head   // of encoders; nil = Head, and a classifier on the last token
	Others []string // starts of the names of tensors of heads that graft does not know
}

// Encoder is the first of two stacks, with sizes of its own. The input embedding is that of the second.
type Encoder struct {
	Config *Config
	Spec   Spec
}

func (s *Spec) numBlocks(c *Config) int {
	if s.Count != 0 {
		return s.Count
	}
	return c.NumHiddenLayers
}

// prefixLayer is the layer of a prefix whose keys and values layer i reads. For a decoder that looks at an encoder, PEFT cuts the
// prefix into four parts a layer, two of which it throws away, and repeats it to have enough.
func (s *Spec) prefixLayer(i int, c *Config) int {
	if s.Encoder == nil {
		return i
	}
	return 2 * i % s.numBlocks(c)
}

func (s *Spec) blockName(i int) string {
	if s.Shared != nil {
		return s.Shared(i)
	}
	return fmt.Sprintf("%s.%d", s.Blocks, i)
}

// Norm is what the norms of a model have in common.
type Norm struct {
	Kind   op.NormKind
	Bias   bool
	Plus   float32 // is added to the weight
	Frozen bool    // neither weight nor bias
}

// Block describes one layer; names are below it.
type Block struct {
	AttentionNorms, CrossNorms, MLPNorms NormNames
	Parallel, FromNorm                   bool
	Scale                                float64 // of the branches, 0 = 1
	Conv1D                               bool    // projections are stored [in, out]
	Attention                            Attention
	Cross                                Attention // to the encoder's rows; without In it is not there. Of its fields only names, biases and Scale count
	MLP                                  MLP
}

// NormNames says where a branch is normed, as layer.Norms does.
type NormNames struct{ Before, Branch, After string }

// Attention describes the branch that mixes rows.
type Attention struct {
	In                 []string // queries, keys and values, or one name for all
	InBias             bool
	Grouped            bool // the one is laid out in groups, see op.Heads
	Output             string
	OutputBias         bool
	QueryNorm, KeyNorm string // of queries and keys
	NormShape          NormShape
	NoRope             bool    // no rotary positions
	Rope               int     // which of Spec.Ropes
	Scale              float64 // of the scores, 0 = 1/√head_dim
	BothWays           bool    // rows see later ones, too
	Window             int     // 0 = none
	SoftCap            float64 // 0 = none
	Bias               op.ScoreBias
	Relative           *Relative // terms of distance; nil = none
	Distances          *Distances
}

// Distances describes what distances alone add to the scores.
type Distances struct {
	Table string // embedding of Rows rows of a number for each head, outside of the layers; all share it
	Rows  int
	Row   func(distance int) int // of key minus query
}

// Conv describes a convolution over rows.
type Conv struct {
	Weight, Norm string
	Kernel       int
	Activation   string
}

// Relative describes scores by distance.
type Relative struct {
	Table         string // embedding of 2·Span distances, outside of the layers
	Norm          string // of its rows
	Span          int
	Keys, Queries string // projections of distances, "" = no such term
	Shared        bool   // they are those of the content
	Terms         int    // of the scores, that of the content included
	Row           func(distance int) int
}

// NormShape says what norms of queries and keys go over.
type NormShape uint8

// Shapes of query and key norms.
const (
	HeadAlike NormShape = iota // each head, with one weight for all
	EachHead                   // each head, with a weight of its own: the name holds %d
	AllHeads                   // all heads at once
)

// MLP describes the branch that mixes columns.
type MLP struct {
	In      []string // one name; gated: gate and up, or one name for both
	Gated   bool
	InBias  bool
	Down    string
	OutBias bool
	// A mixture of experts has In and Down once for each expert, with %d, and a router.
	Router  string
	Experts int
	TopK    int
	Fused   string // transformers' name of the module with the experts' weights as one
}

// Rope describes rotary positions.
type Rope struct {
	RopeParameters
	Dim         int // numbers of a head that turn
	Interleaved bool
}

// llamaSpec is the layout of LLaMA and of all that name their parts as it does: norms before both branches, separate
// projections, a gated MLP, rotary positions.
func llamaSpec(c *Config) Spec {
	return Spec{
		Prefix: "model.", Embed: "embed_tokens", Blocks: "layers", FinalNorm: "norm", Head: "lm_head",
		Block: Block{
			AttentionNorms: NormNames{Before: "input_layernorm"},
			MLPNorms:       NormNames{Before: "post_attention_layernorm"},
			Attention: Attention{In: []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, Output: "self_attn.o_proj",
				InBias: c.AttentionBias, OutputBias: c.AttentionBias},
			MLP: MLP{In: []string{"mlp.gate_proj", "mlp.up_proj"}, Gated: true, Down: "mlp.down_proj", InBias: c.MLPBias, OutBias: c.MLPBias},
		},
		Ropes: []Rope{c.rotary(c.HeadDim)},
	}
}

// rotary is the config's rotary positions for dim numbers of a head.
func (c *Config) rotary(dim int) Rope { return Rope{RopeParameters: c.ropeParameters(""), Dim: dim} }

// activations by hidden_act, as transformers' ACT2FN calls them.
var activations = []struct {
	name string
	op.Activation
}{
	{"gelu", op.GELU}, {"gelu_fast", op.GELUTanh}, {"gelu_new", op.GELUTanh}, {"gelu_pytorch_tanh", op.GELUTanh}, {"gelu_python", op.GELU},
	{"relu", op.ReLU}, {"silu", op.SiLU}, {"swish", op.SiLU}, {"tanh", op.Tanh},
}

// activation finds an activation.
func activation(name string) (a op.Activation, ok bool) {
	for _, x := range activations {
		if x.name == name {
			return x.Activation, true
		}
	}
	return a, false
}

// slotKind is how the block's projections are stored.
func (b *Block) slotKind() layer.Kind {
	if b.Conv1D {
		return layer.Conv1D
	}
	return layer.Linear
}
