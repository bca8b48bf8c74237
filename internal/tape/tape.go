// Package tape differentiates the formulas that methods compute inside one projection.
//
// The graph of a model consists of few large operators (package op), and a projection is part of one of them. What a method
// does in there is a formula over small matrices: a Tape records it, computes what is asked for, and walks back through it on
// the same goroutine, in the order of its making, so that results do not depend on threads. Values are computed when they
// are first read: a walk back that needs no values computes none.
//
//	t := tape.New(arena)
//	y := t.MatMulT(t.MatMulT(x, t.Param(a)), t.Param(b))   // y = x·Aᵀ·Bᵀ
//	use(y.Value())
//	t.Backward(y, dy)                                      // adds to the gradients of a, b and x
//	t.Free()
package tape

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// Tape is the record of one formula. Not safe for concurrent use.
type Tape struct {
	arena *op.Arena
	nodes []*Node
	one   *Node // see Identity
}

// New returns an empty tape whose buffers come from the arena.
func New(arena *op.Arena) *Tape { return &Tape{arena: arena} }

// Node is a matrix on a tape.
type Node struct {
	Rows, Cols int

	tape  *Tape
	value kernel.Mat
	known bool              // value is computed
	fill  func(kernel.Mat)  // computes it; the buffer is zero
	grad  kernel.Mat        // of no rows until somebody adds to it
	back  func(kernel.Mat)  // adds to the gradients of the operands
	needs bool              // the gradient is wanted
	own   [][]float32       // buffers of the arena
	into  func() kernel.Mat // where the gradient of a leaf lies
}

// Value is the matrix. It must not be written to.
func (n *Node) Value() kernel.Mat {
	if !n.known {
		n.value = n.tape.zeroed(n, n.Rows, n.Cols)
		n.known = true
		n.fill(n.value)
	}
	return n.value
}

// Needs says that the gradient of the node is wanted.
func (n *Node) Needs() bool { return n.needs }

// Grad is the gradient to add to.
func (n *Node) Grad() kernel.Mat {
	if n.grad.Rows == 0 && n.Rows > 0 {
		if n.into != nil {
			n.grad = n.into()
		} else {
			n.grad = n.tape.zeroed(n, n.Rows, n.Cols)
		}
	}
	return n.grad
}

func (t *Tape) zeroed(n *Node, rows, cols int) kernel.Mat {
	b := t.arena.Zeroed(rows * cols)
	n.own = append(n.own, b)
	return kernel.NewMat(b, rows, cols)
}

func (t *Tape) add(n *Node) *Node {
	n.tape = t
	t.nodes = append(t.nodes, n)
	return n
}

// Const puts a matrix without a gradient on the tape.
func (t *Tape) Const(m kernel.Mat) *Node {
	return t.add(&Node{Rows: m.Rows, Cols: m.Cols, value: m, known: true})
}

// Lazy puts a matrix without a gradient on the tape that fill computes if it is read. The buffer is zero.
func (t *Tape) Lazy(rows, cols int, fill func(kernel.Mat)) *Node {
	return t.add(&Node{Rows: rows, Cols: cols, fill: fill})
}

// Param puts a parameter on the tape. Its gradient is the parameter's lasting one.
func (t *Tape) Param(p *nn.Param) *Node {
	m := op.Of(p).View()
	return t.add(&Node{Rows: m.Rows, Cols: m.Cols, value: m, known: true, needs: true,
		into: func() kernel.Mat { return kernel.NewMat(op.GradOf(p), m.Rows, m.Cols) }})
}

// Input puts a matrix on the tape whose gradient is added to dx. If dx has no rows it is not wanted.
func (t *Tape) Input(x, dx kernel.Mat) *Node {
	return t.add(&Node{Rows: x.Rows, Cols: x.Cols, value: x, known: true, needs: dx.Rows > 0, into: func() kernel.Mat { return dx }})
}

// GradInto says where the gradient of an input is added.
func (n *Node) GradInto(dx kernel.Mat) { n.into = func() kernel.Mat { return dx } }

// Identity is the identity of n rows. Products with it cost nothing.
func (t *Tape) Identity(n int) *Node {
	t.one = t.Lazy(n, n, func(m kernel.Mat) {
		for i := range n {
			m.Row(i)[i] = 1
		}
	})
	return t.one
}

// IsIdentity says that the node is Identity's.
func (n *Node) IsIdentity() bool { return n == n.tape.one }

// Op records any operation. fill writes the result, whose buffer is zero; back adds to the gradients of those operands that
// need them.
func (t *Tape) Op(rows, cols int, fill, back func(kernel.Mat), operands ...*Node) *Node {
	n := &Node{Rows: rows, Cols: cols, fill: fill, back: back}
	for _, o := range operands {
		n.needs = n.needs || o.needs
	}
	return t.add(n)
}

// Backward adds the gradients of everything below y, given that of y.
func (t *Tape) Backward(y *Node, dy kernel.Mat) {
	if !y.needs {
		return
	}
	AddTo(y.Grad(), dy)
	for i := len(t.nodes) - 1; i >= 0; i-- {
		if n := t.nodes[i]; n.needs && n.back != nil && n.grad.Rows > 0 {
			n.back(n.grad)
		}
	}
}

// Free gives all buffers back. No node may be used any more.
func (t *Tape) Free() {
	for _, n := range t.nodes {
		for _, b := range n.own {
			t.arena.Put(b)
		}
	}
	t.nodes = nil
}

// AddTo adds a matrix to another of its size.
func AddTo(dst, src kernel.Mat) {
	kernel.Split(dst.Rows, 8, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			kernel.Add(dst.Row(i), src.Row(i))
		}
	})
}

// want panics unless the shapes agree: formulas are written by us, sizes are checked when parameters are made.
func want(name string, ok bool, nodes ...*Node) {
	if ok {
		return
	}
	s := "tape: " + name + ":"
	for _, n := range nodes {
		s += fmt.Sprintf(" [%d, %d]", n.Rows, n.Cols)
	}
	panic(s)
}
