package kernel

import (
	"math/bits"
	"sync"
	"unsafe"
)

// pool hands out buffers that begin at a cache line and takes them back. Their content is undefined. Safe for concurrent use.
type pool[E any] struct {
	classes [4 * 64]sync.Pool
}

var (
	floats pool[float32]
	halves pool[uint16]
	octets pool[byte]
)

// get returns a buffer of n numbers.
func (p *pool[E]) get(n int) *[]E {
	class, size := sizeClass(n)
	if s, ok := p.classes[class].Get().(*[]E); ok {
		*s = (*s)[:n]
		return s
	}
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
	if s != nil {
		class, _ := sizeClass(cap(*s))
		p.classes[class].Put(s)
	}
}

// sizeClass is the class of buffers that hold n numbers, and their size: four sizes per power of two.
func sizeClass(n int) (class, size int) {
	n = max(n, 256)
	e := bits.Len(uint(n-1)) - 3 // the size is a multiple of 2^e, between 4·2^e and 8·2^e
	q := (n + 1<<e - 1) >> e
	return 4*e + q&3, q << e
}
