//go:build !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// splitJob brings 16·steps numbers to 16 bits: times scale, rounded, plus 2^15, in two halves.
type splitJob struct {
	src, hi, lo unsafe.Pointer
	steps       int
	scale       float32
}

// byteJob is one call of the kernel of few rows for weights of 8 bits: groups of four rows of a. x has for each of
// its rows one of upper and one of lower bytes, both without sign, xRow apart:
//
//	y[i][l] = xScales[i]·scales[l]·(256·(Σ_k hi[i][k]·a[l][k] − sums[l]) + Σ_k lo[i][k]·a[l][k]) + src[i][l]
//
// Steps are 64 numbers; lanes are the bits of those left. Otherwise as dotJob.
type byteJob struct {
	x, a, y, src          unsafe.Pointer
	sums, scales, xScales unsafe.Pointer
	xRow, aRow            int
	ahead                 uintptr
	aheadLine, aheadStep  int
	aheadGroup            int
	yRow, srcRow, srcStep int
	steps, m, groups      int
	lanes                 uint64
	step                  float32 // 256
}

//go:noescape
func splitBytes(j *splitJob)

//go:noescape
func byteDots(j *byteJob)

// shortRows are activations of 16 bits: [T][hi, lo][stride] and the scales [T].
type shortRows struct {
	data   []byte
	stride int
	scales []float32
}

// shortRows are the activations as rows of 16 bits.
func (a *Acts) shortRows() shortRows {
	a.mu.Lock()
	defer a.mu.Unlock()
	stride := 4 * apart(ceil(a.x.Cols, 64)*16)
	if a.shorts == nil {
		a.shorts, a.shortScales = octets.get(2*a.x.Rows*stride), floats.get(a.x.Rows)
		for i := range a.x.Rows {
			(*a.shortScales)[i] = splitRow((*a.shorts)[2*i*stride:], stride, a.x.Row(i))
		}
	}
	return shortRows{*a.shorts, stride, *a.shortScales}
}

// splitRow writes the upper bytes of a row to dst and the lower ones stride further, and returns the row's scale. What lies beyond the row's end is
// undefined.
func splitRow(dst []byte, stride int, x []float32) float32 {
	scale, inverse := shortScale(x)
	job := splitJob{scale: inverse}
	if whole := len(x) / 16; whole > 0 {
		job.src, job.hi, job.lo, job.steps = at(x, 0), at(dst, 0), at(dst, stride), whole
		splitBytes(&job)
	}
	if n := len(x) &^ 15; n < len(x) {
		var rest [16]float32
		copy(rest[:], x[n:])
		job.src, job.hi, job.lo, job.steps = at(rest[:], 0), at(dst, n), at(dst, stride+n), 1
		splitBytes(&job)
	}
	return scale
}

// bytesProduct is c (+)= x·Wᵀ + bias for few rows x of 16 bits and a weight of 8.
type bytesProduct struct {
	c    Mat
	x    shortRows
	w    *Frozen
	add  bool
	bias []float32
}

// run computes the product; threads own columns.
func (d *bytesProduct) run() {
	if d.add && d.bias != nil {
		start(d.c, d.bias, 0, true)
	}
	threads := runtime.GOMAXPROCS(0)
	if threads == 1 || small(d.c, d.w.Cols) {
		d.part(0, d.c.Cols)
		return
	}
	units := ceil(d.c.Cols, 4)
	n := columnPieces(units, d.w.Cols, threads)
	Parallel(n, func(i int) { d.part(units*i/n*4, min(d.c.Cols, units*(i+1)/n*4)) })
}

// columnPieces is how many pieces units of four columns are cut into, each sums of k numbers.
func columnPieces(units, k, threads int) int { return pieces(units, max(8, 1<<17/k), threads) }

const (
	// byteRows are the rows of x of a call.
	byteRows = 2
	// byteChunk is how much of the weight is in the second cache, for all rows of x, while as much comes from memory.
	byteChunk = 64 << 10
)

// part computes columns n0 … n1.
func (d *bytesProduct) part(n0, n1 int) {
	k := d.w.Cols
	job := byteJob{xRow: d.x.stride, aRow: k, yRow: 4 * d.c.Stride, steps: k / 64, lanes: 1<<(k%64) - 1, step: 256}
	cols := 0
	for n := n0; n < n1; n += cols {
		cols = d.chunk(n1 - n)
		d.prefetch(&job, n, cols)
		for i := 0; i < d.c.Rows; i += byteRows {
			job.m = min(byteRows, d.c.Rows-i)
			job.x, job.xScales = at(d.x.data, 2*i*d.x.stride), at(d.x.scales, i)
			if cols >= 4 {
				d.groups(&job, i, n, cols)
				continue
			}
			for l := range cols {
				d.one(job, i, n+l)
			}
		}
	}
}

// chunk is how many of the n columns left meet all rows of x in one go.
func (d *bytesProduct) chunk(n int) int {
	switch {
	case n < 4:
		return n
	case d.c.Rows <= byteRows: // the weight is read once
		return n &^ 3
	}
	return min(n, max(4, byteChunk/d.w.Cols)) &^ 3
}

// prefetch is dots.prefetch.
func (d *bytesProduct) prefetch(job *byteJob, n, cols int) {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(d.w.q.bytes)))
	if k := d.w.Cols; d.c.Rows <= byteRows {
		job.ahead = base + uintptr((n+8)*k)
		job.aheadLine, job.aheadStep, job.aheadGroup = k, 64, 4*k-job.steps*64
		return
	}
	job.ahead = base + uintptr((n+cols)*d.w.Cols)
	job.aheadLine, job.aheadStep, job.aheadGroup = 64, 4*64/ceil(d.c.Rows, byteRows), 0
}

// groups writes whole groups of columns of c in place.
func (d *bytesProduct) groups(job *byteJob, i, n, cols int) {
	job.a, job.sums, job.scales = at(d.w.q.bytes, n*d.w.Cols), at(d.w.q.sums, n), at(d.w.q.scales, n)
	job.y, job.groups = at(d.c.Data, i*d.c.Stride+n), cols/4
	switch {
	case d.add:
		job.src, job.srcRow, job.srcStep = job.y, job.yRow, 16
	case d.bias != nil:
		job.src, job.srcRow, job.srcStep = at(d.bias, n), 0, 16
	default:
		job.src, job.srcRow, job.srcStep = at(zeros[:], 0), 0, 0
	}
	byteDots(job)
}

// one writes column n of c, through copies: as a group of columns that are all the same.
func (d *bytesProduct) one(job byteJob, i, n int) {
	var out [4][4]float32
	var sums [4]int32
	var scales [4]float32
	for l := range 4 {
		sums[l], scales[l] = d.w.q.sums[n], d.w.q.scales[n]
	}
	for r := range job.m {
		switch {
		case d.add:
			out[r][0] = d.c.Data[(i+r)*d.c.Stride+n]
		case d.bias != nil:
			out[r][0] = d.bias[n]
		}
	}
	job.a, job.aRow, job.sums, job.scales = at(d.w.q.bytes, n*d.w.Cols), 0, unsafe.Pointer(&sums), unsafe.Pointer(&scales)
	job.y, job.yRow, job.groups = unsafe.Pointer(&out), 16, 1
	job.src, job.srcRow = job.y, job.yRow
	byteDots(&job)
	for r := range job.m {
		d.c.Data[(i+r)*d.c.Stride+n] = out[r][0]
	}
}
