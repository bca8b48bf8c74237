package op

import (
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// prefix is that of segment i, or nil.
func (f *attention) prefix(i int) mat.Tensor {
	if i < len(f.p.Prefixes) && !f.s.Bare {
		return f.p.Prefixes[i]
	}
	return nil
}

// prefixes are the values that hold the prefixes.
func (f *attention) prefixes() []mat.Tensor {
	if f.s.Bare {
		return nil
	}
	return distinct(f.p.Prefixes)
}

// distinct lists the different values of a list, without nil, in the order of their first place.
func distinct(list []mat.Tensor) (out []mat.Tensor) {
	for _, x := range list {
		if x != nil && !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// prefixed are the columns of a prefix [n, L·2·K·D] that are this layer's keys and values of segment i, [n, K·D] each.
func (f *attention) prefixed(i int, x kernel.Mat) (k, v kernel.Mat) {
	wide := f.s.KeyValue * f.s.Dim
	at := 2 * f.s.Prefix * wide
	if n := f.s.Stacked; n > 0 {
		x, at = x.RowRange(i*n, (i+1)*n), 0
	}
	return x.ColRange(at, at+wide), x.ColRange(at+wide, at+2*wide)
}

// joined copies the prefix's keys and values and the segment's own into one matrix each.
func (f *attention) joined(i int, prefix mat.Tensor, k, v kernel.Mat) reach {
	pk, pv := f.prefixed(i, Of(prefix).View())
	join := func(first, own kernel.Mat) kernel.Mat {
		n := first.Rows
		y := kernel.NewMat(f.p.Arena.Get((n+own.Rows)*first.Cols), n+own.Rows, first.Cols)
		for i := range n {
			copy(y.Row(i), first.Row(i))
		}
		f.s.compact(y.RowRange(n, y.Rows), own)
		return y
	}
	return reach{seg: f.p.Segments[i], number: i, keys: join(pk, k), values: join(pv, v), step: f.s.Dim, past: pk.Rows, prefix: prefix}
}

// withGradients gives a reach room for its gradients: that of the rows themselves, or of its own where it holds copies.
func (f *attention) withGradients(r *reach, dx kernel.Mat) {
	if f.s.Cross {
		if f.p.Memory.RequiresGrad() {
			r.dKeys, r.dValues = f.remembered(r.index, f.p.partsGrad(f.p.Memory).View())
		}
		return
	}
	if r.prefix == nil {
		r.dKeys, r.dValues = f.own(dx, r.seg)
		return
	}
	n := r.keys.Rows
	r.dKeys = kernel.NewMat(f.p.Arena.Zeroed(n*r.keys.Cols), n, r.keys.Cols)
	r.dValues = kernel.NewMat(f.p.Arena.Zeroed(n*r.keys.Cols), n, r.keys.Cols)
}

// spread adds the gradients of copies to those of the prefix and of the segment's own rows.
func (f *attention) spread(r *reach, dx kernel.Mat) {
	if r.prefix == nil {
		return
	}
	h := f.s
	dk, dv := f.own(dx, r.seg)
	for _, g := range []struct{ from, to kernel.Mat }{{r.dKeys, dk}, {r.dValues, dv}} {
		for t := range g.to.Rows {
			from, to := g.from.Row(r.past+t), g.to.Row(t)
			for j := range h.KeyValue {
				kernel.Add(to[j*h.step():j*h.step()+h.Dim], from[j*h.Dim:(j+1)*h.Dim])
			}
		}
	}
	if !r.prefix.RequiresGrad() {
		return
	}
	dk, dv = f.prefixed(r.number, f.p.partsGrad(r.prefix).View())
	for i := range r.past {
		kernel.Add(dk.Row(i), r.dKeys.Row(i))
		kernel.Add(dv.Row(i), r.dValues.Row(i))
	}
}

// part gives the copies back.
func (f *attention) part(r *reach) {
	if r.prefix != nil {
		for _, m := range []kernel.Mat{r.keys, r.values, r.dKeys, r.dValues} {
			f.p.Arena.Put(m.Data)
		}
	}
}
