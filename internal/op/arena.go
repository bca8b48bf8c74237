package op

import (
	"math/bits"
	"sync"
)

// Arena hands out float32 buffers and takes them back, so that a training step allocates nothing after the first.
// Buffers come back dirty: whoever takes one writes every element or asks for Zeroed. Safe for concurrent use.
type Arena struct {
	mu   sync.Mutex
	free [64][][]float32 // by capacity 2^i … with steps of an eighth, see class
	out  map[*float32]int
	peak int
	used int
}

// NewArena returns an empty arena.
func NewArena() *Arena { return &Arena{out: map[*float32]int{}} }

// Get returns a buffer of n numbers with undefined content.
func (a *Arena) Get(n int) []float32 {
	if n == 0 {
		return nil
	}
	c := class(n)
	a.mu.Lock()
	defer a.mu.Unlock()
	var s []float32
	if l := len(a.free[c]); l > 0 {
		s = a.free[c][l-1]
		a.free[c] = a.free[c][:l-1]
	} else {
		s = make([]float32, 1<<c)
	}
	a.out[&s[0]] = c
	a.used += 1 << c
	a.peak = max(a.peak, a.used)
	return s[:n]
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
	p := &s[:1][0]
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.out[p]
	if !ok {
		return
	}
	delete(a.out, p)
	a.used -= 1 << c
	a.free[c] = append(a.free[c], s[:1<<c])
}

// Reset takes back everything that is out: nobody may use an earlier buffer any more.
func (a *Arena) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	// The arena keeps the largest set it ever needed.
	for p, c := range a.out {
		delete(a.out, p)
		_ = c
	}
	a.used = 0
}

// class is the power of two that holds n.
func class(n int) int { return bits.Len(uint(n - 1)) }
