package op

import (
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
)

// singles puts the blocks of one query over a cache first and counts them: most rows of a step that continues many texts are such. Some
// heads that share a key head are then one piece of work, so that keys and values are read once for them.
func (f *attention) singles(list []block) int {
	one := func(b *block) bool { return f.p.Cache != nil && b.seg.End-b.seg.Start == 1 }
	n := 0
	for i := range list {
		if one(&list[i]) {
			n++
		}
	}
	if n > 0 && n < len(list) {
		slices.SortStableFunc(list, func(a, b block) int {
			switch x, y := one(&a), one(&b); {
			case x && !y:
				return -1
			case y && !x:
				return 1
			}
			return 0
		})
	}
	return n
}

// headsAtOnce are the most heads of such a piece: as many rows as the kernels of few rows take at a time.
const headsAtOnce = 8

// headParts is in how many pieces all heads of a query are.
func (f *attention) headParts() int {
	return f.s.KeyValue * ((f.s.group() + headsAtOnce - 1) / headsAtOnce)
}

// single computes a piece of the heads of the block's one query. There is no backward of it.
func (f *attention) single(b *block, piece int, x, y kernel.Mat) {
	h := f.s
	parts, group := f.headParts()/h.KeyValue, h.group()
	kvHead, part := piece/parts, piece%parts
	head := kvHead*group + group*part/parts
	n, nk := kvHead*group+group*(part+1)/parts-head, b.k1-b.k0
	buf := f.p.Arena.Get(n * nk)
	defer f.p.Arena.Put(buf)
	s := kernel.NewMat(buf, n, nk)
	t := b.seg.Start
	q := kernel.NewMat(x.Row(t)[h.queryAt(head):], n, h.Dim) // heads that share a key head lie side by side
	f.products(s, q, b, kvHead)
	for g := range n {
		f.finish(s.Row(g), nil, b, 0, 0, head+g)
		kernel.SoftmaxRow(s.Row(g))
	}
	f.weigh(kernel.NewMat(y.Row(t)[head*h.Dim:], n, h.Dim), s, b, kvHead, false)
}
