package merge

import (
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
)

// A guess finds the ends of windows in one sweep instead of three: a sample says between which sizes each end must lie; the sweep
// counts what is smaller and keeps what lies between, which is little. Where a guess fails, because the sample was not like the rest or
// too much lies between, the end is found by counting bits.

// Of every block, so many runs of so many numbers are the sample: a 64th.
const (
	sampleRuns = 8
	sampleRun  = 64
)

// bracket is where an end is looked for: sizes from low to high.
type bracket struct {
	low, high uint32
	below     []int      // numbers of a smaller size, by block
	between   [][]uint32 // sizes in the bracket, by block
}

// guess finds the cuts; false means that it could not.
func (m *mixture) guess(cuts []*cut, of []int, channels int, numbers channel) (bool, error) {
	samples, err := m.sample(channels, numbers)
	if err != nil {
		return false, err
	}
	list := make([]bracket, len(cuts))
	for i, c := range cuts {
		var ok bool
		if list[i], ok = newBracket(samples[of[i]], c.rank, m.len()); !ok {
			return false, nil
		}
		list[i].below, list[i].between = make([]int, m.blocks(blockElements)), make([][]uint32, m.blocks(blockElements))
	}
	err = m.sweep(blockElements, func(b int, s *sheet, lo, hi int) error {
		for i := range list {
			list[i].count(b, numbers(s, of[i]))
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	for i, c := range cuts {
		if !list[i].settle(c) {
			return false, nil
		}
	}
	return true, nil
}

// sample collects sizes of each channel, in order.
func (m *mixture) sample(channels int, numbers channel) ([][]uint32, error) {
	blocks := m.blocks(blockElements)
	parts := make([][][]uint32, blocks)
	err := kernel.ParallelErr(m.ctx, blocks, func(b int) error {
		s := m.pool.Get().(*sheet)
		defer m.pool.Put(s)
		parts[b] = make([][]uint32, channels)
		for r := range sampleRuns {
			lo := b*blockElements + r*(blockElements/sampleRuns)
			if lo >= m.len() {
				break
			}
			m.read(s, lo, min(m.len(), lo+sampleRun))
			for c := range channels {
				for _, v := range numbers(s, c) {
					parts[b][c] = append(parts[b][c], sizeOf(v))
				}
			}
		}
		return nil
	})
	all := make([][]uint32, channels)
	for _, p := range parts {
		for c := range p {
			all[c] = append(all[c], p[c]...)
		}
	}
	for _, x := range all {
		slices.Sort(x)
	}
	return all, err
}

// newBracket guesses where the number of a rank of n lies. ok is false where that leaves too much between.
func newBracket(sample []uint32, rank, n int) (b bracket, ok bool) {
	const (
		deviations = 8 // of a sample's rank: numbers of one row are alike, so it strays further than coins
		most       = 8 // not more than an eighth in between: it is kept in memory
	)
	k := float64(len(sample))
	p := float64(rank) / float64(n)
	at, stray := int(p*k), int(deviations*math.Sqrt(p*(1-p)*k))+16
	if 2*stray > len(sample)/most {
		return b, false
	}
	b.high = math.MaxInt32
	if at-stray >= 0 {
		b.low = sample[at-stray]
	}
	if at+stray < len(sample) {
		b.high = sample[at+stray]
	}
	first, _ := slices.BinarySearch(sample, b.low)
	last, _ := slices.BinarySearch(sample, b.high+1)
	return b, last-first <= len(sample)/most
}

// count looks at one block.
func (b *bracket) count(block int, numbers []float32) {
	below, width := 0, b.high-b.low
	var between []uint32
	for _, v := range numbers {
		k := sizeOf(v)
		below += int((k - b.low) >> 31) // both are below 2³¹
		if k-b.low <= width {
			between = append(between, k)
		}
	}
	b.below[block], b.between[block] = below, between
}

// settle finds the cut in what was counted; false if it lies outside.
func (b *bracket) settle(c *cut) bool {
	rank := c.rank
	for _, n := range b.below {
		rank -= n
	}
	all := slices.Concat(b.between...)
	if rank < 0 || rank >= len(all) {
		return false
	}
	slices.Sort(all)
	c.size = all[rank]
	first, _ := slices.BinarySearch(all, c.size)
	c.before = rank - first
	c.equals = make([]int, len(b.between)+1)
	for i, list := range b.between {
		c.equals[i+1] = c.equals[i]
		for _, k := range list {
			if k == c.size {
				c.equals[i+1]++
			}
		}
	}
	return true
}
