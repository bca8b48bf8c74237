package kernel

import (
	"math/bits"
	"slices"
	"sync"
	"unsafe"
)

// pool hands out buffers that begin at a cache line and takes them back. Their content is undefined. Safe for concurrent use.
//
// Small buffers are left to the garbage collector now and then. Large ones stay as long as they are used, for to make one costs as much
// as a small product. They have room for a power of two, so that texts of all lengths soon find them; of the room that nobody ever wrote
// to, the system gives no memory.
type pool[E any] struct {
	classes [4 * 64]sync.Pool

	mu   sync.Mutex
	idle [64][]resting[E] // large ones, by the power of two, in the order in which they came back
	gets int
}

// resting is a large buffer that nobody holds.
type resting[E any] struct {
	s    *[]E
	gets int // of the pool when it came back
}

const (
	// staying is how many numbers a buffer has that stays.
	staying = 1 << 13
	// unasked is after how many others a buffer is given up that nobody asked for: some dozen steps of training.
	unasked = 1 << 15
)

var (
	floats pool[float32]
	halves pool[uint16]
	octets pool[byte]
)

// get returns a buffer of n numbers.
func (p *pool[E]) get(n int) *[]E {
	if n > staying {
		return p.large(n)
	}
	class, size := sizeClass(n)
	if s, ok := p.classes[class].Get().(*[]E); ok {
		*s = (*s)[:n]
		return s
	}
	return aligned[E](n, size)
}

// large returns a buffer that stays.
func (p *pool[E]) large(n int) *[]E {
	class := bits.Len(uint(n - 1))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gets++
	last := len(p.idle[class]) - 1
	if last < 0 {
		return aligned[E](n, 1<<class)
	}
	s := p.idle[class][last].s
	p.idle[class] = p.idle[class][:last]
	*s = (*s)[:n]
	return s
}

// aligned makes a buffer of n numbers with room for size.
func aligned[E any](n, size int) *[]E {
	var e E
	line := 64 / int(unsafe.Sizeof(e))
	s := make([]E, size+line)
	skip := 0
	if off := int(uintptr(unsafe.Pointer(&s[0])) % 64); off != 0 {
		skip = line - off/int(unsafe.Sizeof(e))
	}
	s = s[skip : skip+n : skip+size]
	return &s
}

// put takes a buffer back; nil is ignored.
func (p *pool[E]) put(s *[]E) {
	if s == nil {
		return
	}
	if cap(*s) <= staying {
		class, _ := sizeClass(cap(*s))
		p.classes[class].Put(s)
		return
	}
	class := bits.Len(uint(cap(*s) - 1))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle[class] = append(p.idle[class], resting[E]{s, p.gets})
	if p.gets-p.idle[class][0].gets > unasked {
		p.idle[class] = slices.Delete(p.idle[class], 0, 1)
	}
}

// sizeClass is the class of buffers that hold n numbers, and their size: four sizes per power of two.
func sizeClass(n int) (class, size int) {
	n = max(n, 256)
	e := bits.Len(uint(n-1)) - 3 // the size is a multiple of 2^e, between 4·2^e and 8·2^e
	q := (n + 1<<e - 1) >> e
	return 4*e + q&3, q << e
}
