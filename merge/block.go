package merge

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"sync"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
)

// blockElements is about how many elements are worked on at once: three float32 copies of them fit a core's cache.
const blockElements = 1 << 15

// work is one tensor on its way from the checkpoint's bytes to the output's.
type work struct {
	info  checkpoint.Info
	src   []byte
	out   checkpoint.DType
	delta Delta // nil: only the dtype changes
}

// tally is what a block adds to the report. Blocks are summed in their order, so the report does not depend on threads.
type tally struct {
	max        float64
	changed    int
	lost, norm float64 // sums of squares
}

// scratch is the memory that one block needs.
type scratch struct {
	base, delta, sum []float32
	was, out         []byte
}

// fill computes a tensor block by block, several at a time, and writes each block at its place.
func (w *work) fill(ctx context.Context, pool *sync.Pool, wrote func(n int), to checkpoint.Section) (tally, error) {
	if w.delta == nil && w.out == w.info.DType {
		return tally{}, w.copy(ctx, wrote, to)
	}
	rows, cols := w.dims()
	step := max(1, blockElements/max(1, cols))
	blocks := (rows + step - 1) / step
	tallies := make([]tally, blocks)
	err := kernel.ParallelErr(ctx, blocks, func(i int) (err error) {
		s := pool.Get().(*scratch)
		defer pool.Put(s)
		lo, hi := i*step, min(rows, (i+1)*step)
		if tallies[i], err = w.block(s, lo, hi, cols, to); err == nil {
			wrote(len(s.out))
		}
		return err
	})
	var sum tally
	for _, t := range tallies {
		sum.max = max(sum.max, t.max)
		sum.changed += t.changed
		sum.lost += t.lost
		sum.norm += t.norm
	}
	return sum, err
}

// copy writes the tensor as it is.
func (w *work) copy(ctx context.Context, wrote func(n int), to checkpoint.Section) error {
	const piece = 1 << 22
	return kernel.ParallelErr(ctx, (len(w.src)+piece-1)/piece, func(i int) error {
		lo, hi := i*piece, min(len(w.src), (i+1)*piece)
		n, err := to.WriteAt(w.src[lo:hi], int64(lo))
		wrote(n)
		return err
	})
}

// dims is the tensor as a matrix; a tensor without a delta may have any shape, and is cut as one row per element.
func (w *work) dims() (rows, cols int) {
	if w.delta != nil {
		return w.delta.Dims()
	}
	return w.info.Len(), 1
}

// block computes and writes rows lo to hi.
func (w *work) block(s *scratch, lo, hi, cols int, to checkpoint.Section) (tally, error) {
	in, size := int(w.info.DType.Size()), int(w.out.Size())
	s.grow((hi-lo)*cols, size)
	src := w.src[lo*cols*in : hi*cols*in]
	checkpoint.Decode(s.base, src, w.info.DType)
	var t tally
	if w.delta == nil {
		checkpoint.Encode(s.out, s.base, w.out)
	} else {
		w.apply(s, lo, hi)
		var err error
		if t, err = w.round(s, src); err != nil {
			return t, fmt.Errorf("merge: %q: row %d and on: %w", w.info.Name, lo, err)
		}
	}
	_, err := to.WriteAt(s.out, int64(lo*cols)*int64(size))
	return t, err
}

// apply computes the delta of rows lo to hi and the sum of base and delta, in float32.
func (w *work) apply(s *scratch, lo, hi int) {
	switch d := w.delta.(type) {
	case Adder:
		clear(s.delta)
		d.AddTo(lo, hi, s.delta)
		copy(s.sum, s.base)
		kernel.Add(s.sum, s.delta)
	case Setter:
		d.SetTo(lo, hi, s.sum)
		s.difference()
	case Changer:
		d.Change(lo, hi, s.base, s.sum)
		s.difference()
	}
}

