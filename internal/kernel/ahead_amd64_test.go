//go:build !purego

package kernel

import (
	"testing"
	"unsafe"
)

// All of what lies ahead is brought in by the end of a block, whatever the number of its steps, and nothing of what lies behind it.
func TestAhead(t *testing.T) {
	if current().vec == vecGo {
		t.Skip("no micro-kernels: this processor or GRAFT_KERNEL leaves plain Go")
	}
	levels := []vecLevel{vec256}
	if current().vec == vec512 {
		levels = append(levels, vec512)
	}
	const row = 300
	memory := make([]byte, 64*row)
	for _, vec := range levels {
		g := &geometries[vec]
		for _, c := range []struct{ rows, bytes, k, m, blocks int }{{1, 4, 1, 1, 1}, {3, 64, 40, g.mr, 1}, {10, 100, 8, g.mr, 7}, {10, 256, 200, 5, 4}, {64, 4, 64, 1, 1}} {
			a, b, out := make([]float32, g.mr*c.k), make([]float32, maxNR*c.k), make([]float32, maxNR*g.mr)
			job := blockJob{c: at(out, 0), src: at(zeros[:], 0), a: at(a, 0), b: at(b, 0), cRow: 4 * g.nr, aRow: 4, aStep: 4 * g.mr, bRow: 4 * g.nr, k: c.k, m: c.m, blocks: c.blocks, alpha: 1}
			r := region{data: uintptr(unsafe.Pointer(&memory[0])), rows: c.rows, row: row, bytes: c.bytes}
			job.ahead.begin(r, c.k*c.blocks)
			vec.gemm(&job)
			if h := job.ahead; c.k*c.blocks >= r.lines() && (h.rows != 0 || h.every != 0 || h.start != r.data&^(cacheLine-1)+uintptr(c.rows*row)) {
				t.Errorf("level %v, %+v: %+v is left", vec, c, h)
			}
		}
	}
}

// What was packed first of the weights that followed is known when they are about to follow again.
func TestFollow(t *testing.T) {
	a, b := make([]float32, 4), make([]float32, 4)
	first, second := weights{NewMat(a, 2, 2).numbers(), true, 1}, weights{NewMat(b, 2, 2).numbers(), true, 1}
	of := func(w *weights) region { return w.where(0, 2, 0, 2) }
	if of(&first) == (region{}) || of(&weights{}) != (region{}) {
		t.Fatalf("regions of weights and of none are %v, %v", of(&first), of(&weights{}))
	}
	for range 2 {
		first.follow(of(&first), region{})
		second.follow(of(&second), region{})
	}
	if got := first.follow(of(&first), region{}); got != [2]region{of(&second)} {
		t.Errorf("after the first weights come %v, want %v", got, of(&second))
	}
}
