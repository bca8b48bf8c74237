//go:build !purego

package kernel

import "runtime"

//go:noescape
func gemv4(y *float32, w *uint16, row int, hi, lo *uint16, blocks int, tail uint32)

// pairRows is x as bf16, padded to whole steps of 32: all high parts, then all low parts (zeros in bf16 mode).
func (a *Acts) pairRows() []uint16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pairs == nil {
		width := ceil(a.x.Cols, 32) * 32
		a.pairs = halves.get(2 * a.x.Rows * width)
		src := tileNumbers{a.x.numbers(), a.mode == ModeSplit}
		src.block(*a.pairs, 0, a.x.Rows, 0, width/32)
		if a.mode != ModeSplit {
			clear((*a.pairs)[a.x.Rows*width:])
		}
	}
	return *a.pairs
}

// decode is y (+)= x·Wᵀ + bias for one or two rows of x by VDPBF16PS, four rows of W at a time. W is bf16 and read in place.
func (a *Acts) decode(y Mat, w *Frozen, bias []float32, add bool) {
	x, K := a.pairRows(), w.Cols
	width := ceil(K, 32) * 32
	units := ceil(w.Rows, 4)
	n := pieces(units, max(8, 1<<17/K), runtime.GOMAXPROCS(0))
	Parallel(n, func(i int) {
		var out [4]float32
		for u := units * i / n; u < units*(i+1)/n; u++ {
			first, rows := u*4, min(4, w.Rows-u*4)
			row, times := 2*K, 1
			if rows < 4 { // single rows, four times the same
				row, times = 0, rows
			}
			for t := range y.Rows {
				hi, lo := &x[t*width], &x[(y.Rows+t)*width]
				for r := range times {
					gemv4(&out[0], &w.u16[(first+r)*K], row, hi, lo, K/32, 1<<(K%32)-1)
					for l := range rows / times {
						store(y, t, first+r+l, out[l], bias, add)
					}
				}
			}
		}
	})
}