// difference computes the delta of a sum.
func (s *scratch) difference() {
	copy(s.delta, s.sum)
	kernel.Axpy(s.delta, -1, s.base)
}

// round makes the output's bytes of the sum, and measures what survives: the sum as rounded against the base as the
// output's dtype would have it. was are the base's bytes in its own dtype.
func (w *work) round(s *scratch, was []byte) (tally, error) {
	if w.out != w.info.DType {
		was = s.was
		checkpoint.Encode(was, s.base, w.out)
		checkpoint.Decode(s.base, was, w.out)
	}
	checkpoint.Encode(s.out, s.sum, w.out)
	checkpoint.Decode(s.sum, s.out, w.out)
	t := measure(s.base, s.delta, s.sum)
	t.changed = differing(was, s.out, int(w.out.Size()))
	if t.lost-t.lost != 0 || t.norm-t.norm != 0 {
		return t, w.notFinite(s)
	}
	return t, nil
}

// notFinite says what is wrong with the first number that is not finite.
func (w *work) notFinite(s *scratch) error {
	checkpoint.Decode(s.sum, s.out, w.out)
	for i, x := range s.sum {
		switch {
		case s.delta[i]-s.delta[i] != 0:
			return fmt.Errorf("the delta is %g at element %d of these, want finite numbers", s.delta[i], i)
		case s.base[i]-s.base[i] != 0:
			return fmt.Errorf("the base is %g at element %d of these, want finite numbers", s.base[i], i)
		case x-x != 0:
			return fmt.Errorf("the sum %g + %g at element %d of these is beyond %s; a wider dtype may hold it", s.base[i], s.delta[i], i, w.out)
		}
	}
	return nil
}

// measure compares what was stored with what should have been. It leaves sum - base - delta in sum.
//
//	max |delta|   Σ (sum - base - delta)²   Σ delta²
func measure(base, delta, sum []float32) (t tally) {
	most := uint32(0)
	for len(delta) > 0 {
		n := min(512, len(delta)) // all three fit the fastest cache, and few squares add up in float32 without harm
		b, d, s := base[:n], delta[:n], sum[:n]
		kernel.Axpy(s, -1, b)
		most = max(most, kernel.MaxSize(d))
		kernel.Axpy(s, -1, d)
		t.lost += squares(s)
		t.norm += squares(d)
		base, delta, sum = base[n:], delta[n:], sum[n:]
	}
	t.max = float64(math.Float32frombits(most))
	return t
}

// differing counts the numbers of size 2 or 4 bytes that differ between a and b, eight bytes at a time.
func differing(a, b []byte, size int) (n int) {
	high := uint64(0x8000_8000_8000_8000)
	if size == 4 {
		high = 0x8000_0000_8000_0000
	}
	for ; len(a) >= 8; a, b = a[8:], b[8:] {
		x := binary.LittleEndian.Uint64(a) ^ binary.LittleEndian.Uint64(b)
		n += bits.OnesCount64((x&^high + ^high | x) & high) // a carry into the highest bit, or that bit, tells of any
	}
	for ; len(a) >= size; a, b = a[size:], b[size:] {
		if !bytes.Equal(a[:size], b[:size]) {
			n++
		}
	}
	return n
}

// squares is Σ x², in float64 where the squares leave float32's range.
func squares(x []float32) float64 {
	if s := kernel.Dot(x, x); s > 1e-25 && s < 1e35 {
		return float64(s)
	}
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

// grow gives the scratch room for n elements.
func (s *scratch) grow(n, size int) {
	if cap(s.base) < n {
		s.base, s.delta, s.sum = make([]float32, n), make([]float32, n), make([]float32, n)
	}
	if cap(s.out) < n*size {
		s.was, s.out = make([]byte, n*size), make([]byte, n*size)
	}
	s.base, s.delta, s.sum = s.base[:n], s.delta[:n], s.sum[:n]
	s.was, s.out = s.was[:n*size], s.out[:n*size]
}
