//go:build !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// dotJob is one call of a kernel of few rows: y[i][l] = alpha·Σ_k x[i][k]·a[l][k] + src[i][l] for m rows of x and four of
// a. Strides are bytes; steps are whole registers, the partial one lies padded with zeros in the job. With each step
// a line of each of four rows aRow apart is brought into the second cache, from ahead bytes behind a on, aheadStep bytes
// further each time.
type dotJob struct {
	x, a, y, src    unsafe.Pointer
	xRow, aRow      int
	ahead           int
	aheadStep       int
	yRow, srcRow    int
	steps, m, dtype int
	tail            int // 1 if there is a partial step
	alpha           float32
	xTail, aTail    [4][16]float32
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
	vec256: {3, 8, 1, 16}, vec512: {4, 16, 1, 32}, vecPairs: {4, 32, 2, 24},
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

// dots is c (+)= alpha·x·aᵀ + bias for few rows of a or of x.
type dots struct {
	c     Mat      // [M, N]
	x     Mat      // [M, K], or [M, K/2] pairs padded with zeros
	a     numbers  // [N, K]
	w     *Frozen  // a, if that is quantised; else nil
	round rounding // of a
	alpha float32
	add   bool
	bias  []float32
	vec   vecLevel
}

// pieceBytes of each row of a meet all rows of x before the rest does: four such pieces stay in the first cache.
const pieceBytes = 4096

// piece is the numbers of K per pass: part of the order of summation.
func (d *dots) piece() int {
	switch {
	case d.w != nil && d.vec == vecPairs:
		return pieceBytes / BF16.size()
	case d.w != nil:
		return pieceBytes / F32.size()
	case d.c.Rows <= dotShapes[d.vec].rows: // a is read once
		return d.a.cols
	case d.round != exact:
		return pieceBytes / F32.size()
	}
	return pieceBytes / d.a.dtype.size()
}

// run computes the dots. Threads own rows or columns.
func (d *dots) run(serial bool) {
	if d.add && d.bias != nil {
		start(d.c, d.bias, 0, true)
	}
	threads := runtime.GOMAXPROCS(0)
	if serial || threads == 1 || small(d.c, d.a.cols) {
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
	rows, piece := dotShapes[d.vec].rows, min(d.piece(), d.a.cols)
	var copied *[]float32
	if d.round != exact || d.w != nil {
		copied = floats.get(4 * piece)
		defer floats.put(copied)
	}
	var job dotJob
	job.alpha = d.alpha
	// A strip of x stays in the second cache while a passes.
	strip := max(1, 1<<16/(rows*piece)) * rows
	for m := m0; m < m1; m += strip {
		for k := 0; k < d.a.cols; k += piece {
			ke := min(k+piece, d.a.cols)
			for n := n0; n < n1; n += 4 {
				a := numbers{rows: min(4, n1-n), cols: ke - k, step: d.a.step, dtype: d.a.dtype}
				if copied == nil {
					a.data = d.a.at(n, k)
				} else {
					d.copied(&a, *copied, n, k)
				}
				d.strip(&job, &a, m, min(m+strip, m1), n, k)
			}
		}
	}
}

// copied makes a a copy of rows n … of d.a, columns from k on, as numbers that the kernels multiply.
func (d *dots) copied(a *numbers, buf []float32, n, k int) {
	a.data, a.step, a.dtype = at(buf, 0), a.cols, F32
	if d.w != nil && d.vec == vecPairs {
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

// strip computes rows m … me of up to four columns from n; a holds their numbers from k on.
func (d *dots) strip(job *dotJob, a *numbers, m, me, n, k int) {
	s := dotShapes[d.vec]
	job.steps, job.dtype, job.tail = a.cols/s.step, int(a.dtype), a.cols%s.step
	job.xRow = 4 * d.x.Stride
	if job.tail > 0 {
		clear(job.aTail[:])
		clear(job.xTail[:])
	}
	// The same columns of the four rows below come next. Each strip of x brings in a share of them, so that memory is never idle.
	ahead := 0
	if d.round == exact && d.w == nil {
		ahead = 4 * a.step * a.dtype.size()
	}
	job.aheadStep = s.step * a.dtype.size() / ceil(me-m, s.rows)
	groups, cols := 1, 4
	job.aRow = a.step * a.dtype.size()
	if a.rows < 4 { // one column at a time, four times the same
		groups, cols, job.aRow = a.rows, 1, 0
	}
	for g := range groups {
		job.a = a.at(g, 0)
		for l := 0; l < 4 && job.tail > 0; l++ {
			d.tail(&job.aTail[l], a, g+l*(cols/4), job.tail)
		}
		for i := m; i < me; i += s.rows {
			job.m = min(s.rows, me-i)
			job.x = at(d.x.Data, i*d.x.Stride+k/s.per)
			job.ahead = ahead + (i-m)/s.rows*job.steps*job.aheadStep
			for l := 0; l < job.m && job.tail > 0; l++ {
				copy(job.xTail[l][:ceil(job.tail, s.per)], d.x.Data[(i+l)*d.x.Stride+(k+a.cols-job.tail)/s.per:])
			}
			if cols == 4 {
				d.four(job, i, n, k > 0)
			} else {
				d.one(job, i, n+g, k > 0)
			}
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

// four writes four columns of c in place.
func (d *dots) four(job *dotJob, i, n int, more bool) {
	job.y, job.yRow = at(d.c.Data, i*d.c.Stride+n), 4*d.c.Stride
	switch {
	case d.add || more:
		job.src, job.srcRow = job.y, job.yRow
	case d.bias != nil:
		job.src, job.srcRow = at(d.bias, n), 0
	default:
		job.src, job.srcRow = at(zeros[:], 0), 0
	}
	d.vec.dot(job)
}

// one writes one column of c, through a copy.
func (d *dots) one(job *dotJob, i, n int, more bool) {
	buf := floats.get(16)
	defer floats.put(buf)
	out := *buf
	for l := range job.m {
		y := float32(0)
		switch {
		case d.add || more:
			y = d.c.Data[(i+l)*d.c.Stride+n]
		case d.bias != nil:
			y = d.bias[n]
		}
		out[4*l] = y
	}
	job.y, job.yRow = at(out, 0), 16
	job.src, job.srcRow = job.y, job.yRow
	d.vec.dot(job)
	for l := range job.m {
		d.c.Data[(i+l)*d.c.Stride+n] = out[4*l]
	}
}
