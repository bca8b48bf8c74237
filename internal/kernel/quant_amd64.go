//go:build !purego

package kernel

import "unsafe"

// i8Job is rows of numbers of 8 bits to be widened, srcRow and dstRow bytes apart: as many steps of each row.
type i8Job struct {
	dst, src, scales unsafe.Pointer
	rows, steps      int
	srcRow, dstRow   int
}

// nf4Job is blocks·64 numbers of 4 bits to be widened.
type nf4Job struct {
	dst, src, scales unsafe.Pointer
	tables           *nf4Lanes
	blocks           int
}

//go:noescape
func i8ToF32(j *i8Job)

//go:noescape
func i8ToBF16(j *i8Job)

//go:noescape
func nf4ToF32(j *nf4Job)

//go:noescape
func nf4ToBF16(j *nf4Job)

// nf4Lanes says, by lane of a register, which double word of 32 packed numbers holds the lane's number, and how far up.
type nf4Lanes struct {
	values       [16]float32
	lower, upper [16]uint32
	shifts       [16]uint32
}

var nf4Tables = func() *nf4Lanes {
	t := &nf4Lanes{values: nf4Values}
	for i := range 16 {
		t.lower[i], t.upper[i] = uint32(i/8), uint32(2+i/8)
		t.shifts[i] = uint32(i%8*4) ^ 4 // the first of a byte lies in its upper half
	}
	return t
}()

// unpackJob is blocks of 64 numbers in 12 bits to be made bf16.
type unpackJob struct {
	dst, src  unsafe.Pointer
	exponents *[32]uint16
	blocks    int
}

//go:noescape
func unpackBF16(j *unpackJob)

// unpackVec makes whole blocks and returns how many numbers these are.
func unpackVec(dst []uint16, src []byte, exponents *[32]uint16) int {
	n := len(dst) / losslessBlock
	if n == 0 || current().vec < vec512 {
		return 0
	}
	unpackBF16(&unpackJob{dst: at(dst, 0), src: at(src, 0), exponents: exponents, blocks: n})
	return n * losslessBlock
}

// i8ToF32Vec widens whole steps of 16 and returns how many numbers these are.
func i8ToF32Vec(dst []float32, src []byte, scale float32) int {
	n := wholeSteps(len(src))
	if n > 0 {
		i8ToF32(&i8Job{dst: at(dst, 0), src: at(src, 0), scales: unsafe.Pointer(&scale), rows: 1, steps: n / 16})
	}
	return n
}

// nf4ToF32Vec widens whole blocks and returns how many numbers these are.
func nf4ToF32Vec(dst []float32, src []byte, scales []float32) int {
	n := len(dst) / nf4Block
	if n == 0 || current().vec < vec512 {
		return 0
	}
	nf4ToF32(&nf4Job{dst: at(dst, 0), src: at(src, 0), scales: at(scales, 0), tables: nf4Tables, blocks: n})
	return n * nf4Block
}

// halves writes rows i … i+rows, columns j … j+cols of the weight as bf16, for processors that convert to it.
func (w *Frozen) halves(dst []uint16, i, rows, j, cols int) {
	whole := 0
	switch {
	case w.DType == Lossless:
		for r := range rows {
			w.q.unpack(dst[r*cols:][:cols], w.Cols, i+r, j)
		}
		return
	case w.DType == I8 && cols >= 32:
		whole = cols &^ 31
		i8ToBF16(&i8Job{dst: at(dst, 0), src: at(w.q.bytes, i*w.Cols+j), scales: at(w.q.scales, i), rows: rows, steps: whole / 32, srcRow: w.Cols, dstRow: 2 * cols})
	case w.DType == NF4 && j%nf4Block == 0 && w.Cols%nf4Block == 0:
		whole = cols &^ (nf4Block - 1)
		w.q.halves(dst, i*w.Cols+j, rows, w.Cols, whole, cols)
	}
	if whole == cols {
		return
	}
	var rest [nf4Group]float32
	for r := range rows {
		for k := whole; k < cols; k += len(rest) {
			part := rest[:min(len(rest), cols-k)]
			w.part(part, i+r, j+k)
			F32ToBF16(dst[r*cols+k:][:len(part)], part)
		}
	}
}

