//go:build !purego

package kernel

import "unsafe"

// pairsJob rounds 2·rows rows of panels·32 numbers of src, srcRow bytes apart, to pairs of bf16, one from each of two rows: rows of
// 32 pairs, dstRow bytes apart, in panels panelStep bytes apart.
type pairsJob struct {
	dst, src                  unsafe.Pointer
	srcRow, dstRow, panelStep int
	rows, panels              int
}

//go:noescape
func spreadPairs(j *pairsJob)

// ready is B as products read it, in one of three forms.
type ready struct {
	plain  rightGo
	panels *[]float32 // of micro-kernels: [columns/nr][steps][nr] numbers or pairs
	tiles  *[]uint16  // B blocks: [columns/32][steps/32]
}

func (r *ready) free() {
	r.plain.free()
	floats.put(r.panels)
	halves.put(r.tiles)
	*r = ready{}
}

func (r *Right) level() vecLevel { return r.v.level(r.mode) }
func (r *Right) usesTiles() bool { return r.v.multipliesByTiles(r.mode) }

// low says that operands are the sums of two bf16.
func (r *Right) low() bool { return r.mode == ModeSplit }

// units are k steps as the level counts them.
func (r *Right) units(k int) int {
	if r.level() == vecPairs {
		return pairSteps(k)
	}
	return k
}

func (r *Right) make(b Mat, trans bool) {
	blocks := ceil(r.cols, 32)
	source := func(layout pairLayout) tileSource {
		n := tileNumbers{b.numbers(), r.low()}
		if trans {
			return &forwardTiles{n, layout}
		}
		return &backwardTiles{n, layout}
	}
	switch vec := r.level(); {
	case vec == vecGo:
		r.plain.make(b, trans, r.mode)
	case r.usesTiles():
		steps := ceil(r.steps, 32)
		r.tiles = halves.get(blocks * steps * 2 * tileSize * (1 + bit(r.low())))
		source(tileLayout).blocks(*r.tiles, 0, blocks, 0, steps)
	case vec == vecPairs:
		r.panels = floats.get(blocks * 32 * pairSteps(r.steps))
		steps := pairSteps(r.steps)
		if done := b.Cols / 32; !trans && done > 0 {
			pairUp(*r.panels, 32, steps*32, b.ColRange(0, done*32))
			if done < blocks {
				source(panelLayout).blocks(asHalves((*r.panels)[done*32*steps:]), done, blocks-done, 0, steps/16)
			}
			break
		}
		source(panelLayout).blocks(asHalves(*r.panels), 0, blocks, 0, steps/16)
	default:
		g := &geometries[vec]
		r.panels = floats.get(blocks * 32 * r.steps)
		var n columns = &asStored{b.numbers(), rightRounding(r.mode)}
		if trans {
			n = &transposed{b.numbers(), rightRounding(r.mode)}
		}
		n.pack(*r.panels, g.nr, 0, r.cols, 0, r.steps)
		clear((*r.panels)[ceil(r.cols, g.nr)*g.nr*r.steps:])
	}
}

// pairUp makes pairs of the rows of x, whose columns are a multiple of 32, zeros behind the last: rows of pairs, row numbers apart, in
// panels of 32 that begin panel numbers apart.
func pairUp(dst []float32, row, panel int, x Mat) {
	job := pairsJob{dst: at(dst, 0), src: at(x.Data, 0), srcRow: 4 * x.Stride, dstRow: 4 * row, panelStep: 4 * panel, rows: x.Rows / 2, panels: x.Cols / 32}
	if job.rows > 0 {
		spreadPairs(&job)
	}
	if whole := x.Rows / 2; whole < pairSteps(x.Rows) { // the last row, if it is alone, and zeros
		zeros := floats.get(2 * x.Cols)
		defer floats.put(zeros)
		clear(*zeros)
		if x.Rows%2 > 0 {
			copy(*zeros, x.Row(x.Rows-1))
			job.dst, job.src, job.srcRow, job.rows = at(dst, whole*row), at(*zeros, 0), 4*x.Cols, 1
			spreadPairs(&job)
			clear((*zeros)[:x.Cols])
			whole++
		}
		if whole < pairSteps(x.Rows) {
			job.dst, job.src, job.srcRow, job.rows = at(dst, whole*row), at(*zeros, 0), 0, pairSteps(x.Rows)-whole
			spreadPairs(&job)
		}
	}
}

