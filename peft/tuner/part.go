package tuner

import (
	"iter"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// part is a layer in its slot.
type part struct {
	site   *Site
	layer  *Layer
	base   op.Projection // what the slot held
	stream uint64        // of dropout's random numbers
	shared []named       // parameters of the bank
}

func (l *part) attach() {
	l.base = l.site.Slot.Projection
	l.site.Slot.Projection = l
}

func (l *part) detach() { l.site.Slot.Projection = l.base }

// Dims implements op.Projection.
func (l *part) Dims() (in, out int) { return l.site.In, l.site.Out }

// ByRow implements layer.ByRow.
func (l *part) ByRow() bool { return !l.layer.Across && layer.ByRow(l.base) }

// Reading implements op.Reader: a tape that begins at the input holds it.
func (l *part) Reading() op.Reading {
	if l.layer.Add == nil {
		return op.Holds
	}
	return min(op.Reads, op.ReadingOf(l.base))
}

// Params implements op.Projection: the graph must know of the shared ones, too.
func (l *part) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, list := range [][]named{l.site.params, l.shared} {
			for _, x := range list {
				if !yield(x.name, x.p) {
					return
				}
			}
		}
		l.base.Params()(yield)
	}
}

// saved is what Backward needs beyond x.
type saved struct {
	base any        // of a layer that adds
	tape *tape.Tape // of a layer that applies, with the result and the input
	x, y *tape.Node
}

// Call is one evaluation of a formula.
type Call struct {
	*tape.Tape
	pass   *op.Pass
	stream uint64
	slot   *layer.Slot
	linear bool // without biases: the weight is read off
}

func (l *part) call(p *op.Pass) *Call {
	return &Call{Tape: tape.New(p.Arena), pass: p, stream: l.stream, slot: l.site.Slot}
}

// Forward implements op.Projection. What is added is computed again by Backward as far as that needs it: weights that a
// formula makes need not be kept.
func (l *part) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	c := l.call(p)
	if l.layer.Add != nil {
		k := &saved{base: l.base.Forward(p, y, x)}
		tape.AddTo(y, l.layer.Add(c, c.Const(x.Mat)).Value())
		c.Free()
		return k
	}
	in := c.Input(x.Mat, x.Mat) // whether its gradient is wanted is not known yet
	k := &saved{tape: c.Tape, x: in}
	k.y = l.layer.Apply(c, in, func(h *tape.Node) *tape.Node { return l.onTape(c, h, in, x) })
	copyTo(y, k.y.Value())
	if !p.Grad {
		c.Free()
		return nil
	}
	return k
}

func copyTo(dst, src kernel.Mat) {
	for i := range dst.Rows {
		copy(dst.Row(i), src.Row(i))
	}
}

// onTape is the base as an operation of the tape.
func (l *part) onTape(c *Call, h, in *tape.Node, x *op.Input) *tape.Node {
	var kept any
	input := func() (*op.Input, func()) {
		if h == in {
			return x, func() {}
		}
		i := op.NewInput(h.Value())
		return i, i.Free
	}
	return c.Op(h.Rows, l.site.Out, func(y kernel.Mat) {
		i, done := input()
		defer done()
		kept = l.base.Forward(c.pass, y, i)
	}, func(dy kernel.Mat) {
		i, done := input()
		defer done()
		l.base.Backward(c.pass, h.Grad(), dy, i, kept)
	}, h)
}

// Backward implements op.Projection.
func (l *part) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, kept any) {
	k := kept.(*saved)
	if l.layer.Add != nil {
		c := l.call(p)
		c.Backward(l.layer.Add(c, c.Input(x.Mat, dx)), dy)
		c.Free()
		l.base.Backward(p, dx, dy, x, k.base)
		return
	}
	if dx.Rows == 0 { // nobody wants it, but the formula has a place for it
		dx = kernel.NewMat(p.Arena.Zeroed(x.Rows*x.Cols), x.Rows, x.Cols)
		defer p.Arena.Put(dx.Data)
	}
	k.x.GradInto(dx)
	k.tape.Backward(k.y, dy)
	k.tape.Free()
}

// Dropout sets elements of x to zero with the probability, in training.
func (c *Call) Dropout(x *tape.Node, probability float64) *tape.Node {
	return c.Tape.Dropout(c.pass, c.stream, x, probability)
}

// Segments are those of the pass.
func (c *Call) Segments() []op.Segment { return c.pass.Segments }

// Weight is the frozen weight of the projection, [out, in].
func (c *Call) Weight() *tape.Node {
	f := c.slot.Base
	in, out := f.Dims()
	return c.Lazy(out, in, func(m kernel.Mat) {
		if !f.Transposed {
			kernel.Split(out, 8, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					f.W.Row(m.Row(i), i)
				}
			})
			return
		}
		row := make([]float32, out)
		for i := range in {
			f.W.Row(row, i)
			for o, v := range row {
				m.Row(o)[i] = v
			}
		}
	})
}

// Bias is the frozen bias of the projection, [1, out]; nil if it has none, and where the weight is read off.
func (c *Call) Bias() *tape.Node {
	b := c.slot.Base.Bias
	if b == nil || c.linear {
		return nil
	}
	return c.Const(kernel.NewMat(b, 1, len(b)))
}

// Training says that the pass is one of training.
func (c *Call) Training() bool { return c.pass.Train }

// Shift is y + f·v with the row v added to every row: what belongs to the bias. It is y where the weight is read off.
func (c *Call) Shift(y *tape.Node, f float32, v *tape.Node) *tape.Node {
	if c.linear || v == nil {
		return y
	}
	return c.AddRow(y, f, v)
}
