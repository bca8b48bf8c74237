package adapter

import (
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// end implements layer.End.
func (x *placed) end(p *op.Pass, j layer.Joint) mat.Tensor {
	v := op.Of(j.Residual).View()
	f := &tape.Formula{Trained: x.params(j.After), Record: func(t *tape.Tape, p *op.Pass, in []*tape.Node) *tape.Node {
		return x.join(&ending{Tape: t, pass: p, residual: in[0], after: j.After}, scaled(t, j.Scale, in[1]))
	}}
	return f.Compute(p, v.Rows, v.Cols, j.Residual, j.Branch)
}

// params are those of the bottleneck, and those of the model's norm if another method trains it.
func (x *placed) params(after *layer.Norm) []*nn.Param {
	list := x.trained.all()
	for _, v := range after.Vectors() {
		if v.Param != nil {
			list = append(list, v.Param)
		}
	}
	return list
}

// ending is one evaluation of what joins a branch and the residual stream.
type ending struct {
	*tape.Tape
	pass     *op.Pass
	residual *tape.Node
	after    *layer.Norm
}

// sum is LN(x + h).
func (e *ending) sum(h *tape.Node) *tape.Node { return e.norm(e.Add(e.residual, 1, h)) }

func (e *ending) norm(h *tape.Node) *tape.Node {
	if e.after == nil {
		return h
	}
	return e.Normalize(e.pass, h, e.after.Norm)
}

// join computes y from what the branch gave; see bottleneck.
func (x *placed) join(e *ending, h *tape.Node) *tape.Node {
	if x.parallel {
		h = e.Add(h, 1, x.wide(e, e.residual, nil))
	} else {
		r := h
		if x.lnBefore {
			h = e.Add(e.residual, 1, h)
			if x.residualFirst == "post_add" {
				r = h
			}
			h = e.norm(h)
		}
		if x.residualFirst == "false" {
			r = h
		}
		h = x.wide(e, h, r)
	}
	if x.lnAfter {
		return e.sum(h)
	}
	return h
}

// wide is up(z), with the inner residual before or after the adapter's own norm; nil for none.
func (x *placed) wide(e *ending, z, r *tape.Node) *tape.Node {
	read := z
	if x.before != nil {
		read = e.Normalize(e.pass, z, *x.before)
	}
	y := x.up(e.Tape, e.Activate(x.down(e.Tape, read), x.activation))
	if !x.parallel {
		y = x.skip(e, y)
	}
	y = e.Dropout(e.pass, x.stream, x.scale(e.Tape, y), x.dropout)
	if x.gate != nil {
		y = e.MulRows(y, segmentGates(e.Tape, e.pass.Segments, x.gate(e.Tape, z)))
	}
	if r != nil && x.innerFirst {
		y = e.Add(r, 1, y)
	}
	if x.after != nil {
		y = e.Normalize(e.pass, y, *x.after)
	}
	if r != nil && !x.innerFirst {
		y = e.Add(r, 1, y)
	}
	return y
}

// segmentGates are σ(s), averaged over each segment and given to each of its rows: [T, n] -> [T, n].
func segmentGates(t *tape.Tape, segments []op.Segment, s *tape.Node) *tape.Node {
	from := make([]int, s.Rows*s.Cols)
	for i, seg := range segments {
		for k := seg.Start * s.Cols; k < seg.End*s.Cols; k++ {
			from[k] = i*s.Cols + k%s.Cols
		}
	}
	return t.Gather(t.Means(t.Sigmoid(s), ranges(segments)), s.Rows, s.Cols, from)
}

// skip drops the whole of a segment with the probability stochastic_depth, in training, and scales the others up.
func (x *placed) skip(e *ending, y *tape.Node) *tape.Node {
	if !e.pass.Train || x.depth == 0 {
		return y
	}
	mask := kernel.NewMat(make([]float32, y.Rows), y.Rows, 1)
	for i, seg := range e.pass.Segments {
		if op.Random(e.pass.Seed, x.stream+1<<32, uint64(i))>>11 < uint64(x.depth*(1<<53)) {
			continue
		}
		for k := seg.Start; k < seg.End; k++ {
			mask.Data[k] = float32(1 / (1 - x.depth))
		}
	}
	return e.MulRows(y, e.Const(mask))
}
