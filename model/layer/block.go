package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Block is one layer of a transformer: a branch that mixes rows (attention) and one that mixes columns (MLP), each added
// to the residual stream, and between them in a decoder of two stacks one that looks at an encoder's rows. What differs between
// architectures is data:
//
//	x = After(x + s·Branch(f(Before(x))))     for f = attention, then for f = Cross if it is there, then for f = MLP
//	x = x + s·attention(Before(x)) + s·mlp(Before'(x))     if Parallel
//
// where each norm may be absent:
//
//	pre-norm (LLaMA, GPT-2)  Before
//	sandwich (Gemma 2)       Before, Branch
//	branch norm (OLMo 2)     Branch
//	post-norm (BERT)         After
type Block struct {
	Attention Branch
	Cross     *CrossAttention // nil = not there
	MLP       Branch

	AttentionNorms, CrossNorms, MLPNorms Norms

	Parallel bool    // both branches read x, there is no Cross; without a Before of its own the MLP reads the attention's
	FromNorm bool    // the residual is Before(x) rather than x
	Scale    float32 // s

	// AttentionEnd and MLPEnd, if set, take the place of the sum and of the norm after it. A method sets them, and nil when it is done.
	AttentionEnd, MLPEnd End
}

// End joins a branch and the residual stream.
type End func(p *op.Pass, j Joint) mat.Tensor

// Joint is what meets at the end of a branch: without an End the result is After(Residual + Scale·Branch). Each value may be read
// by one operator.
type Joint struct {
	Residual, Branch mat.Tensor // [T, C]
	Scale            float32
	After            *Norm // nil = none
}

// Layered is a model that shows its layers.
type Layered interface {
	Model
	// Layers lists the layers in order; one that is used several times is there as often.
	Layers() []*Block
	// Beginning is where the model begins.
	Beginning() *Stem
}

// Norms are where a branch is normed; nil = not there.
type Norms struct{ Before, Branch, After *Norm }

// Branch is what a block adds to its residual stream.
type Branch interface {
	// Mix computes from the normed h [T, C] what the output projection reads; with a nil projection y is the branch itself.
	Mix(p *op.Pass, h mat.Tensor, a []op.Angles) (y mat.Tensor, out op.Projection)
	// Slots lists the projections in the order of the forward pass.
	Slots() []*Slot
	// Norms lists the norms within.
	Norms() []*Norm
	// Copy is the branch over new slots and norms.
	Copy(c *Copier) Branch
}

// Forward passes x [T, C] through the block. a are the angles of the model's rotary positions.
func (b *Block) Forward(p *op.Pass, x mat.Tensor, a []op.Angles) mat.Tensor {
	if b.Parallel {
		return b.parallel(p, x, a)
	}
	x = b.branch(p, x, b.Attention, b.AttentionNorms, &b.AttentionEnd, a)
	if b.Cross != nil {
		x = b.branch(p, x, b.Cross, b.CrossNorms, nil, a)
	}
	return b.branch(p, x, b.MLP, b.MLPNorms, &b.MLPEnd, a)
}

// ForwardRows is Forward for a block of whose result only some rows are wanted, in their order: the others are looked at by these,
// and computed no further.
//
//	x [T, C]   y [len(rows), C]
func (b *Block) ForwardRows(p *op.Pass, x mat.Tensor, a []op.Angles, rows []int) mat.Tensor {
	n := b.AttentionNorms
	h := n.Before.apply(p, x)
	if b.FromNorm {
		x = h
	}
	y, out := b.Attention.Mix(p, h, a)
	own := p.Choose(rows)
	x = b.join(own, op.Take(p, x, rows), op.Take(p, y, rows), out, n, &b.AttentionEnd)
	return b.branch(own, x, b.MLP, b.MLPNorms, &b.MLPEnd, a)
}

