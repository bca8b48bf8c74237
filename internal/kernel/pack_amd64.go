//go:build !purego

package kernel

import "unsafe"

// spreadJob copies rows of panels·nr numbers of src, srcRow bytes apart, to panels of nr float32 columns, panelStep
// bytes apart.
type spreadJob struct {
	dst, src          unsafe.Pointer
	srcRow, panelStep int
	rows, panels      int
	dtype             int
}

//go:noescape
func spread6(j *spreadJob)

//go:noescape
func spread12(j *spreadJob)

//go:noescape
func spread16(j *spreadJob)

//go:noescape
func spread32(j *spreadJob)

// transposeJob turns 8 rows of src, srcRow bytes apart, into blocks·8 rows of dst, dstRow bytes apart, and stores the
// first width (8, 6 or 4) numbers of each.
type transposeJob struct {
	dst, src       unsafe.Pointer
	dstRow, srcRow int
	blocks, width  int
	dtype          int
}

//go:noescape
func transpose8(j *transposeJob)

// transpose12 and transpose16 turn that many rows, 16 steps a block, and store columns of as many. They need AVX-512.
//
//go:noescape
func transpose12(j *transposeJob)

//go:noescape
func transpose16(j *transposeJob)

// numbers is a row-major matrix of any storage type.
type numbers struct {
	data             unsafe.Pointer
	rows, cols, step int // step: distance of rows in numbers
	dtype            DType
}

func (x Mat) numbers() numbers {
	return numbers{data: unsafe.Pointer(unsafe.SliceData(x.Data)), rows: x.Rows, cols: x.Cols, step: x.Stride, dtype: F32}
}

// numbers views the weight; one that is quantised has no data to view.
func (w *Frozen) numbers() numbers {
	n := numbers{rows: w.Rows, cols: w.Cols, step: w.Cols, dtype: w.DType}
	switch {
	case w.DType == Lossless:
		n.data, n.step = at(w.q.bytes, 0), ceilDiv(w.Cols, losslessBlock)*losslessBlock
	case w.q != nil:
	case w.DType == F32:
		n.data = unsafe.Pointer(unsafe.SliceData(w.f32))
	default:
		n.data = unsafe.Pointer(unsafe.SliceData(w.u16))
	}
	return n
}

// size of one number in bytes.
func (d DType) size() int {
	switch d {
	case F32:
		return 4
	case I8:
		return 1
	}
	return 2
}

// bytes is what so many numbers take; of a lossless weight whole blocks.
func (d DType) bytes(n int) int {
	if d == Lossless {
		return n * losslessBytes / losslessBlock
	}
	return n * d.size()
}

// at is the address of element (i, j).
func (n *numbers) at(i, j int) unsafe.Pointer { return unsafe.Add(n.data, n.dtype.bytes(i*n.step+j)) }

// bytes views w numbers from element (i, j).
func (n *numbers) bytes(i, j, w int) []byte {
	return unsafe.Slice((*byte)(n.at(i, j)), w*n.dtype.size())
}

// wideTo is columnsTo for all rows at once, 16 or 12. It says for how many columns, from the first on, it was that.
func (n *numbers) wideTo(dst []float32, dstRow, width, i, k0, k1 int) int {
	whole := (k1 - k0) &^ 15
	if current().vec != vec512 || i+width > n.rows || whole == 0 {
		return 0
	}
	job := transposeJob{dst: at(dst, 0), src: n.at(i, k0), dstRow: 4 * dstRow, srcRow: n.step * n.dtype.size(), blocks: whole / 16, dtype: int(n.dtype)}
	if width == 12 {
		transpose12(&job)
	} else {
		transpose16(&job)
	}
	return whole
}

const stageCols = 64

// columnsTo writes rows i … i+width of columns k0 … k1 as columns: dst[(k-k0)*dstRow + l] = n[i+l, k] for l < width
// (16, 12, 8, 6 or 4), zeros for rows beyond the last.
func (n *numbers) columnsTo(dst []float32, dstRow, width, i, k0, k1 int) {
	if width > 8 {
		done := n.wideTo(dst, dstRow, width, i, k0, k1)
		if k0 += done; k0 < k1 {
			dst = dst[done*dstRow:]
			n.columnsTo(dst, dstRow, 8, i, k0, k1)
			n.columnsTo(dst[8:], dstRow, width-8, i+8, k0, k1)
		}
		return
	}
	job := transposeJob{dstRow: 4 * dstRow, width: width, dtype: int(n.dtype)}
	whole := (k1 - k0) &^ 7
	if i+8 <= n.rows && whole > 0 {
		job.dst, job.src, job.srcRow, job.blocks = at(dst, 0), n.at(i, k0), n.step*n.dtype.size(), whole/8
		transpose8(&job)
		if k0 += whole; k0 == k1 {
			return
		}
		dst = dst[whole*dstRow:]
	}
	// The rest goes through a copy with zeros around it.
	var stage [8 * stageCols]float32
	var out [8 * 8]float32
	size := n.dtype.size()
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&stage[0])), 4*len(stage))
	for k := k0; k < k1; k += stageCols {
		cols := min(stageCols, k1-k)
		for l := range min(8, n.rows-i) {
			row := raw[l*stageCols*size:][:stageCols*size]
			clear(row[copy(row, n.bytes(i+l, k, cols)):min(len(row), (cols+7)&^7*size)])
		}
		job.src, job.srcRow, job.blocks = unsafe.Pointer(&raw[0]), stageCols*size, cols/8
		if cols >= 8 {
			job.dst, job.dstRow = at(dst, (k-k0)*dstRow), 4*dstRow
			transpose8(&job)
		}
		if tail := cols % 8; tail > 0 {
			job.src = unsafe.Pointer(&raw[(cols-tail)*size])
			job.dst, job.dstRow, job.blocks = unsafe.Pointer(&out[0]), 4*8, 1
			transpose8(&job)
			for c := range tail {
				copy(dst[(k-k0+cols-tail+c)*dstRow:][:width], out[c*8:])
			}
		}
	}
}

