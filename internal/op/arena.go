package op

import (
	"math/bits"
	"sync"
)

// Arena hands out float32 buffers and takes them back, so that a training step allocates nothing after the first.
// Buffers come back dirty: whoever takes one writes every element or asks for Zeroed. Safe for concurrent use.
type Arena struct {
	mu         sync.Mutex
	free       map[int][][]float32 // by capacity
	out        map[*float32][]float32
	used, peak int // floats handed out now, and at most
}

// NewArena returns an empty arena.
func NewArena() *Arena { return &Arena{free: map[int][][]float32{}, out: map[*float32][]float32{}} }

// Get returns a buffer of n numbers with undefined content.
func (a *Arena) Get(n int) []float32 {
	if n == 0 {
		return nil
	}
	c := capacity(n)
	a.mu.Lock()
	defer a.mu.Unlock()
	var s []float32
	if l := len(a.free[c]); l > 0 {
		s, a.free[c] = a.free[c][l-1], a.free[c][:l-1]
	} else {
		s = make([]float32, c)
	}
	a.out[&s[0]] = s
	a.used += c
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
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(&s[:1][0])
}

func (a *Arena) put(first *float32) {
	s, ok := a.out[first]
	if !ok {
		return
	}
	delete(a.out, first)
	a.used -= len(s)
	a.free[len(s)] = append(a.free[len(s)], s)
}

// Reset takes back everything that is out but the buffers to keep: nobody may use another earlier buffer any more.
func (a *Arena) Reset(keep ...[]float32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for first := range a.out { // the order decides nothing: buffers of one capacity are alike
		kept := false
		for _, k := range keep {
			kept = kept || len(k) > 0 && &k[0] == first
		}
		if !kept {
			a.put(first)
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
