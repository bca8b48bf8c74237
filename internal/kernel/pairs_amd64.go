//go:build !purego

package kernel

import "unsafe"

// Products of bf16 on machines that have VDPBF16PS but no tiles. Both operands are pairs of neighbours in the contracted
// dimension, one in place of each float32 of the other micro-kernels, so blocking and micro-kernel are theirs. A pair is
// kept in the bits of a float32 that nobody computes with.

// pairSteps is the number of pairs that hold k numbers: whole steps of 32 numbers, zeros beyond the last.
func pairSteps(k int) int { return ceil(k, 32) * 16 }

// asHalves views pairs as bf16 numbers.
func asHalves(pairs []float32) []uint16 { return unsafe.Slice((*uint16)(at(pairs, 0)), 2*len(pairs)) }

// apart is a stride for rows of width numbers that meet at a time. Rows whole pages apart would share lines of the first cache: these are moved by an
// eighth of a page each.
func apart(width int) int {
	if width%pageFloats == 0 {
		return width + pageFloats/8
	}
	return width
}

const pageFloats = 1024

// pairRows are the activations as rows of pairs.
func (a *Acts) pairRows() Mat {
	a.mu.Lock()
	defer a.mu.Unlock()
	width := pairSteps(a.x.Cols)
	m := Mat{Rows: a.x.Rows, Cols: width, Stride: apart(width)}
	if a.pairs == nil {
		a.pairs = floats.get(a.x.Rows * m.Stride)
		pairRowsOf(*a.pairs, m.Stride, a.x)
	}
	m.Data = *a.pairs
	return m
}

// pairRowsOf rounds the rows of x to rows of pairs, stride apart.
func pairRowsOf(dst []float32, stride int, x Mat) {
	if x.Cols%32 == 0 && x.Rows > 0 {
		roundRows(&rowsJob{dst: at(dst, 0), src: at(x.Data, 0), srcRow: 4 * x.Stride, dstRow: 4 * stride, rows: x.Rows, blocks: x.Cols / 32})
		return
	}
	n, width := tileNumbers{numbers: x.numbers()}, pairSteps(x.Cols)
	for i := range x.Rows {
		n.block(asHalves(dst[i*stride:][:width]), i, 1, 0, width/16)
	}
}

// pairPanels makes panels of 32 columns of pairs from B blocks in panelLayout.
type pairPanels struct{ tileSource }

func (b pairPanels) pack(dst []float32, nr, n0, n1, k0, k1 int) {
	b.blocks(asHalves(dst), n0/nr, ceil(n1-n0, nr), k0/16, (k1-k0)/16)
}

// packPairs brings x, rounded to bf16, into panels of mr = 12 rows of pairs.
func (b *blocked) packPairs(dst []float32, x Mat) {
	mr, steps := b.mr, b.steps/16
	src := tileNumbers{numbers: x.numbers()}
	Split(b.panels, max(1, 1<<15/(x.Cols*mr)), func(lo, hi int) {
		buf := halves.get(16 * steps * 32)
		defer halves.put(buf)
		for p := lo; p < hi; p++ {
			src.block(*buf, p*mr, mr, 0, steps)
			for k := 0; k < b.steps; k += b.kc {
				first, n := b.at(p, k)
				job := transposeJob{dst: at(dst, first), src: at(*buf, 2*k), dstRow: 4 * mr, srcRow: 64 * steps, blocks: n / 8, width: 8, dtype: int(F32)}
				transpose8(&job)
				job.dst, job.src, job.width = unsafe.Add(job.dst, 4*8), unsafe.Add(job.src, 8*job.srcRow), mr-8
				transpose8(&job)
			}
		}
	})
}