// pack brings x, or xᵀ, into panels.
func (b *blocked) pack(dst []float32, x Mat, trans bool, round rounding, serial bool) {
	part := func(lo, hi int) {
		for k := 0; k < b.steps; k += b.kc {
			if trans {
				b.packColumns(dst, x, lo, hi, k)
			} else {
				b.packRows(dst, x, lo, hi, k)
			}
			from, _ := b.at(lo, k)
			to, _ := b.at(hi, k)
			round.apply(dst[from:to])
		}
	}
	if serial {
		part(0, b.panels)
		return
	}
	Split(b.panels, max(1, 1<<15/(b.steps*b.mr)), part)
}

// packRows makes panels lo … hi of mr rows of x for the block from step k.
func (b *blocked) packRows(dst []float32, x Mat, lo, hi, k int) {
	n, mr := x.numbers(), b.mr
	for p := lo; p < hi; p++ {
		at, steps := b.at(p, k)
		n.columnsTo(dst[at:], mr, mr, p*mr, k, k+steps)
	}
}

// packColumns makes panels lo … hi of mr columns of x for the block from step k.
func (b *blocked) packColumns(dst []float32, x Mat, lo, hi, k int) {
	mr := b.mr
	first, steps := b.at(lo, k)
	whole := min(hi, x.Cols/mr)
	if whole > lo {
		job := spreadJob{dst: at(dst, first), src: at(x.Data, k*x.Stride+lo*mr), srcRow: 4 * x.Stride, panelStep: 4 * steps * mr, rows: steps, panels: whole - lo}
		if mr == 6 {
			spread6(&job)
		} else {
			spread12(&job)
		}
	}
	if whole < hi {
		last, _ := b.at(whole, k)
		for i := range steps {
			copy(dst[last+i*mr:][:mr], x.Data[(k+i)*x.Stride+whole*mr:(k+i)*x.Stride+x.Cols])
		}
	}
}

// asStored is a right operand whose steps are the matrix's rows.
type asStored struct {
	numbers
	round rounding
}

func (b *asStored) pack(dst []float32, nr, n0, n1, k0, k1 int) {
	steps := k1 - k0
	full := (n1 - n0) / nr
	if full > 0 {
		job := spreadJob{dst: at(dst, 0), src: b.at(k0, n0), srcRow: b.step * b.dtype.size(), panelStep: 4 * nr * steps,
			rows: steps, panels: full, dtype: int(b.dtype)}
		if nr == 16 {
			spread16(&job)
		} else {
			spread32(&job)
		}
	}
	if w := (n1 - n0) % nr; w > 0 {
		last := dst[full*steps*nr:]
		for k := range steps {
			b.widen(last[k*nr:][:w], k0+k, n1-w)
			clear(last[k*nr+w : (k+1)*nr])
		}
	}
	b.round.apply(dst[:ceil(n1-n0, nr)*steps*nr])
}

// widen writes the numbers from element (i, j) on to dst.
func (n *numbers) widen(dst []float32, i, j int) {
	p := n.at(i, j)
	switch n.dtype {
	case BF16:
		BF16ToF32(dst, unsafe.Slice((*uint16)(p), len(dst)))
	case F16:
		F16ToF32(dst, unsafe.Slice((*uint16)(p), len(dst)))
	default:
		copy(dst, unsafe.Slice((*float32)(p), len(dst)))
	}
}

// transposed is a right operand whose columns are the matrix's rows.
type transposed struct {
	numbers
	round rounding
}

func (b *transposed) pack(dst []float32, nr, n0, n1, k0, k1 int) {
	steps := k1 - k0
	for n := n0; n < n1; n += nr {
		panel := dst[(n-n0)*steps:][:steps*nr]
		for l := 0; l < nr; l += 16 {
			b.columnsTo(panel[l:], nr, 16, n+l, k0, k1)
		}
	}
	b.round.apply(dst[:ceil(n1-n0, nr)*steps*nr])
}
