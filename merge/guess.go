package merge

import (
	"math"
	"math/bits"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
)

// A guess finds the ends of windows in one sweep instead of three: a sample says between which two sizes each end must lie; the sweep
// counts what is smaller or just as large as one of them and keeps what lies between, which is little, also where few sizes are those of
// many numbers. Where a guess fails, because the sample was not like the rest or too much lies between, the end is found by counting bits.

// Of every block, so many runs of so many numbers are the sample: a 64th.
const (
	sampleRuns = 8
	sampleRun  = 64
)

// bracket is where an end is looked for: sizes from low to high.
type bracket struct {
	low, high uint32
	counts    []kernel.Counts // by block
	between   [][]uint32      // sizes strictly between, by block
}

// guess finds the cuts; false means that it could not.
func (m *mixture) guess(cuts []*cut, of []int, channels int, numbers channel) (bool, error) {
	samples, err := m.sample(channels, numbers)
	if err != nil {
		return false, err
	}
	list, ok := make([]bracket, len(cuts)), make([]bool, len(cuts))
	kernel.Parallel(len(cuts), func(i int) { list[i], ok[i] = newBracket(samples[of[i]], cuts[i].rank, m.len()) })
	if slices.Contains(ok, false) {
		return false, nil
	}
	for i := range list {
		list[i].counts, list[i].between = make([]kernel.Counts, m.blocks(blockElements)), make([][]uint32, m.blocks(blockElements))
	}
	err = m.sweep(blockElements, func(b int, s *sheet, lo, hi int) error {
		for i := range list {
			list[i].count(b, s, numbers(s, of[i]))
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	kernel.Parallel(len(cuts), func(i int) { ok[i] = list[i].settle(cuts[i]) })
	return !slices.Contains(ok, false), nil
}

// sample collects sizes of each channel.
func (m *mixture) sample(channels int, numbers channel) ([][]uint32, error) {
	blocks := m.blocks(blockElements)
	parts := make([][][]uint32, blocks)
	err := kernel.ParallelErr(m.ctx, blocks, func(b int) error {
		s := m.pool.Get().(*sheet)
		defer m.pool.Put(s)
		parts[b] = make([][]uint32, channels)
		for c := range channels {
			parts[b][c] = make([]uint32, 0, sampleRuns*sampleRun)
		}
		for r := range sampleRuns {
			lo := b*blockElements + r*(blockElements/sampleRuns)
			if lo >= m.len() {
				break
			}
			m.read(s, lo, min(m.len(), lo+sampleRun))
			for c := range channels {
				for _, v := range numbers(s, c) {
					parts[b][c] = append(parts[b][c], kernel.Size(v))
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := make([][]uint32, channels)
	for c := range all {
		list := make([][]uint32, blocks)
		for b := range list {
			list[b] = parts[b][c]
		}
		all[c] = slices.Concat(list...)
	}
	return all, nil
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
		b.low, _ = nth([][]uint32{sample}, 0, math.MaxInt32, at-stray)
	}
	if at+stray < len(sample) {
		b.high, _ = nth([][]uint32{sample}, b.low, math.MaxInt32, at+stray-smaller(sample, b.low))
	}
	between := smaller(sample, b.high) - smaller(sample, b.low+1)
	return b, between <= len(sample)/most
}

// smaller counts sizes below a limit.
func smaller(list []uint32, limit uint32) (n int) {
	for _, k := range list {
		n += int((k - limit) >> 31) // both are below 2³¹, or the limit is just that
	}
	return n
}

// nth is the size of a rank among those from low to high in lists, and how many of these are smaller. It is found without sorting:
// counting by 12 bits, a few times over.
func nth(lists [][]uint32, low, high uint32, rank int) (size uint32, before int) {
	const digit = 12
	for low < high {
		var counts [1 << digit]int
		width, shift := high-low, max(0, bits.Len32(high-low)-digit)
		for _, list := range lists {
			for _, k := range list {
				if k-low <= width {
					counts[(k-low)>>shift]++
				}
			}
		}
		d := 0
		for ; before+counts[d] <= rank && d < len(counts)-1; d++ {
			before += counts[d]
		}
		low += uint32(d) << shift
		high = min(high, low+1<<shift-1)
	}
	return low, before
}

// count looks at one block.
func (b *bracket) count(block int, s *sheet, numbers []float32) {
	if room := len(numbers) + 8; cap(s.sizes) < room {
		s.sizes = make([]uint32, room)
	}
	n, counts := kernel.Between(s.sizes[:cap(s.sizes)], numbers, b.low, b.high)
	b.counts[block], b.between[block] = counts, slices.Clone(s.sizes[:n])
}

// settle finds the cut in what was counted; false if it lies outside.
func (b *bracket) settle(c *cut) bool {
	var all kernel.Counts
	inside := 0
	for i, n := range b.counts {
		all.Below += n.Below
		all.AtLow += n.AtLow
		all.AtHigh += n.AtHigh
		inside += len(b.between[i])
	}
	c.equals = make([]int, len(b.between)+1)
	switch rank := c.rank - all.Below; {
	case rank < 0 || rank >= all.AtLow+inside+all.AtHigh:
		return false
	case rank < all.AtLow:
		c.size, c.before = b.low, rank
		c.addUp(func(i int) int { return b.counts[i].AtLow })
	case rank < all.AtLow+inside:
		size, before := nth(b.between, b.low+1, b.high-1, rank-all.AtLow)
		c.size, c.before = size, rank-all.AtLow-before
		c.addUp(func(i int) (n int) {
			for _, k := range b.between[i] {
				if k == size {
					n++
				}
			}
			return n
		})
	default:
		c.size, c.before = b.high, rank-all.AtLow-inside
		c.addUp(func(i int) int { return b.counts[i].AtHigh })
	}
	return true
}

// addUp fills in the numbers of the cut's size before each block, from those in each.
func (c *cut) addUp(in func(block int) int) {
	for i := range c.equals[1:] {
		c.equals[i+1] = c.equals[i] + in(i)
	}
}
