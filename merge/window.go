package merge

import (
	"sync"

	"github.com/graft-ml/graft/internal/kernel"
)

// A window keeps the numbers of some ranks, when all of a tensor are put in order of their size; of equal ones, what comes first in
// the tensor is the smaller. It is found without sorting, by a guess (see guess.go) or surely: two sweeps count the upper and then the lower bits of sizes, which
// order as the numbers do, and a third one counts equal ones where some of these stay and some go.
type window struct {
	low, high cut
}

// cut is one end of a window: numbers of this size are before it if fewer than before of them came earlier.
type cut struct {
	open   bool // there is no such end
	rank   int  // so many numbers are before it
	size   uint32
	before int
	equals []int // of the size, in the blocks before each
}

// ranks lo up to hi, of n.
func newWindow(lo, hi, n int) window {
	return window{low: cut{open: lo <= 0, rank: lo}, high: cut{open: hi >= n, rank: hi}}
}

// cutsOf lists the ends that have to be found.
func cutsOf(list []window) (all []*cut, of []int) {
	for i := range list {
		for _, c := range []*cut{&list[i].low, &list[i].high} {
			if !c.open {
				all, of = append(all, c), append(of, i)
			}
		}
	}
	return all, of
}

// channel gives the numbers whose sizes one window is about.
type channel func(s *sheet, window int) []float32

const (
	lowBits = 15 // of the 31 bits of a size
	buckets = 1 << 16
)

// histograms are counts that several goroutines add to. Counts commute, so it does not matter who counted what.
type histograms struct {
	mu   sync.Mutex
	n    int // of channels
	free [][]uint32
	all  [][]uint32
}

func (h *histograms) take() []uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := len(h.free); k > 0 {
		c := h.free[k-1]
		h.free = h.free[:k-1]
		return c
	}
	c := make([]uint32, h.n*buckets)
	h.all = append(h.all, c)
	return c
}

func (h *histograms) put(c []uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = append(h.free, c)
}

// find is the bucket of a channel that holds the number of a rank, and how many are in those before.
func (h *histograms) find(channel, rank int) (bucket, before int) {
	for bucket = range buckets {
		n := 0
		for _, c := range h.all {
			n += int(c[channel*buckets+bucket])
		}
		if before+n > rank {
			return bucket, before
		}
		before += n
	}
	return buckets - 1, before
}

// locate finds the ends of windows, one for each channel.
func (m *mixture) locate(list []window, numbers channel) error {
	cuts, of := cutsOf(list)
	if len(cuts) == 0 {
		return nil
	}
	if ok, err := m.guess(cuts, of, len(list), numbers); ok || err != nil {
		return err
	}
	if err := m.upper(cuts, of, len(list), numbers); err != nil {
		return err
	}
	if err := m.lower(cuts, of, numbers); err != nil {
		return err
	}
	return m.equals(cuts, of, numbers)
}

// upper finds the upper bits of the sizes at the cuts; before counts numbers of smaller ones.
func (m *mixture) upper(cuts []*cut, of []int, channels int, numbers channel) error {
	h := &histograms{n: channels}
	err := m.sweep(blockElements, func(_ int, s *sheet, lo, hi int) error {
		count := h.take()
		defer h.put(count)
		for c := range channels {
			mine := count[c*buckets : (c+1)*buckets]
			for _, v := range numbers(s, c) {
				mine[kernel.Size(v)>>lowBits]++
			}
		}
		return nil
	})
	for i, c := range cuts {
		var bucket int
		bucket, c.before = h.find(of[i], c.rank)
		c.size = uint32(bucket) << lowBits
	}
	return err
}

// lower finds the lower bits of the sizes at the cuts; then before counts, of those of the same size, how many are before.
func (m *mixture) lower(cuts []*cut, of []int, numbers channel) error {
	h := &histograms{n: len(cuts)}
	err := m.sweep(blockElements, func(_ int, s *sheet, lo, hi int) error {
		count := h.take()
		defer h.put(count)
		for i, c := range cuts {
			mine := count[i*buckets : (i+1)*buckets]
			for _, v := range numbers(s, of[i]) {
				if k := kernel.Size(v); (k^c.size)>>lowBits == 0 {
					mine[k&(1<<lowBits-1)]++
				}
			}
		}
		return nil
	})
	for i, c := range cuts {
		bucket, before := h.find(i, c.rank-c.before)
		c.size |= uint32(bucket)
		c.before = c.rank - c.before - before
	}
	return err
}

// equals counts, for each block, the numbers of a cut's size in the blocks before it.
func (m *mixture) equals(cuts []*cut, of []int, numbers channel) error {
	for _, c := range cuts {
		c.equals = make([]int, m.blocks(blockElements)+1)
	}
	err := m.sweep(blockElements, func(b int, s *sheet, lo, hi int) error {
		for i, c := range cuts {
			n := 0
			for _, v := range numbers(s, of[i]) {
				if kernel.Size(v) == c.size {
					n++
				}
			}
			c.equals[b+1] = n
		}
		return nil
	})
	for _, c := range cuts {
		for b := range c.equals[1:] {
			c.equals[b+1] += c.equals[b]
		}
	}
	return err
}

// drop sets the numbers outside the window to zero. x are those from lo on, which begin a block; sizes decide, and may be x. The high
// end goes first: what it sets to zero, the low end does not miss.
func (w *window) drop(x, sizes []float32, lo int) {
	for _, c := range []*cut{&w.high, &w.low} {
		if c.open {
			continue
		}
		below := c == &w.low
		at, end := c.equals[lo/blockElements], c.equals[lo/blockElements+1]
		switch {
		case at >= c.before: // all of the cut's size are behind it
			dropFrom(x, sizes, c.size, below)
		case end <= c.before: // all are before it
			dropFrom(x, sizes, c.size+1, below)
		default:
			c.dropSome(x, sizes, at, below)
		}
	}
}

// dropFrom sets numbers of a size below the limit to zero, or those from it on.
func dropFrom(x, sizes []float32, limit uint32, below bool) {
	if below {
		kernel.KeepFrom(x, sizes, limit)
	} else {
		kernel.KeepBelow(x, sizes, limit)
	}
}

// dropSome does it in a block in which some of the cut's size are before it and some behind; at of them came in earlier blocks.
func (c *cut) dropSome(x, sizes []float32, at int, below bool) {
	for i, v := range sizes {
		k := kernel.Size(v)
		if before := k < c.size || k == c.size && at < c.before; before == below {
			x[i] = 0
		}
		if k == c.size {
			at++
		}
	}
}
