// Package op holds the differentiable operators of graft. It is the only package that calls ag.NewOperator.
//
// Rules that keep runs bit-identical and memory small:
//
//  1. An operator is fused and batched: [T, C] in, [T, C] out, one row per real token. Shapes are checked by the exported
//     function, in the caller's goroutine, before ag.NewOperator, because a spago operator cannot report an error.
//  2. No value feeds more than two operators: a sum of two gradients is order-free, a sum of three is not.
//  3. Buffers come from the pass's Arena. When the Backward of an operator ends, nobody needs its output, its saved
//     buffers or its output gradient any more, and it gives them back. A gradient handed to AccGrad changes owner.
//  4. Trainable numbers are spago nn.Params whose matrix is a *Tensor with a lasting gradient buffer; kernels add into
//     that buffer directly (GradOf). Frozen weights are never nn.Params.
package op

import (
	"iter"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// Segment is one sequence of a packed batch: rows Start to End.
type Segment struct {
	Start, End int
	Sequence   int // which sequence of the Cache the rows continue; unused without a cache
	Adapter    int // which overlay of the pass its rows pass through, counted from 1; 0 = the model alone. Ignored unless the pass is routed
	// After is the number, from 1, of an earlier segment whose rows these come after: a beginning that several sequences share. 0 =
	// nothing comes before. Of causal attention, without a cache; prefixes of the pass then are nobody's.
	After int
	// Pads are rows at the end that see the others and are seen by none: the padding of programs that pad, for averages over a
	// segment that count it. Without a cache, and not for heads that read the last row.
	Pads int
}

// Pass is one walk through a model: the rows, the memory, and how to compute. Not safe for concurrent use by several walks.
type Pass struct {
	Segments  []Segment
	Positions []int32 // [T], restart in each segment
	Types     []int32 // [T] token types of encoders; nil = all 0
	Mode      kernel.Mode
	Arena     *Arena
	Grad      bool       // a backward pass will follow: keep what it needs
	Train     bool       // dropout and noise are active
	Seed      uint64     // of this pass's dropout; the same seed gives the same masks
	Cache     *Cache     // keys and values of earlier rows; nil in training
	Distances mat.Tensor // of layers that share a table of them: its rows as the next layer reads them; nil before the first
	Recompute bool       // of each block only the result is kept for the backward pass, which computes the rest again
	// KeepAttention keeps the results of attention, too, where blocks are computed again: of long texts they take most of the time.
	KeepAttention bool
	Read          []int   // the rows of the last hidden states that anybody reads, in order; nil = all. Others may be left out: they are 0 then
	NEFTune       float64 // noise alpha of the embeddings while Train is set; 0 = none
	// Prefixes are keys and values that a segment's rows see before their own: nil, or by segment, nil for none of it. The keys of
	// layer l are in the columns from 2l·K·D on, its values from (2l+1)·K·D on. With a cache they come before a sequence's first row.
	Prefixes []mat.Tensor // [n, L·2·K·D] each

	// Of decoders that see an encoder's text; nil otherwise.
	Source *Source // what the encoder reads: one text for each segment, in their order
	// Memory are keys and values of the encoder's rows, laid out as Prefixes are, and Sources each segment's rows of it. Segments share
	// none of these rows where gradients are wanted. With a cache, sequences have theirs in it.
	Memory  mat.Tensor // [S, L·2·K·D]
	Sources []Segment

	overlays []Overlay // see Route
	groups   []Group   // by overlay; nil = the pass is not routed
	under    *under    // see Over
	asGrad   bool      // see Trains
	attended *attended // see KeepAttention; nil = nothing is kept
}

// Source is a packed batch of texts for an encoder.
type Source struct {
	Tokens    []int32   // [S]
	Positions []int32   // [S], restart at 0 in each segment
	Segments  []Segment // cover 0..S in order
}

// under is what takes the place of a projection or a table for this pass.
type under struct{ of, by any }

// Over is the pass for what lies over others in one place: wherever it asks for the projection or the table of, it gets what by
// makes of it; nil = that itself.
func (p *Pass) Over(of, by any) *Pass {
	q := *p
	if q.under = nil; by != nil {
		q.under = &under{of, by}
	}
	return &q
}

// Under is what takes the place of a projection or a table, nil for nothing.
func (p *Pass) Under(of any) any {
	if p.under == nil || p.under.of != of {
		return nil
	}
	return p.under.by
}

// Trains says that the pass computes, to the bit, what a pass does that a backward pass follows: sums must not be taken in another order.
func (p *Pass) Trains() bool { return p.Grad || p.asGrad }

// Rows is T, the number of rows of the pass.
func (p *Pass) Rows() int { return len(p.Positions) }

// Projection is y = x·Wᵀ + b with whatever a method adds to it. It works on plain buffers: the operators that hold
// projections are the nodes of the graph. A method wraps a Projection in its own.
type Projection interface {
	// Dims are the numbers of inputs and outputs of a row.
	Dims() (in, out int)
	// Forward writes y [T, out] from x [T, in]. What Backward will need beyond x it returns (nil is fine; only if p.Grad).
	Forward(p *Pass, y kernel.Mat, x *Input) (saved any)
	// Backward adds the gradients of its parameters to their buffers and, unless dx is empty, adds dy·∂y/∂x to dx.
	// x is what Forward saw.
	Backward(p *Pass, dx, dy kernel.Mat, x *Input, saved any)
	// Params yields the trainable parameters by their names below the slot, as in the adapter file
	// ("lora_A.weight"), in a fixed order; nothing if all is frozen.
	Params() iter.Seq2[string, *nn.Param]
}

// Plain is a projection that may be no more than a product with a frozen weight, with an addition of low rank or without.
type Plain interface {
	Projection
	// Linear is what Forward computes from x in this pass; false if that is more, or known already.
	Linear(p *Pass, x *Input) (kernel.Linear, bool)
}

// Input is an activation matrix that several projections read. Its packed form for the frozen product is made once, on
// first use, and shared.
type Input struct {
	kernel.Mat
	// packed forms live here
	packed *kernel.Acts
	mode   kernel.Mode
	known  known
}

// known is what a projection makes of an input, where that has been computed already.
type known struct {
	of Projection
	y  kernel.Mat
}

// Know tells the input what a projection makes of it, so that it need not compute that again. y may be where the result of what
// lies over the projection goes: who asks the projection twice asks before it writes.
func (x *Input) Know(of Projection, y kernel.Mat) { x.known = known{of, y} }

// Known writes to y what the input knows of a projection.
func (x *Input) Known(of Projection, y kernel.Mat) bool {
	if !x.Knows(of) {
		return false
	}
	k := x.known
	if len(y.Data) > 0 && &y.Data[0] == &k.y.Data[0] {
		return true
	}
	for t := range y.Rows {
		copy(y.Row(t), k.y.Row(t))
	}
	return true
}

// Knows says that the input knows what a projection makes of it.
func (x *Input) Knows(of Projection) bool { return x.known.of == of }

// Vector is a norm's weight or a bias: frozen numbers, or a parameter if Param is not nil (then Value aliases it).
type Vector struct {
	Value []float32
	Param *nn.Param
}

// NewInput wraps activations that projections will read.
func NewInput(x kernel.Mat) *Input { return &Input{Mat: x} }

// Acts is the input packed for frozen products in the mode.
func (x *Input) Acts(mode kernel.Mode) *kernel.Acts {
	if x.packed == nil {
		x.packed, x.mode = kernel.Pack(x.Mat, mode), mode
	}
	return x.packed
}

// Free gives the packed form back.
func (x *Input) Free() {
	if x.packed != nil {
		x.packed.Free()
		x.packed = nil
	}
}

// NewPass returns a pass over the segments of one batch.
func NewPass(segments []Segment, positions []int32, mode kernel.Mode, arena *Arena) *Pass {
	return &Pass{Segments: segments, Positions: positions, Mode: mode, Arena: arena}
}

// node runs f as a node of the graph.
func node(f ag.AutoGradFunction) mat.Tensor { return ag.NewOperator(f).Run() }

// operands lists the values and the trainable parameters that an operator reads.
func operands(values []mat.Tensor, projections ...Projection) []mat.Tensor {
	for _, q := range projections {
		for _, p := range q.Params() {
			values = append(values, p)
		}
	}
	return values
}

// withVectors appends the trainable vectors.
func withVectors(values []mat.Tensor, vectors ...*Vector) []mat.Tensor {
	for _, v := range vectors {
		if v != nil && v.Param != nil {
			values = append(values, v.Param)
		}
	}
	return values
}

// shape returns the rows and columns of a node.
func shape(x mat.Tensor) (rows, cols int) {
	t := bare(x)
	return t.rows, t.cols
}