func (r *Right) multiply(c, a Mat, k0, n0, k int, o MatMulOpts) {
	switch vec := r.level(); {
	case vec == vecGo:
		r.plain.multiply(c, a, r.steps, r.cols, k0, n0, k, r.mode, o)
	case r.usesTiles():
		r.multiplyTiles(c, a, k0, n0, k, o)
	case vec == vecPairs:
		x := left{step: 1}
		buf := rightPairs(&x, a, o.TransA)
		defer floats.put(buf)
		r.multiplyPanels(c, x, k0/2, n0, pairSteps(k), o)
	case r.mode == ModeBF16:
		buf := floats.get(a.Rows * a.Cols)
		defer floats.put(buf)
		x := NewMat(*buf, a.Rows, a.Cols)
		copied(x, a, toBF16)
		r.multiplyPanels(c, asLeft(x, o.TransA), k0, n0, k, o)
	default:
		r.multiplyPanels(c, asLeft(a, o.TransA), k0, n0, k, o)
	}
}

// asLeft is a, or aᵀ, as a left operand that is not packed: the right one has so few columns that it would not pay.
func asLeft(a Mat, trans bool) left {
	if trans {
		return left{data: a.Data, row: 1, step: a.Stride}
	}
	return left{data: a.Data, row: a.Stride, step: 1}
}

// rightPairs makes a, or aᵀ, a left operand of pairs: x is it, in the buffer returned.
func rightPairs(x *left, a Mat, trans bool) (buf *[]float32) {
	if !trans {
		x.row, x.step = apart(pairSteps(a.Cols)), 1
		buf = floats.get(a.Rows * x.row)
		x.data = *buf
		pairRowsOf(x.data, x.row, a)
		return buf
	}
	if a.Cols%32 != 0 {
		wide := floats.get(a.Rows * RightWidth(a.Cols))
		defer floats.put(wide)
		x := NewMat(*wide, a.Rows, RightWidth(a.Cols))
		copied(x, a, exact)
		a = x
	}
	x.row, x.step = 1, a.Cols
	buf = floats.get(pairSteps(a.Rows) * a.Cols)
	x.data = *buf
	pairUp(*buf, a.Cols, 32, a)
	return buf
}

// multiplyPanels computes by micro-kernels; steps are as the level counts them.
func (r *Right) multiplyPanels(c Mat, a left, k0, n0, k int, o MatMulOpts) {
	vec, steps := r.level(), r.units(r.steps)
	g := &geometries[vec]
	p := product{c: c, k: k, a: a, alpha: o.Alpha, add: o.Add, vec: vec}
	job := blockJob{bRow: 4 * g.nr}
	for i := 0; i < k; i += g.kc {
		job.k = min(g.kc, k-i)
		for m := 0; m < c.Rows; m += g.mc {
			for q := 0; q < c.Cols; q += g.nr {
				job.b = at(*r.panels, (n0+q)*steps+(k0+i)*g.nr)
				p.panel(&job, m, min(m+g.mc, c.Rows), q, i)
			}
		}
	}
}

// multiplyTiles computes by tiles.
func (r *Right) multiplyTiles(c, a Mat, k0, n0, k int, o MatMulOpts) {
	lo := bit(r.low())
	x := a
	if o.TransA || o.Alpha != 1 {
		buf := floats.get(a.Rows * a.Cols)
		defer floats.put(buf)
		x = NewMat(*buf, c.Rows, k)
		if o.TransA {
			transposeInto(x, a)
		} else {
			copied(x, a, exact)
		}
		if o.Alpha != 1 {
			Scale(x.Data, o.Alpha)
		}
	}
	steps, all := ceil(k, 32), ceil(r.steps, 32)
	block := steps * 2 * tileSize * (1 + lo)
	buf := halves.get(ceil(c.Rows, 32) * block)
	defer halves.put(buf)
	for b := range ceil(c.Rows, 32) {
		packTileRows((*buf)[b*block:(b+1)*block], x, b*32, lo)
	}
	p := tileProduct{y: c, steps: steps, a: *buf, aLow: lo > 0, add: o.Add}
	bStep := 4 * tileSize * (1 + lo)
	for q := 0; q < ceil(c.Cols, 32); q += tileCols {
		b := at(*r.tiles, ((n0/32+q)*all+k0/32)*bStep/2)
		p.multiply(tileJob{b: b, bStep: bStep, bN: all * bStep, n: min(tileCols, ceil(c.Cols, 32)-q), k: steps, mode: 2 * lo}, q, 0)
	}
}
