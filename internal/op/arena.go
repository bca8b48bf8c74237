package op

import (
	"math/bits"
	"slices"
	"sync"
)

// Arena hands out float32 buffers and takes them back, so that a training step allocates nothing after the first ones, whatever their
// lengths are: large buffers are parts of slabs, small ones have lists by capacity. Buffers come back dirty: whoever takes one writes
// every element or asks for Zeroed. Safe for concurrent use.
type Arena struct {
	mu         sync.Mutex
	slabs      []*slab        // asked in this order, so that the last ones rest where a step needs less
	free       map[int][]idle // small buffers, by capacity
	out        map[*float32]lent
	lent       int // buffers so far
	used, peak int // floats handed out now, and at most
	resets     int // counts steps
}

// idle is a small buffer that nobody holds.
type idle struct {
	s     []float32
	since int // resets when it came back
}

// lent is a buffer that somebody holds.
type lent struct {
	s      []float32
	number int   // how many were lent before
	from   *slab // nil of small ones
	at     int   // where in the slab
}

const (
	// large is from how many floats on a buffer is part of a slab: below, lists waste little and are faster.
	large = 1 << 14
	// leastSlab is the fewest floats of a slab. A slab is made for several of the buffer that had no room: the next step's may be longer.
	leastSlab = 1 << 20
	// patience is after how many steps without use memory is left to the garbage collector: batches differ in length, so a slab may
	// rest for a while.
	patience = 64
)

// NewArena returns an empty arena.
func NewArena() *Arena { return &Arena{free: map[int][]idle{}, out: map[*float32]lent{}} }

// Get returns a buffer of n numbers with undefined content.
func (a *Arena) Get(n int) []float32 {
	if n == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var b lent
	if n < large {
		b.s = a.small(capacity(n))
	} else {
		b = a.part((n + line - 1) &^ (line - 1))
	}
	b.number = a.lent
	a.lent++
	a.out[&b.s[0]] = b
	a.used += len(b.s)
	a.peak = max(a.peak, a.used)
	return b.s[:n]
}

// small finds an idle buffer of the capacity or up to half more, or makes one.
func (a *Arena) small(c int) []float32 {
	for size := c; size <= c+c/2; size = capacity(size + 1) {
		if l := len(a.free[size]); l > 0 {
			s := a.free[size][l-1].s
			a.free[size] = a.free[size][:l-1]
			return s
		}
	}
	return make([]float32, c)
}

// part finds room for n floats in a slab, or makes a slab.
func (a *Arena) part(n int) lent {
	total := 0
	for _, s := range a.slabs {
		if at, ok := s.take(n); ok {
			s.since = a.resets
			return lent{s: s.mem[at : at+n : at+n], from: s, at: at}
		}
		total += len(s.mem)
	}
	s := newSlab(max(leastSlab, 4*n, total/4))
	s.since = a.resets
	a.slabs = append(a.slabs, s)
	at, _ := s.take(n)
	return lent{s: s.mem[at : at+n : at+n], from: s, at: at}
}

// Zeroed returns a buffer of n zeros.
func (a *Arena) Zeroed(n int) []float32 {
	s := a.Get(n)
	clear(s)
	return s
}

// Put gives a buffer back. Buffers that are not of this arena, and nil, are ignored.
func (a *Arena) Put(s []float32) {
	if cap(s) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(&s[:1][0])
}

func (a *Arena) put(first *float32) {
	b, ok := a.out[first]
	if !ok {
		return
	}
	delete(a.out, first)
	n := len(b.s)
	a.used -= n
	if b.from != nil {
		b.from.put(b.at, n)
		return
	}
	a.free[n] = append(a.free[n], idle{b.s, a.resets})
}

// Reset takes back everything that is out but the buffers to keep: nobody may use another earlier buffer any more.
func (a *Arena) Reset(keep ...[]float32) {
	a.ResetSince(0, keep...)
	if len(keep) == 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.resets++
		a.forget()
	}
}

// Mark is a moment for ResetSince.
func (a *Arena) Mark() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lent
}

// ResetSince takes back what has gone out since a mark but the buffers to keep.
func (a *Arena) ResetSince(mark int, keep ...[]float32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for first, b := range a.out { // the order decides nothing: buffers of one capacity are alike, and holes join
		kept := b.number < mark
		for _, k := range keep {
			kept = kept || len(k) > 0 && &k[0] == first
		}
		if !kept {
			a.put(first)
		}
	}
}

// forget drops the memory that no step has used for a while. Small buffers longest unused lie first in their list.
func (a *Arena) forget() {
	a.slabs = slices.DeleteFunc(a.slabs, func(s *slab) bool { return s.idle() && a.resets-s.since > patience })
	for c, list := range a.free {
		n := 0
		for n < len(list) && a.resets-list[n].since > patience {
			n++
		}
		switch {
		case n == len(list):
			delete(a.free, c)
		case n > 0:
			clear(list[:n])
			a.free[c] = list[n:]
		}
	}
}

// Trim drops the memory that nobody holds, for the garbage collector.
func (a *Arena) Trim() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slabs = slices.DeleteFunc(a.slabs, (*slab).idle)
	clear(a.free)
}

// PeakBytes is the most memory that was out at once.
func (a *Arena) PeakBytes() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return 4 * int64(a.peak)
}

// HeldBytes is the memory that the arena takes, out or not. Of slabs that is what was written once.
func (a *Arena) HeldBytes() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, s := range a.slabs {
		n += s.touched
	}
	for c, list := range a.free {
		n += c * len(list)
	}
	for _, b := range a.out {
		if b.from == nil {
			n += len(b.s)
		}
	}
	return 4 * int64(n)
}

// capacity rounds n up to one of eight steps between two powers of two, so that less than an eighth is wasted.
func capacity(n int) int {
	if n <= 64 {
		return 64
	}
	step := 1 << (bits.Len(uint(n-1)) - 4)
	return (n + step - 1) &^ (step - 1)
}
