package merge

import (
	"fmt"
	"sync"

	"github.com/graft-ml/graft/checkpoint"
)

// Folded is what Fold would write, to be read instead: base plus deltas in float32, not yet rounded. Safe for concurrent use.
type Folded struct {
	p    *plan
	pool sync.Pool
}

// NewFolded checks a job as Fold does. Out and what concerns it are not used.
func NewFolded(j Job) (*Folded, error) {
	p := &plan{Job: j, byTarget: map[string]Delta{}, origin: map[string]string{}}
	if err := p.prepare(); err != nil {
		return nil, err
	}
	return &Folded{p: p, pool: sync.Pool{New: func() any { return new(scratch) }}}, nil
}

// Tensors lists the tensors, in the order in which the base stores them.
func (f *Folded) Tensors() []checkpoint.Info { return f.p.tensors() }

// Config is config.json as the folded model has it.
func (f *Folded) Config() ([]byte, error) { return f.p.outConfig() }

// Rows are rows lo to hi of a tensor, of one that is no matrix its elements lo to hi.
//
//	dst [hi-lo, cols]
func (f *Folded) Rows(info checkpoint.Info, lo, hi int, dst []float32) error {
	src, err := f.p.bytes(info)
	if err != nil {
		return err
	}
	if !checkpoint.IsFloat(info.DType) {
		return fmt.Errorf("merge: tensor %q is %s, want F32, F16, BF16 or F64", info.Name, info.DType)
	}
	w := &work{info: info, src: src, out: info.DType, delta: f.p.byTarget[info.Name]}
	cols, size := 1, int(info.DType.Size())
	if len(info.Shape) == 2 {
		cols = info.Shape[1]
	}
	src = src[lo*cols*size : hi*cols*size]
	if w.delta == nil {
		checkpoint.Decode(dst, src, info.DType)
		return nil
	}
	s := f.pool.Get().(*scratch)
	defer f.pool.Put(s)
	s.grow((hi-lo)*cols, size)
	checkpoint.Decode(s.base, src, info.DType)
	w.apply(s, lo, hi)
	copy(dst, s.sum)
	return nil
}
