//go:build !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// dotJob is one call of a kernel of few rows: y[i][l] = alpha·(Σ_k x[i][k]·a[l][k] + Σ_k s[i][k]·b[l][k]) + src[i][l] for m rows of x
// and groups of four rows of a, or of two where m is above four. Strides are bytes; steps are whole registers, the partial one lies padded
// with zeros in the job, which then has one group. s and b are float32 whatever x and a are. With each step as many lines as a group has
// rows are brought into the second cache, aheadLine bytes apart, from the address ahead on, which goes on by aheadStep with each step and by aheadGroup
// after each group. The call uses the job up.
type dotJob struct {
	x, a, y, src          unsafe.Pointer
	s, b                  unsafe.Pointer // b: nil for none
	xRow, aRow            int
	ahead                 uintptr
	aheadLine, aheadStep  int
	aheadGroup            int
	yRow, srcRow, srcStep int // srcStep: from group to group
	sRow, bRow            int
	low, lowLanes         int // whole registers of a row of b, and which lanes of one more are left, as bits
	steps, m, dtype       int
	exponents             *[32]uint16 // of a lossless weight, a step of which has twice the numbers
	groups                int
	tail                  int // 1 if there is a partial step
	alpha                 float32
	lowMask               [8]int32 // lowLanes as AVX2 has them
	xTail                 [8][16]float32
	aTail                 [4][16]float32
}

//go:noescape
func dot256(j *dotJob)

//go:noescape
func dot512(j *dotJob)

//go:noescape
func dotPairs(j *dotJob)

// dotShapes are the rows of x per call, the numbers per step, how many lie in place of a float32, and the number of rows
// up to which dots beat the micro-kernels.
var dotShapes = [...]struct{ rows, step, per, few int }{
	vec256: {3, 8, 1, 16}, vec512: {8, 16, 1, 64}, vecPairs: {8, 32, 2, 64},
}

// groupCols are the columns of a group for m rows.
func groupCols(m int) int {
	if m > 4 {
		return 2
	}
	return 4
}

func (v vecLevel) dot(j *dotJob) {
	switch v {
	case vecPairs:
		dotPairs(j)
	case vec512:
		dot512(j)
	default:
		dot256(j)
	}
}

// dots is c (+)= alpha·(x·aᵀ + s·bᵀ) + bias for few rows of a or of x.
type dots struct {
	c     Mat      // [M, N]
	x     Mat      // [M, K], or [M, K/2] pairs padded with zeros
	a     numbers  // [N, K]
	w     *Frozen  // a, if that is quantised; else nil
	round rounding // of a
	s, b  Mat      // [M, r] in rows padded with zeros up to whole registers, [N, r]; r = 0 for none
	alpha float32
	add   bool
	bias  []float32
	vec   vecLevel
}

const (
	// xBytes of the rows of x that meet at a time stay in the first cache while rows of a pass.
	xBytes = 24 << 10
	// pieceBytes of four rows of a that are widened or rounded stay there, too.
	pieceBytes = 4096
	// chunkBytes of a are in the second cache, for all rows of x and all pieces, while as many come from memory.
	chunkBytes = 96 << 10
	// onceRows is up to how many rows of x a passes by once, which leaves the processor's own prefetching in step with it.
	onceRows = 4
)

// inPlace says that the kernels read rows of a where they lie.
func (d *dots) inPlace() bool {
	return d.round == exact && (d.w == nil || d.vec >= vec512 && d.a.dtype == Lossless && d.a.cols%losslessBlock == 0)
}

// piece is the numbers of K per pass: part of the order of summation.
func (d *dots) piece() int {
	s, k := dotShapes[d.vec], max(1, d.a.cols)
	if d.once() {
		return k
	}
	most := xBytes * s.per / (4 * min(d.c.Rows, s.rows))
	switch {
	case d.inPlace():
	case d.vec == vecPairs:
		most = min(most, pieceBytes/BF16.size())
	default:
		most = min(most, pieceBytes/F32.size())
	}
	return min(k, ceil(ceil(k, ceil(k, most)), 64)*64)
}

// run computes the dots. Threads own rows or columns.
func (d *dots) run(serial bool) {
	if d.add && d.bias != nil {
		start(d.c, d.bias, 0, true)
	}
	threads := runtime.GOMAXPROCS(0)
	if serial || threads == 1 || small(d.c, max(d.a.cols, d.b.Cols)) {
		d.part(0, d.c.Rows, 0, d.c.Cols)
		return
	}
	if d.c.Rows > d.c.Cols {
		rows := dotShapes[d.vec].rows
		units := ceil(d.c.Rows, rows)
		n := pieces(units, max(8, 1<<15/d.x.Cols), threads)
		Parallel(n, func(i int) { d.part(units*i/n*rows, min(d.c.Rows, units*(i+1)/n*rows), 0, d.c.Cols) })
		return
	}
	units := ceil(d.c.Cols, 4)
	n := pieces(units, max(8, 1<<17/d.x.Cols), threads)
	Parallel(n, func(i int) { d.part(0, d.c.Rows, units*i/n*4, min(d.c.Cols, units*(i+1)/n*4)) })
}

