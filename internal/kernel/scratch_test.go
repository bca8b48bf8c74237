package kernel

import (
	"runtime"
	"testing"
	"unsafe"
)

// TestPool gives large buffers back, collects garbage, and asks again for about as much.
func TestPool(t *testing.T) {
	var p pool[float32]
	for _, n := range []int{1, 100, staying, staying + 1, 3 * staying} {
		s := p.get(n)
		if len(*s) != n || uintptr(unsafe.Pointer(&(*s)[0]))%64 != 0 {
			t.Fatalf("get(%d): %d numbers, want them at the beginning of a cache line", n, len(*s))
		}
		p.put(s)
	}
	one, two := p.get(3*staying), p.get(4*staying)
	if &(*one)[0] == &(*two)[0] {
		t.Error("a buffer was handed out twice")
	}
	p.put(one)
	p.put(two)
	runtime.GC()
	runtime.GC()
	for range 2 {
		if s := p.get(2*staying + 5); &(*s)[0] != &(*one)[0] && &(*s)[0] != &(*two)[0] {
			t.Error("a buffer of the same power of two was not used again")
		}
	}
	p.put(one)
	for range unasked + 1 {
		p.put(p.get(16 * staying))
	}
	p.put(two)
	if s := p.get(4 * staying); &(*s)[0] != &(*two)[0] || p.get(4*staying) == one {
		t.Error("a buffer that nobody asked for was kept")
	}
	p.put(nil)
}
