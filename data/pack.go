package data

import (
	"cmp"
	"math/bits"
	"slices"
)

// pack puts lengths into bins of at most capacity by best fit decreasing: the longest first, each into the fullest bin
// that takes it. What is longer than capacity has a bin for itself. Within a bin the order is that of the input, and so
// is that of the bins, by their first entries.
//
//	lengths [n]   result: indices into lengths, each once
func pack(lengths []int, capacity int) [][]int32 {
	order, total := make([]int32, len(lengths)), 0
	for i := range order {
		order[i] = int32(i)
		total += lengths[i]
	}
	capacity = min(capacity, total) // more would not change anything
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(lengths[b], lengths[a]) })
	var bins [][]int32
	open := newSpaces(capacity)
	for _, i := range order {
		n := lengths[i]
		if n > capacity {
			bins = append(bins, []int32{i})
			continue
		}
		space, bin := open.take(n)
		if bin < 0 {
			space, bin = capacity, len(bins)
			bins = append(bins, nil)
		}
		bins[bin] = append(bins[bin], i)
		open.put(space-n, bin)
	}
	for _, b := range bins {
		slices.Sort(b)
	}
	slices.SortFunc(bins, func(a, b []int32) int { return cmp.Compare(a[0], b[0]) })
	return bins
}

// spaces finds bins by the space left in them.
type spaces struct {
	head []int32  // by space: a bin with it, counted from 1; 0 = none
	next []int32  // by bin: another one with the same space
	used []uint64 // a bit for each space that some bin has
}

func newSpaces(capacity int) *spaces {
	return &spaces{head: make([]int32, capacity+1), used: make([]uint64, capacity/64+1)}
}

// take removes the bin with the least space of at least n; bin is -1 if there is none.
func (s *spaces) take(n int) (space, bin int) {
	for w := n / 64; w < len(s.used); w++ {
		mask := s.used[w]
		if w == n/64 {
			mask &= ^uint64(0) << (n % 64)
		}
		if mask == 0 {
			continue
		}
		space = w*64 + bits.TrailingZeros64(mask)
		bin = int(s.head[space]) - 1
		if s.head[space] = s.next[bin]; s.head[space] == 0 {
			s.used[w] &^= 1 << (space % 64)
		}
		return space, bin
	}
	return 0, -1
}

func (s *spaces) put(space, bin int) {
	for bin >= len(s.next) {
		s.next = append(s.next, 0)
	}
	s.next[bin], s.head[space] = s.head[space], int32(bin)+1
	s.used[space/64] |= 1 << (space % 64)
}