// part computes rows m0 … m1 and columns n0 … n1.
func (d *dots) part(m0, m1, n0, n1 int) {
	rows, piece := dotShapes[d.vec].rows, d.piece()
	var copied *[]float32
	if !d.inPlace() {
		copied = floats.get(4 * piece)
		defer floats.put(copied)
	}
	var job dotJob
	d.begin(&job)
	// A strip of x stays in the second cache while a passes.
	strip := max(1, 1<<16/(rows*piece)) * rows
	for m := m0; m < m1; m += strip {
		me, cols := min(m+strip, m1), 0
		for n := n0; n < n1; n += cols {
			cols = d.chunk(n1 - n)
			d.prefetch(&job, n, cols, me-m)
			for k := 0; k == 0 || k < d.a.cols; k += piece { // of no columns, s·bᵀ is all there is
				a := numbers{rows: cols, cols: min(piece, d.a.cols-k), step: d.a.step, dtype: d.a.dtype}
				if copied == nil {
					a.data = d.a.at(n, k)
				} else {
					d.copied(&a, *copied, n, k)
				}
				d.strip(&job, &a, m, me, n, k)
			}
		}
	}
}

// chunk is how many of the n columns left meet rows of x in one go: four, or any number of times four that are read in place.
func (d *dots) chunk(n int) int {
	switch {
	case n < 4:
		return n
	case !d.inPlace() || d.a.cols%dotShapes[d.vec].step > 0:
		return 4
	case d.once():
		return n &^ 3
	}
	return min(n, max(4, chunkBytes/d.a.dtype.bytes(max(1, d.a.cols)))) &^ 3
}

// once says that all of each row of a, read in place, meets all rows of x at a time.
func (d *dots) once() bool {
	return d.c.Rows <= min(onceRows, dotShapes[d.vec].rows) && d.inPlace()
}

// prefetch has rows of a brought in that come after columns n … n+cols, while m rows of x meet these: if once, two groups ahead; else all of the next
// chunk, of which each strip of x brings a share, so that memory is never idle.
func (d *dots) prefetch(job *dotJob, n, cols, m int) {
	s, step := dotShapes[d.vec], d.step()
	job.aheadLine, job.aheadGroup = 64, 0
	group := groupCols(min(m, s.rows))
	switch {
	case !d.inPlace():
		job.ahead, job.aheadStep = 0, 0
	case d.once():
		job.ahead = uintptr(d.a.at(n+2*group, 0))
		job.aheadLine, job.aheadStep = d.a.dtype.bytes(d.a.step), d.a.dtype.bytes(step)
		job.aheadGroup = group*job.aheadLine - d.a.cols/step*job.aheadStep
	default:
		job.ahead = uintptr(d.a.at(n+cols, 0))
		job.aheadStep = group * d.a.dtype.bytes(step) / ceil(m, s.rows)
	}
}

// step is the numbers per step of the kernel.
func (d *dots) step() int {
	if d.a.dtype == Lossless && d.inPlace() {
		return losslessBlock
	}
	return dotShapes[d.vec].step
}

// begin sets what all calls have in common.
func (d *dots) begin(job *dotJob) {
	job.alpha = d.alpha
	if d.a.dtype == Lossless {
		job.exponents = &d.w.q.exponents
	}
	if d.b.Cols == 0 {
		return
	}
	lanes := 16
	if d.vec == vec256 {
		lanes = 8
	}
	job.sRow, job.bRow = 4*d.s.Stride, 4*d.b.Stride
	job.low, job.lowLanes = d.b.Cols/lanes, 1<<(d.b.Cols%lanes)-1
	for l := range d.b.Cols % lanes % 8 {
		job.lowMask[l] = -1
	}
}

// copied makes a a copy of rows n … of d.a, columns from k on, as numbers that the kernels multiply.
func (d *dots) copied(a *numbers, buf []float32, n, k int) {
	a.data, a.step, a.dtype = at(buf, 0), a.cols, F32
	if d.w != nil && (d.vec == vecPairs || d.a.dtype == Lossless) {
		a.dtype = BF16
		d.w.halves(asHalves(buf), n, a.rows, k, a.cols)
		return
	}
	for l := range a.rows {
		dst := buf[l*a.cols:][:a.cols]
		if d.w != nil {
			d.w.part(dst, n+l, k)
		} else {
			d.a.widen(dst, n+l, k)
		}
	}
	d.round.apply(buf[:a.rows*a.cols])
}

