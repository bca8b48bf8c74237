package op

import (
	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/mat"
)

// Recompute is f of x, of which nothing but the result is kept: Backward computes f again for what it needs [chen2016]. Apart from the
// parameters it reads, f depends on x and on the prefixes of the pass alone, and does the same each time. Gradients are bit for bit
// those of f itself.
//
//	x [T, C]   y [T, D]
func Recompute(p *Pass, x mat.Tensor, f func(p *Pass, x mat.Tensor) mat.Tensor) mat.Tensor {
	if !p.Grad {
		return f(p, x)
	}
	n := &recompute{p: p, x: x, f: f}
	return node(n)
}

type recompute struct {
	p *Pass
	x mat.Tensor
	f func(p *Pass, x mat.Tensor) mat.Tensor
	y *Tensor
	// attended are the results of attention within f, if they are kept.
	attended attended
	// trains is a parameter that needs a gradient if one within f does.
	trains *Tensor
}

// Operands are what the gradient flows to outside of f; the parameters within it get theirs in Backward.
func (n *recompute) Operands() []mat.Tensor {
	list := append([]mat.Tensor{n.x}, distinct(n.p.Prefixes)...)
	if n.trains != nil {
		list = append(list, n.trains)
	}
	return list
}

func (n *recompute) Forward() (mat.Tensor, error) {
	q := *n.p
	q.Grad, q.asGrad = false, true
	if q.KeepAttention {
		q.attended = &n.attended
	}
	q.Prefixes = alike(n.p.Prefixes, leaf)
	mark := n.p.Arena.Mark()
	y := n.f(&q, leaf(n.x))
	if y.RequiresGrad() {
		n.trains = NewTensor(make([]float32, 1), 1, 1)
		n.trains.SetRequiresGrad(true)
	}
	n.y = Of(y)
	n.p.Arena.ResetSince(mark, append(n.attended.buffers(), n.y.data)...)
	n.attended.again = true
	return n.y, nil
}

// Backward runs the graph of f, which ends at leaves that stand for x and the prefixes.
func (n *recompute) Backward(gy mat.Tensor) error {
	n.y.release()
	q := *n.p
	if q.KeepAttention {
		q.attended = &n.attended
	}
	q.Prefixes = alike(n.p.Prefixes, func(x mat.Tensor) *Tensor {
		l := leaf(x)
		if x.RequiresGrad() {
			l.grad = n.p.partsGrad(x) // adds to the same numbers
		}
		return l
	})
	x := leaf(n.x)
	y := n.f(&q, x)
	y.AccGrad(Of(gy))
	if err := ag.Backward(y); err != nil {
		return err
	}
	for _, x := range distinct(n.p.Prefixes) {
		if x.RequiresGrad() {
			x.AccGrad(n.p.partsGrad(x))
		}
	}
	if n.x.RequiresGrad() {
		n.x.AccGrad(x.Grad())
	}
	return nil
}

// attended are results of attention in the order in which a block computes them: what a pass that keeps nothing else leaves for the one
// that computes the block again.
type attended struct {
	list  []attention
	again bool // they are taken, not left
}

// take is the next result, if it was left.
func (a *attended) take(f *attention) bool {
	if a == nil || !a.again || len(a.list) == 0 {
		return false
	}
	f.y, f.lse = a.list[0].y, a.list[0].lse
	a.list = a.list[1:]
	return true
}

// leave notes a result.
func (a *attended) leave(f *attention) {
	if a != nil && !a.again {
		a.list = append(a.list, attention{y: f.y, lse: f.lse})
	}
}

// buffers are those of the results.
func (a *attended) buffers() (list [][]float32) {
	for i := range a.list {
		list = append(list, a.list[i].y.data, a.list[i].lse)
	}
	return list
}

// leaf is a value at which a graph ends, over the same numbers, which stay whose they were.
func leaf(x mat.Tensor) *Tensor {
	v := Of(x)
	v.keep()
	t := NewTensor(v.data, v.rows, v.cols)
	t.SetRequiresGrad(x.RequiresGrad())
	return t
}

// alike is a list of other values that are the same where those of the list are; nil stays nil.
func alike(list []mat.Tensor, other func(x mat.Tensor) *Tensor) []mat.Tensor {
	made := map[mat.Tensor]mat.Tensor{}
	out := make([]mat.Tensor, len(list))
	for i, x := range list {
		if x == nil {
			continue
		}
		if made[x] == nil {
			made[x] = other(x)
		}
		out[i] = made[x]
	}
	return out
}
