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
		y := f.room(first.Rows + own.Rows)
		for i := range first.Rows {
			copy(y.Row(i), first.Row(i))
		}
		f.s.compact(y.RowRange(first.Rows, y.Rows), own)
		return y
	}
	return reach{seg: f.p.Segments[i], keys: join(pk, k), values: join(pv, v), step: f.s.Dim, past: pk.Rows, prefix: prefix, copied: true}
}

// behind copies the keys and values of the segment that segment i comes after, and its own, into one matrix each.
func (f *attention) behind(i int, x, k, v kernel.Mat) reach {
	seg := f.p.Segments[i]
	fk, fv := f.own(x, f.p.Segments[seg.After-1])
	join := func(first, own kernel.Mat) kernel.Mat {
		y := f.room(first.Rows + own.Rows)
		f.s.compact(y.RowRange(0, first.Rows), first)
		f.s.compact(y.RowRange(first.Rows, y.Rows), own)
		return y
	}
	return reach{seg: seg, keys: join(fk, k), values: join(fv, v), step: f.s.Dim, past: fk.Rows, copied: true}
}

// room is a matrix for keys or values of n rows, [n, K·D].
func (f *attention) room(n int) kernel.Mat {
	wide := f.s.KeyValue * f.s.Dim
	return kernel.NewMat(f.p.Arena.Get(n*wide), n, wide)
}

// withGradients gives a reach room for its gradients: that of the rows themselves, or of its own where it holds copies.
func (f *attention) withGradients(r *reach, dx kernel.Mat) {
	if f.s.Cross {
		if f.p.Memory.RequiresGrad() {
			r.dKeys, r.dValues = f.remembered(r.index, f.p.partsGrad(f.p.Memory).View())
		}
		return
	}
	if !r.copied {
		r.dKeys, r.dValues = f.own(dx, r.seg)
		return
	}
	r.dKeys, r.dValues = f.room(r.keys.Rows), f.room(r.keys.Rows)
	clear(r.dKeys.Data)
	clear(r.dValues.Data)
}

// spread adds the gradients of copies to those of what came before and of the segment's own rows.
func (f *attention) spread(r *reach, dx kernel.Mat) {
	if !r.copied {
		return
	}
	f.spreadTo(dx, r.seg, r.dKeys.RowRange(r.past, r.dKeys.Rows), r.dValues.RowRange(r.past, r.dValues.Rows))
	if r.seg.After > 0 {
		f.spreadTo(dx, f.p.Segments[r.seg.After-1], r.dKeys.RowRange(0, r.past), r.dValues.RowRange(0, r.past))
		return
	}
	if !r.prefix.RequiresGrad() {
		return
	}
	dk, dv := f.prefixed(r.index, f.p.partsGrad(r.prefix).View())
	for i := range r.past {
		kernel.Add(dk.Row(i), r.dKeys.Row(i))
		kernel.Add(dv.Row(i), r.dValues.Row(i))
	}
}

// spreadTo adds gradients of compact keys and values to those of a segment's rows.
func (f *attention) spreadTo(dx kernel.Mat, seg Segment, dKeys, dValues kernel.Mat) {
	h := f.s
	dk, dv := f.own(dx, seg)
	for _, g := range []struct{ from, to kernel.Mat }{{dKeys, dk}, {dValues, dv}} {
		for t := range g.to.Rows {
			from, to := g.from.Row(t), g.to.Row(t)
			for j := range h.KeyValue {
				kernel.Add(to[j*h.step():j*h.step()+h.Dim], from[j*h.Dim:(j+1)*h.Dim])
			}
		}
	}
}

// part gives the copies back.
func (f *attention) part(r *reach) {
	r.unpack()
	if r.copied {
		for _, m := range []kernel.Mat{r.keys, r.values, r.dKeys, r.dValues} {
			f.p.Arena.Put(m.Data)
		}
	}
}