// ByRow says that ForwardRows may be used: nothing behind the attention looks at other rows.
func (b *Block) ByRow() bool {
	if b.Parallel || b.Cross != nil || b.AttentionEnd != nil || b.MLPEnd != nil {
		return false
	}
	slots := b.Attention.Slots()
	for _, s := range append(b.MLP.Slots(), slots[len(slots)-1]) {
		if !ByRow(s.Projection) {
			return false
		}
	}
	return true
}

// ByRow says that a projection makes each row of its result of one row, whatever else is in the pass. Projections that do say so.
func ByRow(q op.Projection) bool {
	x, ok := q.(interface{ ByRow() bool })
	return ok && x.ByRow()
}

// branch is After(x + s·Branch(f(Before(x)))).
func (b *Block) branch(p *op.Pass, x mat.Tensor, f Branch, n Norms, end *End, a []op.Angles) mat.Tensor {
	h := n.Before.apply(p, x)
	switch {
	case b.FromNorm:
		x = h
	case n.Before != nil:
		h = op.Fleeting(h)
	}
	y, out := f.Mix(p, h, a)
	return b.join(p, x, y, out, n, end)
}

// parallel lets no value feed more than two operators: with two norms of x, the second and the residual read a fork.
func (b *Block) parallel(p *op.Pass, x mat.Tensor, a []op.Angles) mat.Tensor {
	h := b.AttentionNorms.Before.apply(p, x)
	h2 := h
	if n := b.MLPNorms.Before; n != nil {
		x = op.Fork(p, x)
		h2 = n.apply(p, x)
	}
	y, out := b.Attention.Mix(p, h, a)
	x = b.join(p, x, y, out, b.AttentionNorms, &b.AttentionEnd)
	y, out = b.MLP.Mix(p, h2, a)
	return b.join(p, x, y, out, b.MLPNorms, &b.MLPEnd)
}

// join is After(residual + s·Branch(out(y))), the sum in one operator where nothing comes between; or what the end makes of it.
func (b *Block) join(p *op.Pass, residual, y mat.Tensor, out op.Projection, n Norms, end *End) mat.Tensor {
	own := end != nil && *end != nil
	if out != nil && n.Branch == nil && b.Scale == 1 && !own && !routedAt(p, end) {
		return n.After.apply(p, op.ProjectAdd(p, y, out, residual))
	}
	if out != nil {
		y = op.Project(p, y, out)
	}
	y = n.Branch.apply(p, y)
	if own {
		return (*end)(p, Joint{Residual: residual, Branch: y, Scale: b.Scale, After: n.After})
	}
	sum := n.After.apply(p, op.Add(p, residual, y, b.Scale))
	if !routedAt(p, end) {
		return sum
	}
	return op.Reroute(p, sum, func(g *op.Group, take func(x mat.Tensor) mat.Tensor) mat.Tensor {
		f, ok := g.At(end).(End)
		if !ok {
			return nil
		}
		return f(g.Alone(), Joint{Residual: take(residual), Branch: take(y), Scale: b.Scale, After: n.After})
	})
}

// routedAt says that some rows of the pass have something in a place.
func routedAt(p *op.Pass, place any) bool {
	for range p.At(place) {
		return true
	}
	return false
}

// Slots lists the block's projections in the order of the forward pass.
func (b *Block) Slots() []*Slot {
	list := b.Attention.Slots()
	if b.Cross != nil {
		list = append(list, b.Cross.Slots()...)
	}
	return append(list, b.MLP.Slots()...)
}

// Vectors lists the weights and biases of the block's norms.
func (b *Block) Vectors() (list []NamedVector) {
	norms := []*Norm{b.AttentionNorms.Before}
	norms = append(norms, b.Attention.Norms()...)
	norms = append(norms, b.AttentionNorms.Branch, b.AttentionNorms.After)
	norms = append(norms, b.CrossNorms.Before, b.CrossNorms.Branch, b.CrossNorms.After, b.MLPNorms.Before)
	norms = append(norms, b.MLP.Norms()...)
	for _, n := range append(norms, b.MLPNorms.Branch, b.MLPNorms.After) {
		list = append(list, n.Vectors()...)
	}
	return list
}
