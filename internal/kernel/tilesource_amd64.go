//go:build !purego

package kernel

import "unsafe"

//go:noescape
func cvtRow(dst *uint16, src *float32, blocks, step, lo int)

// rowsJob rounds rows of blocks·32 float32 to bf16; distances of rows are bytes.
type rowsJob struct {
	dst, src       unsafe.Pointer
	srcRow, dstRow int
	rows, blocks   int
}

//go:noescape
func roundRows(j *rowsJob)

//go:noescape
func f16Row(dst *float32, src *uint16, blocks int)

//go:noescape
func transposePairs(dst, src *uint16, row, blocks, step, pairRow int)

//go:noescape
func interleaveRows(dst, src *uint16, row, panels, panelStep, pairRow, half int)

// tileNumbers is a matrix that B blocks are made of. bf16 is read in place; f32 and f16 are converted on the way, to
// their nearest bf16 or, if lows is set, to the sum of two.
type tileNumbers struct {
	numbers
	lows bool
}

func (w *tileNumbers) low() bool { return w.lows && w.dtype != BF16 }

func (w *tileNumbers) u16(i, j int) *uint16 { return (*uint16)(w.at(i, j)) }

// halves views n numbers of 16 bits from element (i, j).
func (w *tileNumbers) halves(i, j, n int) []uint16 { return unsafe.Slice(w.u16(i, j), n) }

// block leaves rows i … i+rows, columns k0 … k0+32·steps as bf16, the high parts in hi and the low ones in lo, both
// 32·steps wide, zeros beyond the matrix. It returns bf16 numbers in place when they lie inside: then the row stride is
// the matrix's own.
func (w *tileNumbers) block(buf []uint16, i, rows, k0, steps int) (hi, lo *uint16, stride int) {
	width := 32 * steps
	if w.dtype == BF16 && i+rows <= w.rows && k0+width <= w.cols {
		return w.u16(i, k0), nil, 2 * w.step
	}
	low := bit(w.low())
	if w.dtype == F32 && low == 0 && i+rows <= w.rows && k0+width <= w.cols {
		roundRows(&rowsJob{dst: at(buf, 0), src: w.at(i, k0), srcRow: 4 * w.step, dstRow: 2 * width, rows: rows, blocks: steps})
		return &buf[0], nil, 2 * width
	}
	for r := range rows {
		d := buf[r*width : (r+1)*width]
		switch {
		case i+r >= w.rows:
			clear(d)
			if low > 0 {
				clear(buf[(rows+r)*width : (rows+r+1)*width])
			}
		case w.dtype == BF16:
			clear(d[copy(d, w.halves(i+r, k0, min(width, w.cols-k0))):])
		default:
			w.convert(d, i+r, k0, min(width, w.cols-k0), 2*rows*width*low)
		}
	}
	if low > 0 {
		lo = &buf[rows*width]
	}
	return &buf[0], lo, 2 * width
}

// convert writes n numbers from element (i, k) as bf16 to d, padded with zeros, low parts lo bytes behind.
func (w *tileNumbers) convert(d []uint16, i, k, n, lo int) {
	full := n / 32
	if full > 0 && w.dtype == F32 {
		cvtRow(&d[0], (*float32)(w.at(i, k)), full, 64, lo)
	} else if full > 0 {
		w.convertF16(d, i, k, full, lo)
	}
	for q := full; q < len(d)/32; q++ { // the last, partial step and what lies beyond
		var tail [32]float32
		if rest := n - q*32; rest > 0 {
			w.widen(tail[:rest], i, k+q*32)
		}
		cvtRow(&d[q*32], &tail[0], 1, 64, lo)
	}
}

// convertF16 is convert for whole steps of f16 numbers, by way of float32.
func (w *tileNumbers) convertF16(d []uint16, i, k, steps, lo int) {
	var x [16 * 32]float32
	for s := 0; s < steps; s += 16 {
		n := min(16, steps-s)
		f16Row(&x[0], w.u16(i, k+s*32), n)
		cvtRow(&d[s*32], &x[0], n, 64, lo)
	}
}

const stageSteps = 16 // steps of 32 converted at a time

// pairLayout is where a B block of 32 columns and 16 pairs keeps its two halves of 16 columns: half bytes apart, their
// pairs of the contracted dimension row bytes apart.
type pairLayout struct{ row, half int }

var (
	tileLayout  = pairLayout{row: 64, half: 2 * tileSize} // two B tiles
	panelLayout = pairLayout{row: 128, half: 64}          // rows of 32 pairs
)

// forwardTiles: B is the matrix transposed; the contracted dimension is its columns.
type forwardTiles struct {
	tileNumbers
	layout pairLayout
}

func (w *forwardTiles) blocks(out []uint16, p0, np, s0, ns int) {
	step := 2 * tileSize * (1 + bit(w.low()))
	buf := halves.get(2 * 16 * stageSteps * 32)
	defer halves.put(buf)
	for p := range np {
		for h := range 2 {
			d := out[p*ns*step+h*w.layout.half/2:]
			row := (p0+p)*32 + h*16
			for s := 0; s < ns; {
				q := min(stageSteps, ns-s)
				if w.dtype == BF16 && row+16 <= w.rows { // in place: as many steps as lie inside
					if in := min(ns, w.cols/32-s0) - s; in > 0 {
						q = in
					} else {
						q = 1
					}
				}
				hi, lo, stride := w.block(*buf, row, 16, (s0+s)*32, q)
				transposePairs(&d[s*step], hi, stride, q, 2*step, w.layout.row)
				if lo != nil {
					transposePairs(&d[s*step+2*tileSize], lo, stride, q, 2*step, w.layout.row)
				}
				s += q
			}
		}
	}
}

// backwardTiles: B is the matrix itself; the contracted dimension is its rows.
type backwardTiles struct {
	tileNumbers
	layout pairLayout
}

func (w *backwardTiles) blocks(out []uint16, p0, np, s0, ns int) {
	step := 2 * tileSize * (1 + bit(w.low()))
	dist := ns * step
	buf := halves.get(2 * 32 * tileCols * 32)
	defer halves.put(buf)
	for s := range ns {
		for p := 0; p < np; {
			q := min(np-p, tileCols)
			if w.dtype == BF16 && (s0+s)*32+32 <= w.rows {
				if in := w.cols/32 - p0 - p; in > 0 {
					q = min(q, in)
				}
			}
			hi, lo, stride := w.block(*buf, (s0+s)*32, 32, (p0+p)*32, q)
			interleaveRows(&out[p*dist+s*step], hi, stride, q, 2*dist, w.layout.row, w.layout.half)
			if lo != nil {
				interleaveRows(&out[p*dist+s*step+2*tileSize], lo, stride, q, 2*dist, w.layout.row, w.layout.half)
			}
			p += q
		}
	}
}
