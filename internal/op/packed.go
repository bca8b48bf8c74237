package op

import "github.com/graft-ml/graft/internal/kernel"

// packedHead are the keys and values of one key head of a reach, packed once for all of its queries.
type packedHead struct {
	keys   *kernel.Right // Kᵀ
	values *kernel.Right
}

// manyQueries is from how many queries on it pays to pack their keys and values.
const manyQueries = 16

// pack packs the keys and values of reaches that many queries see.
func (f *attention) pack(reaches []reach) {
	heads := f.s.KeyValue
	for i := range reaches {
		if r := &reaches[i]; r.seg.End-r.seg.Start >= manyQueries {
			r.packed, r.aligned = make([]packedHead, heads), true
		}
	}
	kernel.Parallel(len(reaches)*heads, func(i int) {
		if r := &reaches[i/heads]; r.packed != nil {
			k, v := f.head(r, 0, i%heads), f.head(r, 1, i%heads)
			r.packed[i%heads] = packedHead{kernel.MakeRight(k, true, f.p.Mode), kernel.MakeRight(v, false, f.p.Mode)}
			if r.paged != nil {
				f.p.Arena.Put(k.Data)
				f.p.Arena.Put(v.Data)
			}
		}
	})
}

// head are the keys (0) or values (1) of a key head, [n, D]: a copy where they are in pages.
func (f *attention) head(r *reach, which, kvHead int) kernel.Mat {
	from, to := kvHead*r.step, kvHead*r.step+f.s.Dim
	if r.paged == nil {
		return []kernel.Mat{r.keys, r.values}[which].ColRange(from, to)
	}
	y := kernel.NewMat(f.p.Arena.Get(r.n*f.s.Dim), r.n, f.s.Dim)
	r.paged.each(f.s.Layer, which, 0, r.n, func(page kernel.Mat, lo, hi int) {
		for i := lo; i < hi; i++ {
			copy(y.Row(i), page.Row(i - lo)[from:to])
		}
	})
	return y
}

// unpack gives the packed memory back.
func (r *reach) unpack() {
	for _, s := range r.packed {
		s.keys.Free()
		s.values.Free()
	}
}
