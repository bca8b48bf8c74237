package checkpoint

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
)

// exponents says where the exponent of a number lies: in a word of 8 bytes that holds several numbers, mask covers all
// exponents, and adding one in the lowest place of an exponent that is all ones carries into the sign's place, carry.
var exponents = map[DType]struct{ mask, one, carry uint64 }{
	F16:  {0x7c00_7c00_7c00_7c00, 0x0400_0400_0400_0400, 0x8000_8000_8000_8000},
	BF16: {0x7f80_7f80_7f80_7f80, 0x0080_0080_0080_0080, 0x8000_8000_8000_8000},
	F32:  {0x7f80_0000_7f80_0000, 0x0080_0000_0080_0000, 0x8000_0000_8000_0000},
	F64:  {0x7ff0_0000_0000_0000, 0x0010_0000_0000_0000, 0x8000_0000_0000_0000},
}

// FirstNonFinite finds the first NaN or infinity of a tensor; false if there is none, no such tensor, or the tensor does
// not hold real numbers.
func (c *Checkpoint) FirstNonFinite(name string) (index int, found bool) {
	t, ok := c.tensors[name]
	if !ok {
		return 0, false
	}
	return firstNonFinite(t.data, t.DType)
}

// firstNonFinite scans pieces in parallel; the first piece with a hit wins, whoever finds it.
func firstNonFinite(b []byte, d DType) (int, bool) {
	const piece = 1 << 22 // bytes; a multiple of every size
	if !IsFloat(d) {
		return 0, false
	}
	pieces := (len(b) + piece - 1) / piece
	var next, best atomic.Int64
	best.Store(int64(len(b)))
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), pieces) {
		wg.Go(func() {
			for {
				lo := int(next.Add(1)-1) * piece
				if lo >= len(b) || int64(lo) > best.Load() {
					return
				}
				if i := scan(b[lo:min(lo+piece, len(b))], d); i >= 0 {
					lower(&best, int64(lo+i))
				}
			}
		})
	}
	wg.Wait()
	at := int(best.Load())
	return at / int(d.Size()), at < len(b)
}

// lower is *a = min(*a, v).
func lower(a *atomic.Int64, v int64) {
	for {
		old := a.Load()
		if v >= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}

// scan returns the place in bytes of the first number of b that is not finite, or -1.
func scan(b []byte, d DType) int {
	e, size := exponents[d], int(d.Size())
	at := 0
	for ; at+32 <= len(b); at += 32 {
		w := b[at : at+32 : at+32]
		hit := (binary.LittleEndian.Uint64(w)&e.mask + e.one) | (binary.LittleEndian.Uint64(w[8:])&e.mask + e.one) |
			(binary.LittleEndian.Uint64(w[16:])&e.mask + e.one) | (binary.LittleEndian.Uint64(w[24:])&e.mask + e.one)
		if hit&e.carry != 0 {
			break
		}
	}
	for ; at+size <= len(b); at += size {
		var w [8]byte
		copy(w[:], b[at:at+size])
		if (binary.LittleEndian.Uint64(w[:])&e.mask+e.one)&e.carry != 0 {
			return at
		}
	}
	return -1
}
