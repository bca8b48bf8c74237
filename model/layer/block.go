package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Block is one layer of a pre-norm decoder with grouped attention and a gated MLP.
type Block struct {
	Attention  op.AttentionSpec
	Activation op.Activation
	Eps        float64 // of the norms

	InputNorm *op.Vector // [C]
	Query, Key, Value,
	Output *Slot
	QueryNorm      *op.Vector // [D], or nil
	KeyNorm        *op.Vector // [D], or nil
	PostNorm       *op.Vector // [C], before the MLP
	Gate, Up, Down *Slot
}

// Forward passes x [T, C] through the block.
func (b *Block) Forward(p *op.Pass, x mat.Tensor, a op.Angles) mat.Tensor {
	h := op.RMSNorm(p, x, b.InputNorm, b.Eps)
	qkv := op.Project(p, h, b.Query, b.Key, b.Value) // [T, C] -> [T, (H+2K)·D]
	if b.QueryNorm != nil {
		qkv = op.HeadNorm(p, qkv, b.Attention.Heads, b.QueryNorm, b.KeyNorm, b.Eps)
	}
	qkv = op.Rotary(p, qkv, b.Attention.Heads, a)
	y := op.Attention(p, qkv, b.Attention) // [T, H·D]
	x = op.ProjectAdd(p, y, b.Output, x)

	h = op.RMSNorm(p, x, b.PostNorm, b.Eps)
	g := op.Gate(p, op.Project(p, h, b.Gate, b.Up), b.Activation) // [T, I]
	return op.ProjectAdd(p, g, b.Down, x)
}

// Slots lists the block's projections in the order of the forward pass.
func (b *Block) Slots() []*Slot {
	return []*Slot{b.Query, b.Key, b.Value, b.Output, b.Gate, b.Up, b.Down}
}

// Vectors lists the block's norm weights with their names below the block.
func (b *Block) Vectors() []NamedVector {
	list := []NamedVector{{"input_layernorm.weight", b.InputNorm}}
	if b.QueryNorm != nil {
		list = append(list, NamedVector{"self_attn.q_norm.weight", b.QueryNorm}, NamedVector{"self_attn.k_norm.weight", b.KeyNorm})
	}
	return append(list, NamedVector{"post_attention_layernorm.weight", b.PostNorm})
}

// NamedVector is a vector under its name in the checkpoint.
type NamedVector struct {
	Name string
	*op.Vector
}
