package op

import "slices"

// slab is a stretch of memory of which parts are handed out. Where one part lies depends on what was asked for before, not on sizes seen
// in earlier steps, so that steps of different lengths share the same memory.
type slab struct {
	mem     []float32
	holes   []hole // what is free: in order, and no two side by side
	touched int    // the largest end of a part so far: what lies behind has never been written, and takes no memory
	since   int    // resets when a part was last asked for
}

// hole is n free floats from at on.
type hole struct{ at, n int }

func newSlab(n int) *slab { return &slab{mem: make([]float32, n), holes: []hole{{0, n}}} }

// line is how many floats a cache line holds: parts begin at one.
const line = 16

// take finds n floats in the first hole that has them; false if none has.
func (s *slab) take(n int) (at int, ok bool) {
	for i := range s.holes {
		h := &s.holes[i]
		if h.n < n {
			continue
		}
		at = h.at
		if h.at, h.n = h.at+n, h.n-n; h.n == 0 {
			s.holes = slices.Delete(s.holes, i, i+1)
		}
		s.touched = max(s.touched, at+n)
		return at, true
	}
	return 0, false
}

// put makes n floats from at on free again.
func (s *slab) put(at, n int) {
	i, _ := slices.BinarySearchFunc(s.holes, at, func(h hole, at int) int { return h.at - at })
	before := i > 0 && s.holes[i-1].at+s.holes[i-1].n == at
	after := i < len(s.holes) && s.holes[i].at == at+n
	switch {
	case before && after:
		s.holes[i-1].n += n + s.holes[i].n
		s.holes = slices.Delete(s.holes, i, i+1)
	case before:
		s.holes[i-1].n += n
	case after:
		s.holes[i] = hole{at, n + s.holes[i].n}
	default:
		s.holes = slices.Insert(s.holes, i, hole{at, n})
	}
}

// idle says that no part is out.
func (s *slab) idle() bool { return len(s.holes) == 1 && s.holes[0].n == len(s.mem) }
