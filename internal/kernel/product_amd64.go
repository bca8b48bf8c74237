//go:build !purego

package kernel

import "sync"

// packed holds the forms of an activation matrix that products have asked for so far.
type packed struct {
	mu      sync.Mutex
	panels  *[]float32 // of micro-kernels, as blocked says: rounded numbers, or pairs of bf16
	rows    *[]float32 // [T][K], rounded
	tiles   *[]uint16  // A blocks of tile products
	columns *[]uint16  // B blocks of xᵀ
	pairs   *[]float32 // [T][K/2] pairs of bf16

	shorts      *[]byte    // rows of 16 bits, see shortRows
	shortScales *[]float32 // [T]
	short       *[]float32 // [T][K], rounded to 16 bits
}

func (p *packed) free() {
	floats.put(p.panels)
	floats.put(p.rows)
	halves.put(p.tiles)
	halves.put(p.columns)
	floats.put(p.pairs)
	octets.put(p.shorts)
	floats.put(p.shortScales)
	floats.put(p.short)
	*p = packed{}
}

// level is the vector level of the mode's products that are not of tiles.
func (v *variant) level(m Mode) vecLevel {
	if m == ModeBF16 && v.bf16 {
		return vecPairs
	}
	return v.vec
}

// multipliesByTiles says that the mode's products are those of tiles.
func (v *variant) multipliesByTiles(m Mode) bool { return m != ModeF32 && v.tiles }

func (a *Acts) level() vecLevel { return a.v.level(a.mode) }
func (a *Acts) usesTiles() bool { return a.v.multipliesByTiles(a.mode) }

// leftPanels are the activations in panels.
func (a *Acts) leftPanels() left {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, steps := &geometries[a.level()], a.x.Cols
	if a.level() == vecPairs {
		steps = pairSteps(steps)
	}
	b := g.blocked(a.x.Rows, steps)
	if a.panels == nil {
		a.panels = floats.get(b.size())
		if a.level() == vecPairs {
			b.packPairs(*a.panels, a.x)
		} else {
			b.pack(*a.panels, a.x, false, a.mode.rounding(), false)
		}
	}
	return left{data: *a.panels, row: 1, step: g.mr, packed: b}
}

