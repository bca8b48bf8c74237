package data

import (
	"cmp"
	"slices"
)

// worthSharing is how long a common beginning must be. Copies of its keys and values cost a little.
const worthSharing = 16

// Share is the batch with what several of its texts begin with laid out once, as a segment of its own that theirs come after
// (Segment.After). The texts must be those of a causal language model, with nothing but tokens, targets and weights. What is
// shared has no targets. A batch with nothing to share is returned as it is.
func (b *Batch) Share() *Batch {
	groups := b.alike()
	if groups == nil {
		return b
	}
	out := &Batch{}
	if b.Weights != nil {
		out.Weights = []float32{}
	}
	for _, g := range groups {
		after := 0
		if g.length > 0 {
			s := b.Segments[g.segments[0]]
			out.take(b, s.Start, s.Start+g.length)
			after = len(out.Segments)
			out.Spared += g.spared()
		}
		for _, i := range g.segments {
			s := b.Segments[i]
			out.take(b, s.Start+g.length, s.End)
			out.Segments[len(out.Segments)-1].After = after
		}
	}
	return out
}

// take appends rows of another batch as a segment.
func (b *Batch) take(from *Batch, lo, hi int) {
	start := len(b.Tokens)
	b.Tokens = append(b.Tokens, from.Tokens[lo:hi]...)
	b.Positions = append(b.Positions, from.Positions[lo:hi]...)
	b.Targets = append(b.Targets, from.Targets[lo:hi]...)
	if b.Weights != nil {
		b.Weights = append(b.Weights, from.Weights[lo:hi]...)
	}
	b.Segments = append(b.Segments, Segment{Start: start, End: len(b.Tokens)})
}

// group are segments that begin alike.
type group struct {
	segments []int
	length   int // rows that they share; 0 = none
}

func (g group) spared() int { return g.length * (len(g.segments) - 1) }

// alike sorts the segments into groups; nil if nothing is worth sharing.
func (b *Batch) alike() (groups []group) {
	begin := make([][]int32, len(b.Segments)) // what of each may be shared: up to the first target, and not its last row
	order := make([]int, len(b.Segments))
	for i, s := range b.Segments {
		n := slices.IndexFunc(b.Targets[s.Start:s.End], func(t int32) bool { return t != NoTarget })
		if n < 0 {
			n = s.End - s.Start
		}
		begin[i], order[i] = b.Tokens[s.Start:s.Start+min(n, s.End-s.Start-1)], i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(slices.Compare(begin[i], begin[j]), i-j) })
	shared := false
	for k := 0; k < len(order); {
		g := group{segments: order[k : k+1]}
		length := len(begin[order[k]])
		for k++; k < len(order); k++ { // as long as that spares more
			n := common(begin[g.segments[0]][:length], begin[order[k]])
			if next := (group{order[k-len(g.segments) : k+1], n}); n < worthSharing || next.spared() < g.spared() {
				break
			} else {
				g, length = next, n
			}
		}
		shared = shared || g.length > 0
		groups = append(groups, g)
	}
	if !shared {
		return nil
	}
	return groups
}

// common is how many tokens two lists begin with alike.
func common(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
