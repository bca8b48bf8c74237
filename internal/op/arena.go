package op

import (
	"math/bits"
	"sync"
)

// Arena hands out float32 buffers and takes them back, so that a training step allocates nothing after the first.
// Buffers come back dirty: whoever takes one writes every element or asks for Zeroed. Safe for concurrent use.
type Arena struct {
	mu         sync.Mutex
	free       map[int][]idle // by capacity
	out        map[*float32]lent
	lent       int // buffers so far
	used, peak int // floats handed out now, and at most
	resets     int // counts steps
}

// idle is a buffer that nobody holds.
type idle struct {
	s     []float32
	since int // resets when it came back
}

// lent is a buffer that somebody holds.
type lent struct {
	s      []float32
	number int // how many were lent before
}

// patience is after how many steps without use a buffer is left to the garbage collector: batches differ in length, so a
// capacity may rest for a while.
const patience = 8

// NewArena returns an empty arena.
func NewArena() *Arena { return &Arena{free: map[int][]idle{}, out: map[*float32]lent{}} }

// Get returns a buffer of n numbers with undefined content.
func (a *Arena) Get(n int) []float32 {
	if n == 0 {
		return nil
	}
	c := capacity(n)
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.take(c)
	a.out[&s[0]] = lent{s, a.lent}
	a.lent++
	a.used += len(s)
	a.peak = max(a.peak, a.used)
	return s[:n]
}

// take finds an idle buffer of the capacity or up to half more, or makes one.
func (a *Arena) take(c int) []float32 {
	for size := c; size <= c+c/2; size = capacity(size + 1) {
		if l := len(a.free[size]); l > 0 {
			s := a.free[size][l-1].s
			a.free[size] = a.free[size][:l-1]
			return s
		}
	}
	return make([]float32, c)
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
	s := b.s
	a.used -= len(s)
	a.free[len(s)] = append(a.free[len(s)], idle{s, a.resets})
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
	for first, b := range a.out { // the order decides nothing: buffers of one capacity are alike
		kept := b.number < mark
		for _, k := range keep {
			kept = kept || len(k) > 0 && &k[0] == first
		}
		if !kept {
			a.put(first)
		}
	}
}

// forget drops the buffers that no step has used for a while. Those longest unused lie first in their list.
func (a *Arena) forget() {
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

// Trim drops the buffers that nobody holds, for the garbage collector.
func (a *Arena) Trim() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.free)
}

// PeakBytes is the most memory that was out at once.
func (a *Arena) PeakBytes() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return 4 * int64(a.peak)
}

// capacity rounds n up to one of eight steps between two powers of two, so that less than an eighth is wasted.
func capacity(n int) int {
	if n <= 64 {
		return 64
	}
	step := 1 << (bits.Len(uint(n-1)) - 4)
	return (n + step - 1) &^ (step - 1)
}