// strip computes rows m … me of the columns from n that a holds, whose numbers begin at k: less than four, or whole groups.
func (d *dots) strip(job *dotJob, a *numbers, m, me, n, k int) {
	s, step := dotShapes[d.vec], d.step()
	job.steps, job.dtype, job.tail = a.cols/step, int(a.dtype), a.cols%step
	job.xRow = 4 * d.x.Stride
	if job.tail > 0 {
		clear(job.aTail[:])
		clear(job.xTail[:])
	}
	for i := m; i < me; i += s.rows {
		job.m = min(s.rows, me-i)
		x := at(d.x.Data, i*d.x.Stride+k/s.per)
		for l := 0; l < job.m && job.tail > 0; l++ {
			copy(job.xTail[l][:ceil(job.tail, s.per)], d.x.Data[(i+l)*d.x.Stride+(k+a.cols-job.tail)/s.per:])
		}
		if a.rows < 4 {
			for g := range a.rows {
				job.x = x
				d.one(job, a, g, i, n, k)
			}
			continue
		}
		for g, cols := 0, groupCols(job.m); g < a.rows; g += cols {
			job.groups = a.rows / cols
			if job.tail > 0 {
				job.groups = 1
				for l := range cols {
					d.tail(&job.aTail[l], a, g+l, job.tail)
				}
			}
			job.x, job.a, job.aRow = x, a.at(g, 0), a.dtype.bytes(a.step)
			done := job.groups * cols
			d.groups(job, i, n+g, k, a.cols)
			g += done - cols
		}
	}
}

// tail writes the last n numbers of a's row i to dst.
func (d *dots) tail(dst *[16]float32, a *numbers, i, n int) {
	if d.vec == vecPairs {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(dst)), len(dst)*4), a.bytes(i, a.cols-n, n))
		return
	}
	a.widen(dst[:n], i, a.cols-n)
}

// groups writes groups of columns of c in place.
func (d *dots) groups(job *dotJob, i, n, k, cols int) {
	job.y, job.yRow = at(d.c.Data, i*d.c.Stride+n), 4*d.c.Stride
	step := 4 * groupCols(job.m)
	switch {
	case d.add || k > 0:
		job.src, job.srcRow, job.srcStep = job.y, job.yRow, step
	case d.bias != nil:
		job.src, job.srcRow, job.srcStep = at(d.bias, n), 0, step
	default:
		job.src, job.srcRow, job.srcStep = at(zeros[:], 0), 0, 0
	}
	d.low(job, i, n, k+cols)
	columns := job.groups * groupCols(job.m)
	d.vec.dot(job)
	d.others(i, job.m, n, columns, k, k+cols)
}

// others adds what a lossless weight that is read in place lists beside its blocks, of columns k … end, to m rows and so many columns of c.
func (d *dots) others(i, m, n, columns, k, end int) {
	if d.a.dtype != Lossless || !d.inPlace() {
		return
	}
	l := d.w.q.lossless
	if l.first[n] == l.first[n+columns] {
		return
	}
	for c := n; c < n+columns; c++ {
		for o := l.first[c]; o < l.first[c+1]; o++ {
			col := int(l.cols[o])
			if col < k || col >= end {
				continue
			}
			v := d.alpha * wideBF16(l.bits[o])
			for r := i; r < i+m; r++ {
				d.c.Data[r*d.c.Stride+c] += d.number(r, col) * v
			}
		}
	}
}

// number is one of x.
func (d *dots) number(row, col int) float32 {
	if d.vec == vecPairs {
		return wideBF16(asHalves(d.x.Row(row))[col])
	}
	return d.x.Row(row)[col]
}

// low adds the product of low rank to the last piece of the sums.
func (d *dots) low(job *dotJob, i, n, end int) {
	job.b = nil
	if d.b.Cols > 0 && end == d.a.cols {
		job.s, job.b, job.bRow = at(d.s.Data, i*d.s.Stride), at(d.b.Data, n*d.b.Stride), 4*d.b.Stride
	}
}

// one writes column n+g of c, through a copy: as a group of columns that are all the same.
func (d *dots) one(job *dotJob, a *numbers, g, i, n, k int) {
	buf := floats.get(32)
	defer floats.put(buf)
	out := *buf
	for l := range job.m {
		y := float32(0)
		switch {
		case d.add || k > 0:
			y = d.c.Data[(i+l)*d.c.Stride+n+g]
		case d.bias != nil:
			y = d.bias[n+g]
		}
		out[4*l] = y
	}
	for l := 0; l < 4 && job.tail > 0; l++ {
		d.tail(&job.aTail[l], a, g, job.tail)
	}
	job.y, job.yRow = at(out, 0), 16
	job.src, job.srcRow = job.y, job.yRow
	job.a, job.aRow, job.groups = a.at(g, 0), 0, 1
	d.low(job, i, n+g, k+a.cols)
	job.bRow = 0
	d.vec.dot(job)
	for l := range job.m {
		d.c.Data[(i+l)*d.c.Stride+n+g] = out[4*l]
	}
	d.others(i, job.m, n+g, 1, k, k+a.cols)
}
