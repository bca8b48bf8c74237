package op

import (
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
)

// singles puts the blocks of one query over a cache first and counts them: most rows of a step that continues many texts are such. All
// heads that share a key head are then one piece of work, so that keys and values are read once.
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

// single computes the block of one query for a key head. There is no backward of it.
func (f *attention) single(b *block, kvHead int, x, y kernel.Mat) {
	h := f.s
	group, nk := h.group(), b.k1-b.k0
	buf := f.p.Arena.Get(group * nk)
	defer f.p.Arena.Put(buf)
	s := kernel.NewMat(buf, group, nk)
	t, head := b.seg.Start, kvHead*group
	q := kernel.NewMat(x.Row(t)[h.queryAt(head):], group, h.Dim) // heads that share a key head lie side by side
	f.products(s, q, b, kvHead)
	for g := range group {
		f.finish(s.Row(g), nil, b, 0, 0, head+g)
		kernel.SoftmaxRow(s.Row(g))
	}
	f.weigh(kernel.NewMat(y.Row(t)[head*h.Dim:], group, h.Dim), s, b, kvHead, false)
}