// roundedRows are the activations as the mode multiplies them, row by row.
func (a *Acts) roundedRows() Mat {
	r, m := a.mode.rounding(), Mat{Rows: a.x.Rows, Cols: a.x.Cols, Stride: apart(a.x.Cols)}
	if r == exact && (m.Rows <= onceRows || a.x.Stride%pageFloats != 0) {
		return a.x
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rows == nil {
		a.rows = floats.get(m.Rows * m.Stride)
		copied(Mat{Data: *a.rows, Rows: m.Rows, Cols: m.Cols, Stride: m.Stride}, a.x, r)
	}
	m.Data = *a.rows
	return m
}

// mulT chooses the way by the mode and the shape alone.
func (a *Acts) mulT(y Mat, w *Frozen, bias []float32, add bool, more low) {
	switch {
	case shorts(a.mode, w, y.Rows) && a.v.vnni:
		p := bytesProduct{c: y, x: a.shortRows(), w: w, add: add, bias: bias}
		p.run()
	case a.usesTiles() && w.DType == BF16 && y.Rows <= fewTileRows:
		p := rowProduct{y: y, w: w, x: a.columnTiles(), low: a.mode == ModeSplit, add: add, bias: bias}
		p.run()
	case a.dotted(y.Rows, w):
		d := a.dotsOf(y, w, bias, add)
		d.run(false)
	case a.usesTiles():
		a.tileProduct(y, w.Cols, w.tiles(true, tileLayout, a.mode == ModeSplit), bias, add, more)
		return
	default:
		a.product(y, w, true, bias, add, more)
		return
	}
	more.addTo(y)
}

func (a *Acts) mul(y Mat, w *Frozen, bias []float32, add bool, more low) {
	switch {
	case a.acrossed(y.Rows, w):
		p := across{y: y, x: a.roundedRows(), w: w, bias: bias, add: add}
		p.run()
		more.addTo(y)
	case a.usesTiles():
		a.tileProduct(y, w.Rows, w.tiles(false, tileLayout, a.mode == ModeSplit), bias, add, more)
	default:
		a.product(y, w, false, bias, add, more)
	}
}

// columns are w as the right operand of a forward or a backward product of micro-kernels.
func (w *Frozen) columns(forward bool, round rounding) columns {
	switch {
	case w.q != nil:
		return &stagedColumns{w, forward, round}
	case forward:
		return &transposed{w.numbers(), round}
	}
	return &asStored{w.numbers(), round}
}

// tiles are w as the right operand of a forward or a backward product of bf16 numbers.
func (w *Frozen) tiles(forward bool, layout pairLayout, lows bool) tileSource {
	switch {
	case w.q != nil:
		return &stagedTiles{w, forward, layout, lows && w.DType != Lossless}
	case forward:
		return &forwardTiles{tileNumbers{w.numbers(), lows}, layout}
	}
	return &backwardTiles{tileNumbers{w.numbers(), lows}, layout}
}

// shortenedRows are the activations rounded to 16 bits.
func (a *Acts) shortenedRows() Mat {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.short == nil {
		a.short = floats.get(a.x.Rows * a.x.Cols)
		for i := range a.x.Rows {
			shorten((*a.short)[i*a.x.Cols:(i+1)*a.x.Cols], a.x.Row(i))
		}
	}
	return NewMat(*a.short, a.x.Rows, a.x.Cols)
}

// fewRows is the number of rows up to which dots beat the micro-kernels, because they need no packing of W. They round
// what must be rounded again for every strip of rows: beside tiles, whose blocks are rounded once, that pays for fewer rows or none.
func (a *Acts) fewRows(w *Frozen) int {
	few := dotShapes[a.level()].few
	switch {
	case w.rounding(a.mode) == exact && w.q == nil:
		return few
	case !a.usesTiles() || a.mode == ModeBF16 && w.q != nil: // which dots widen to bf16
		return few / 2
	case a.mode == ModeBF16:
		return few / 6
	}
	return 0
}

// dotted says whether so many rows are multiplied by dots.
func (a *Acts) dotted(rows int, w *Frozen) bool {
	w = w.in(a.mode)
	if shorts(a.mode, w, rows) {
		return a.v.vec != vecGo && w.Cols > 0
	}
	return a.v.vec != vecGo && w.Cols > 0 && !(a.usesTiles() && w.DType == BF16) && rows <= a.fewRows(w)
}

// dotsOf is the product of few rows with W in place.
func (a *Acts) dotsOf(y Mat, w *Frozen, bias []float32, add bool) dots {
	w = w.in(a.mode)
	d := dots{c: y, a: w.numbers(), round: w.rounding(a.mode), alpha: 1, add: add, bias: bias, vec: a.level()}
	if w.q != nil {
		d.w = w
	}
	switch {
	case shorts(a.mode, w, y.Rows):
		d.x, d.round, d.vec = a.shortenedRows(), exact, a.v.vec
	case d.vec != vecPairs:
		d.x = a.roundedRows()
	case w.DType == BF16 || w.q != nil:
		d.x = a.pairRows()
	default:
		d.x, d.vec = a.roundedRows(), a.v.vec
	}
	return d
}

// product multiplies by micro-kernels.
func (a *Acts) product(y Mat, w *Frozen, forward bool, bias []float32, add bool, more low) {
	p := product{c: y, k: w.Rows, a: a.leftPanels(), alpha: 1, add: add, bias: bias, vec: a.level(), from: weights{w.stored(), forward, 1}, more: more.product(y, a.v.vec)}
	if forward {
		p.k = w.Cols
	}
	if p.vec == vecPairs {
		p.k, p.b, p.from.per = pairSteps(p.k), pairPanels{w.tiles(forward, panelLayout, false)}, 2
	} else {
		p.b = w.columns(forward, w.rounding(a.mode))
	}
	p.run(false)
}

// tileProduct multiplies by tiles, depth numbers per result.
func (a *Acts) tileProduct(y Mat, depth int, b tileSource, bias []float32, add bool, more low) {
	p := tileProduct{y: y, steps: ceil(depth, 32), a: a.leftTiles(), aLow: a.mode == ModeSplit, b: b, add: add, bias: bias, more: more.product(y, a.v.vec)}
	p.run()
}

// product is the addition as more steps of the product that it is added to, which computes them for the columns at hand, while these are
// in the cache; nil if it adds nothing.
func (l *low) product(y Mat, vec vecLevel) *product {
	if l.s.Rows == 0 {
		return nil
	}
	return &product{c: y, k: l.s.Cols, a: left{data: l.s.Data, row: l.s.Stride, step: 1}, b: right(l.b, !l.across, 0, l.s.Cols), alpha: l.scale, add: true, vec: vec}
}

// fewThin is the number of rows up to which dots beat the micro-kernels where they sum few numbers, as with an adapter's B.
const fewThin = 16

// matMulVec chooses a way by the shape alone, so that a product is summed in one order whatever the threads.
func matMulVec(c, a, b Mat, o MatMulOpts) {
	vec := current().vec
	m, n, k := c.Rows, c.Cols, a.Cols
	if o.TransA {
		k = a.Rows
	}
	switch {
	case o.Serial && !o.TransA && !o.TransB && o.Alpha == 1 && m <= len(acrossCols) && vec == vec512:
		start(c, nil, 0, o.Add)
		acrossNumbers(c, a, b.numbers(), 0, n)
	case !o.TransA && k >= 128 && (n <= 32 || m <= dotShapes[vec].few && o.TransB):
		thinDots(c, a, b, o, vec)
	case !o.TransA && o.TransB && m <= fewThin:
		shortDots(c, a, b, o, vec)
	case o.TransA && n <= 32 && m > 2*n:
		flipped(c, a, b, o)
	case o.TransA && !o.TransB && m <= outerRows && vec == vec512:
		outer(c, a, b, o)
	default:
		multiply(c, a, b, o, vec, m, k)
	}
}

// thinDots computes c by dots: both operands contiguous in k, b after a transposition if need be.
func thinDots(c, a, b Mat, o MatMulOpts, vec vecLevel) {
	bt := b
	if !o.TransB {
		buf := floats.get(b.Rows * b.Cols)
		defer floats.put(buf)
		bt = NewMat(*buf, b.Cols, b.Rows)
		transposeInto(bt, b)
	}
	d := dots{c: c, x: a, a: bt.numbers(), alpha: o.Alpha, add: o.Add, vec: vec}
	d.run(o.Serial)
}

// shortDots computes c by dots of few numbers.
func shortDots(c, a, b Mat, o MatMulOpts, vec vecLevel) {
	width := lowWidth(a.Cols)
	buf := floats.get(a.Rows * width)
	defer floats.put(buf)
	clear(*buf)
	s := Mat{Data: *buf, Rows: a.Rows, Cols: a.Cols, Stride: width}
	for i := range a.Rows {
		copy(s.Row(i), a.Row(i))
	}
	d := lowDots(c, s, b, o.Alpha, o.Add, vec)
	d.run(o.Serial)
}

// lowDots is c (+)= alpha·s·bᵀ; rows of s are padded with zeros up to whole registers.
func lowDots(c, s, b Mat, alpha float32, add bool, vec vecLevel) dots {
	none := b.numbers()
	none.cols = 0
	return dots{c: c, x: s, a: none, s: s, b: b, alpha: alpha, add: add, vec: vec}
}

// lowWidth is the stride of rows of n numbers padded to whole registers of any kind.
func lowWidth(n int) int { return ceil(n, 16) * 16 }

// flipped computes cᵀ = op(b)ᵀ·a and turns it round: for c of few columns summed over the rows of both operands, as in
// the gradient of an adapter's B, where cᵀ has long rows.
func flipped(c, a, b Mat, o MatMulOpts) {
	buf := floats.get(2 * c.Rows * c.Cols)
	defer floats.put(buf)
	ct, back := NewMat(*buf, c.Cols, c.Rows), NewMat((*buf)[c.Rows*c.Cols:], c.Rows, c.Cols)
	MatMul(ct, b, a, MatMulOpts{TransA: !o.TransB, Alpha: o.Alpha, Serial: o.Serial})
	if !o.Add {
		transposeInto(c, ct)
		return
	}
	transposeInto(back, ct)
	for i := range c.Rows {
		Add(c.Row(i), back.Row(i))
	}
}

// leftLimit is the largest left operand that is packed at a time.
const leftLimit = 1 << 22

// multiply computes c by micro-kernels.
func multiply(c, a, b Mat, o MatMulOpts, vec vecLevel, m, k int) {
	g := &geometries[vec]
	p := product{c: c, k: k, alpha: o.Alpha, add: o.Add, vec: vec}
	if !o.TransA && (c.Cols <= 4*g.nr || m <= g.mr) { // each number of a is used a few times only: not worth packing
		p.b = right(b, o.TransB, 0, k)
		p.a = left{data: a.Data, row: a.Stride, step: 1}
		p.run(o.Serial)
		return
	}
	seg := max(1, leftLimit/m/g.kc) * g.kc
	buf := floats.get(g.blocked(m, min(seg, k)).size())
	defer floats.put(buf)
	for k0 := 0; k0 < k; k0 += seg {
		k1 := min(k0+seg, k)
		packed := g.blocked(m, k1-k0)
		packed.pack(*buf, span(a, o.TransA, k0, k1), o.TransA, exact, o.Serial)
		p.b = right(b, o.TransB, k0, k1)
		p.k, p.a, p.add = k1-k0, left{data: *buf, row: 1, step: g.mr, packed: packed}, o.Add || k0 > 0
		p.run(o.Serial)
	}
}

// right is steps k0 … k1 of op(b).
func right(b Mat, trans bool, k0, k1 int) columns {
	if trans {
		return &transposed{numbers: b.ColRange(k0, k1).numbers()}
	}
	return &asStored{numbers: b.RowRange(k0, k1).numbers()}
}

// span is op(a)'s columns k0 … k1.
func span(a Mat, trans bool, k0, k1 int) Mat {
	if trans {
		return a.RowRange(k0, k1)
	}
	return a.ColRange(k0, k1)
}

// transposeInto is dst = srcᵀ.
func transposeInto(dst, src Mat) {
	if current().vec == vecGo {
		transposeGo(dst, src)
		return
	}
	n := src.numbers()
	i := 0
	for i+8 <= src.Rows {
		width := 8
		if i+16 <= src.Rows {
			width = 16
		}
		n.columnsTo(dst.Data[i:], dst.Stride, width, i, 0, src.Cols)
		i += width
	}
	if i < src.Rows {
		transposeGo(dst.ColRange(i, src.Rows), src.RowRange(i, src.Rows))
	}
}