// halves writes rows of cols numbers of NF4 from number from on, step apart, as bf16: each row's first whole ones, all of them blocks.
func (q *quant) halves(dst []uint16, from, rows, step, whole, cols int) {
	var scales [64]float32
	for r := range rows {
		for k := 0; k < whole; k += len(scales) * nf4Block {
			n := min(len(scales), (whole-k)/nf4Block)
			q.blockScales(scales[:n], (from+r*step+k)/nf4Block)
			nf4ToBF16(&nf4Job{dst: at(dst, r*cols+k), src: at(q.bytes, (from+r*step+k)/2), scales: at(scales[:], 0), tables: nf4Tables, blocks: n})
		}
	}
}

// stagedColumns is a right operand of a quantised weight: it is widened some columns at a time and packed as float32.
type stagedColumns struct {
	w       *Frozen
	forward bool // columns are the weight's rows
	round   rounding
}

// stageCols64 is how many columns of a block are widened at a time, where these are the weight's own.
const stageCols64 = 64

func (b *stagedColumns) pack(dst []float32, nr, n0, n1, k0, k1 int) {
	steps, width := k1-k0, stageCols64
	if b.forward {
		width = nr
	}
	buf := floats.get(width * steps)
	defer floats.put(buf)
	for n := n0; n < n1; n += width {
		cols := min(width, n1-n)
		out := dst[(n-n0)*steps:]
		if b.forward {
			t := transposed{stage(*buf, b.w, n, cols, k0, steps), b.round}
			t.pack(out, nr, 0, cols, 0, steps)
		} else {
			s := asStored{stage(*buf, b.w, k0, steps, n, cols), b.round}
			s.pack(out, nr, 0, cols, 0, steps)
		}
	}
}

// stage widens rows i … i+rows, columns j … j+cols of w, to bf16 if they are such.
func stage(buf []float32, w *Frozen, i, rows, j, cols int) numbers {
	if w.DType == Lossless {
		w.halves(asHalves(buf), i, rows, j, cols)
		return numbers{data: at(buf, 0), rows: rows, cols: cols, step: cols, dtype: BF16}
	}
	whole := 0
	if w.DType == I8 && cols >= 16 { // all rows at once
		whole = cols &^ 15
		i8ToF32(&i8Job{dst: at(buf, 0), src: at(w.q.bytes, i*w.Cols+j), scales: at(w.q.scales, i), rows: rows, steps: whole / 16, srcRow: w.Cols, dstRow: 4 * cols})
	}
	for r := 0; r < rows && whole < cols; r++ {
		w.part(buf[r*cols+whole:(r+1)*cols], i+r, j+whole)
	}
	return NewMat(buf, rows, cols).numbers()
}

// stagedTiles makes B blocks of a quantised weight, which is widened a block at a time and converted as float32.
type stagedTiles struct {
	w       *Frozen
	forward bool // B is the weight transposed
	layout  pairLayout
	lows    bool
}

func (b *stagedTiles) low() bool { return b.lows }

func (b *stagedTiles) blocks(out []uint16, p0, np, s0, ns int) {
	step, per := 2*tileSize*(1+bit(b.lows)), 2 // blocks at a time: 64 columns share a scale
	if b.forward {
		per = 1
	}
	buf := floats.get(per * 32 * 32 * ns)
	defer floats.put(buf)
	for p := 0; p < np; p += per {
		d := out[p*ns*step:]
		c0, k0, q := (p0+p)*32, s0*32, min(per, np-p)
		if b.forward {
			n := stage(*buf, b.w, c0, min(32, b.w.Rows-c0), k0, min(32*ns, b.w.Cols-k0))
			t := forwardTiles{tileNumbers{n, b.lows}, b.layout}
			t.blocks(d, 0, q, 0, ns)
		} else {
			n := stage(*buf, b.w, k0, min(32*ns, b.w.Rows-k0), c0, min(32*q, b.w.Cols-c0))
			t := backwardTiles{tileNumbers{n, b.lows}, b.layout}
			t.blocks(d, 0, q, 0, ns)
		}
	}
}
