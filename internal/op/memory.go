package op

import "github.com/graft-ml/graft/internal/kernel"

// across is what a segment's queries see of its source.
func (f *attention) across(i int, seg Segment) reach {
	var k, v kernel.Mat
	if f.p.Cache != nil {
		m := f.p.Cache.Memory(seg.Sequence)
		k, v = f.layerColumns(m)
	} else {
		k, v = f.remembered(i, Of(f.p.Memory).View())
	}
	return reach{seg: seg, index: i, keys: k, values: v, step: f.s.Dim, n: k.Rows}
}

// remembered are this layer's keys and values of a segment's source in the memory, or in its gradient.
func (f *attention) remembered(i int, memory kernel.Mat) (k, v kernel.Mat) {
	from := f.p.Sources[i]
	return f.layerColumns(memory.RowRange(from.Start, from.End))
}

// layerColumns are the columns of this layer's keys and of its values, [n, K·D] each.
func (f *attention) layerColumns(x kernel.Mat) (k, v kernel.Mat) {
	wide := f.s.KeyValue * f.s.Dim
	at := 2 * f.s.Layer * wide
	return x.ColRange(at, at+wide), x.ColRange(at+wide, at+2*wide)
}
