package kernel

import (
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// atTheEnd copies numbers to memory whose end is that of a page, with none behind it; or whose beginning is, with none before.
func atTheEnd[E any](t *testing.T, s []E, beginning bool) []E {
	page := unix.Getpagesize()
	size := len(s) * int(unsafe.Sizeof(s[0]))
	whole := (size + page - 1) / page * page
	m, err := unix.Mmap(-1, 0, whole+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	for _, outside := range [][]byte{m[:page], m[page+whole:]} {
		if err := unix.Mprotect(outside, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	first := page + whole - size
	if beginning {
		first = page
	}
	out := unsafe.Slice((*E)(unsafe.Pointer(&m[first])), len(s))
	copy(out, s)
	return out
}

// TestEndOfMemory multiplies operands behind and before which no memory can be read, as a weight at the end of a mapped
// file is: reading beyond any of them ends the test by a signal.
func TestEndOfMemory(t *testing.T) {
	shapes := [][3]int{{1, 1, 1}, {3, 33, 70}, {40, 65, 97}, {130, 50, 33}}
	everyVariant(t, func(t *testing.T) {
		for _, s := range shapes {
			for _, dtype := range []DType{F32, F16, BF16, I8, NF4, Lossless} {
				for _, mode := range []Mode{ModeF32, ModeBF16, ModeSplit} {
					for _, beginning := range []bool{false, true} {
						endOfMemory(t, s, dtype, mode, beginning)
					}
				}
			}
		}
	})
}

// endOfMemory compares products of operands at the edge of memory with those of the same operands elsewhere.
func endOfMemory(t *testing.T, s [3]int, dtype DType, mode Mode, beginning bool) {
	T, N, K := s[0], s[1], s[2]
	next := normals(1)
	w := surrounded(dtype, N, K, next)
	edge := *w
	switch {
	case w.q != nil:
		q := *w.q
		q.bytes = atTheEnd(t, q.bytes, beginning)
		edge.q = &q
	case dtype == F32:
		edge.f32 = atTheEnd(t, w.f32, beginning)
	default:
		edge.u16 = atTheEnd(t, w.u16, beginning)
	}
	x, dy := strided(t, T, K, 0, next), strided(t, T, N, 0, next)
	bias := guarded(t, N, next)
	forward := func(x Mat, w *Frozen, y, bias []float32) []float32 {
		a := Pack(x, mode)
		defer a.Free()
		a.MulT(NewMat(y, T, N), w, bias, false)
		return y
	}
	backward := func(dy Mat, w *Frozen, dx []float32) []float32 {
		a := Pack(dy, mode)
		defer a.Free()
		a.Mul(NewMat(dx, T, K), w, nil, false)
		return dx
	}
	far := func(n int) []float32 { return atTheEnd(t, make([]float32, n), beginning) }
	farX, farDY := NewMat(atTheEnd(t, x.Data, beginning), T, K), NewMat(atTheEnd(t, dy.Data, beginning), T, N)
	got, want := forward(farX, &edge, far(T*N), atTheEnd(t, bias, beginning)), forward(x, w, make([]float32, T*N), bias)
	if !slices.Equal(got, want) {
		t.Errorf("%v %v %v: forward differs at the edge of memory", s, dtype, mode)
	}
	if got, want := backward(farDY, &edge, far(T*K)), backward(dy, w, make([]float32, T*K)); !slices.Equal(got, want) {
		t.Errorf("%v %v %v: backward differs at the edge of memory", s, dtype, mode)
	}
}

// TestRightAtTheEndOfMemory is TestEndOfMemory for operands that are made ready for one pass.
func TestRightAtTheEndOfMemory(t *testing.T) {
	everyVariant(t, func(t *testing.T) {
		next := normals(2)
		for _, s := range [][3]int{{5, 9, 33}, {20, 64, 64}, {33, 47, 65}, {64, 96, 50}} {
			M, N, K := s[0], s[1], s[2]
			for _, mode := range []Mode{ModeF32, ModeBF16, ModeSplit} {
				for _, trans := range []bool{false, true} {
					for _, o := range []MatMulOpts{{}, {TransA: true}} {
						a, b := strided(t, M, K, 0, next), strided(t, K, N, 0, next)
						if o.TransA {
							a = strided(t, K, M, 0, next)
						}
						if trans {
							b = strided(t, N, K, 0, next)
						}
						product := func(a, b Mat, c []float32) []float32 {
							r := MakeRight(b, trans, mode)
							defer r.Free()
							r.MulRight(NewMat(c, M, N), a, 0, 0, o)
							return c
						}
						want := product(a, b, make([]float32, M*N))
						for _, beginning := range []bool{false, true} {
							edge := func(m Mat) Mat { return NewMat(atTheEnd(t, m.Data, beginning), m.Rows, m.Cols) }
							if got := product(edge(a), edge(b), atTheEnd(t, make([]float32, M*N), beginning)); !slices.Equal(got, want) {
								t.Errorf("%v %v trans %v %+v: differs at the edge of memory", s, mode, trans, o)
							}
						}
					}
				}
			}
		}
	})
}
