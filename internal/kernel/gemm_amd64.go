//go:build !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// blockJob is one call of a micro-kernel: blocks of m rows and nr columns, c = alpha·Σ_k a·b + src. Strides are bytes.
//
//	a: element (i, k) of a block at i*aRow + k*aStep; the next block aM on
//	b: nr numbers per k, bRow apart
//	c, src: rows of nr numbers, cRow and srcRow apart; the next block's cM and srcM on. src may be c.
//
// Meanwhile ahead goes on.
type blockJob struct {
	c, src, a, b    unsafe.Pointer
	cRow, cM        int
	srcRow, srcM    int
	aRow, aStep, aM int
	bRow            int
	k, m, blocks    int
	alpha           float32
	ahead           ahead
}

//go:noescape
func gemm256(j *blockJob)

//go:noescape
func gemm512(j *blockJob)

//go:noescape
func gemmPairs(j *blockJob)

func (v vecLevel) gemm(j *blockJob) {
	switch v {
	case vecPairs:
		gemmPairs(j)
	case vec512:
		gemm512(j)
	default:
		gemm256(j)
	}
}

// geometry is the blocking of a micro-kernel of mr rows and nr columns. Panels of kc x nr numbers of b stay in the first
// cache, nc columns of them and mc rows of a in the second. kc is part of the order of summation. vecPairs counts pairs.
type geometry struct{ mr, nr, kc, nc, mc int }

const (
	maxNR = 32
	maxMC = 192
)

var geometries = [...]geometry{
	vec256: {mr: 6, nr: 16, kc: 256, nc: 256, mc: maxMC},
	vec512: {mr: 12, nr: maxNR, kc: 192, nc: 384, mc: maxMC / 2},

	vecPairs: {mr: 12, nr: maxNR, kc: 256, nc: 384, mc: maxMC / 2},
}

// left is the left operand of a product. Of a matrix as it is, element (i, k) lies at i*row + k*step; of one that is packed, as
// blocked says.
type left struct {
	data      []float32
	row, step int
	packed    *blocked
}

// at is the address of row i, the first of a panel, at step k, the first of a block, and the distance of panels of mr rows
// from there, in numbers.
func (a *left) at(i, k, mr int) (p unsafe.Pointer, panel int) {
	if a.packed == nil {
		return at(a.data, i*a.row+k*a.step), mr * a.row
	}
	first, steps := a.packed.at(i/mr, k)
	return at(a.data, first), mr * steps
}

// blocked is how a left operand is packed: blocks of kc steps, in each of them all panels of mr rows as [kc][mr]. So the
// rows that stay in the second cache are one piece of memory; panels of all steps would lie a multiple of 4 KB apart and
// share the sets of the first cache.
type blocked struct{ mr, kc, panels, steps int }

// blocked is the geometry's packing of m rows and k steps.
func (g *geometry) blocked(m, k int) *blocked {
	return &blocked{mr: g.mr, kc: g.kc, panels: ceil(m, g.mr), steps: k}
}

func (b *blocked) size() int { return b.panels * b.mr * b.steps }

// at is where panel p of the block from step k begins, and how many steps the block has.
func (b *blocked) at(p, k int) (first, steps int) {
	steps = min(b.kc, b.steps-k)
	return (b.panels*k + p*steps) * b.mr, steps
}

// columns is the right operand of a product: it makes panels of nr columns.
type columns interface {
	// pack writes columns n0 … n1 of steps k0 … k1 as panels [k1-k0][nr], zeros beyond the last column.
	pack(dst []float32, nr, n0, n1, k0, k1 int)
}

// product is c (+)= alpha·a·b + bias.
type product struct {
	c     Mat
	k     int
	a     left
	b     columns
	alpha float32
	add   bool
	bias  []float32 // nil or one for each column
	vec   vecLevel
	from  weights  // that b is made of, if any
	more  *product // to be added to the same results; nil if nothing
}

// run computes the product, by several threads unless serial. Threads own columns or rows, so every result is summed in
// the same order whatever their number.
func (p *product) run(serial bool) {
	g := &geometries[p.vec]
	if p.add && p.bias != nil {
		start(p.c, p.bias, 0, true)
	}
	cols, rows := ceil(p.c.Cols, g.nr), ceil(p.c.Rows, g.mr)
	threads := runtime.GOMAXPROCS(0)
	switch {
	case serial || threads == 1 || small(p.c, p.k):
		first := p.first(0, p.c.Cols)
		p.part(0, p.c.Rows, 0, p.c.Cols, p.from.follow(first, first)[0])
	case cols >= 2*threads || cols >= rows:
		n := max(pieces(cols, g.nc/g.nr, threads), min(cols, piecesEach*threads))
		piece := func(i int) (n0, n1 int) { return cols * i / n * g.nr, min(p.c.Cols, cols*(i+1)/n*g.nr) }
		follow := p.from.follow(p.first(piece(0)), p.first(piece(1)))
		Parallel(n, func(i int) {
			n0, n1 := piece(i)
			then := follow[i%2]
			if i+threads < n {
				then = p.first(piece(i + threads))
			}
			p.part(0, p.c.Rows, n0, n1, then)
		})
	default:
		n := pieces(rows, 4*g.mc/g.mr, threads)
		first := p.first(0, p.c.Cols)
		follow := p.from.follow(first, first)
		Parallel(n, func(i int) {
			p.part(rows*i/n*g.mr, min(p.c.Rows, rows*(i+1)/n*g.mr), 0, p.c.Cols, follow[0])
		})
	}
}

// piecesEach is how many pieces of its columns a thread takes at least: then none waits long for another that was held up.
const piecesEach = 2

// small says that a product, such as one with an adapter's matrix for a single row, takes less time than waking another thread.
func small(c Mat, k int) bool { return c.Rows*c.Cols*k <= smallWork }

const smallWork = 1 << 17

// pieces is the number of pieces, of at most size units, that units are cut into: a multiple of the threads if possible.
func pieces(units, size, threads int) int {
	return min(units, ceil(ceil(units, size), threads)*threads)
}

// part computes rows m0 … m1 and columns n0 … n1; m0 is a multiple of mr, n0 of nr. What then is likely to come is brought in at the end.
func (p *product) part(m0, m1, n0, n1 int, then region) {
	g := geometries[p.vec].fit(p.k)
	scratch := floats.get(min(g.kc, p.k) * min(g.nc, ceil(n1-n0, g.nr)*g.nr))
	defer floats.put(scratch)
	var job blockJob
	for n := n0; n < n1; n += g.nc {
		ne := min(n+g.nc, n1)
		for k := 0; k < p.k; k += g.kc {
			ke := min(k+g.kc, p.k)
			p.b.pack(*scratch, g.nr, n, ne, k, ke)
			job.bRow, job.k = 4*g.nr, ke-k
			job.ahead.begin(p.next(&g, n, n1, ke, then), ceil(m1-m0, g.mr)*ceil(ne-n, g.nr)*(ke-k))
			for m := m0; m < m1; m += g.mc {
				for q := n; q < ne; q += g.nr {
					job.b = at(*scratch, (q-n)*(ke-k))
					p.panel(&job, m, min(m+g.mc, m1), q, k)
				}
			}
		}
		if p.more != nil {
			p.more.part(m0, m1, n, ne, region{})
		}
	}
}

// first is what is packed first of columns n0 … n1.
func (p *product) first(n0, n1 int) region {
	g := geometries[p.vec].fit(p.k)
	return p.from.where(n0, min(n0+g.nc, n1), 0, min(g.kc, p.k))
}

// next is what is packed after the block of the columns n … n1 whose steps end at k.
func (p *product) next(g *geometry, n, n1, k int, then region) region {
	switch {
	case k < p.k:
		return p.from.where(n, min(n+g.nc, n1), k, min(k+g.kc, p.k))
	case n+g.nc < n1:
		return p.first(n+g.nc, n1)
	}
	return then
}

// fit is the blocking for products that sum k numbers. Where they are few, reading and writing c is most of the work:
// then few rows of c are passed from end to end.
func (g geometry) fit(k int) geometry {
	switch {
	case k <= 32:
		g.mc = g.mr
	case k <= 128:
		g.mc /= 2
	default:
		return g
	}
	g.nc = g.nc * g.kc / (2 * k) / g.nr * g.nr
	return g
}

// zeros is what a first block's sums are added to.
var zeros [maxNR]float32

// panel computes rows m … me of the panel of columns from q, steps from k.
func (p *product) panel(job *blockJob, m, me, q, k int) {
	g := &geometries[p.vec]
	w := min(g.nr, p.c.Cols-q)
	job.aRow, job.aStep = 4*p.a.row, 4*p.a.step
	job.alpha = p.alpha
	job.cRow, job.cM = 4*p.c.Stride, 4*p.c.Stride*g.mr
	fromC := p.add || k > 0
	switch {
	case w < g.nr:
		p.edge(job, m, me, q, k, w, fromC)
		return
	case fromC:
		job.src, job.srcRow, job.srcM = at(p.c.Data, m*p.c.Stride+q), job.cRow, job.cM
	case p.bias != nil:
		job.src, job.srcRow, job.srcM = at(p.bias, q), 0, 0
	default:
		job.src, job.srcRow, job.srcM = at(zeros[:], 0), 0, 0
	}
	job.c = at(p.c.Data, m*p.c.Stride+q)
	p.blocks(job, m, me, k)
}

// blocks runs the micro-kernel on rows m … me.
func (p *product) blocks(job *blockJob, m, me, k int) {
	mr := geometries[p.vec].mr
	full, rest := (me-m)/mr, (me-m)%mr
	var panel int
	job.a, panel = p.a.at(m, k, mr)
	job.aM = 4 * panel
	if full > 0 {
		job.m, job.blocks = mr, full
		p.vec.gemm(job)
	}
	if rest > 0 {
		if full > 0 {
			job.a = unsafe.Add(job.a, full*job.aM)
			job.c, job.src = unsafe.Add(job.c, full*job.cM), unsafe.Add(job.src, full*job.srcM)
		}
		job.m, job.blocks = rest, 1
		p.vec.gemm(job)
	}
}

// edge computes a panel of which only w columns exist, through a copy of c.
func (p *product) edge(job *blockJob, m, me, q, k, w int, fromC bool) {
	g := &geometries[p.vec]
	c := floats.get((maxMC + 1) * g.nr)
	defer floats.put(c)
	job.c, job.cRow, job.cM = at(*c, g.nr), 4*g.nr, 4*g.nr*g.mr
	switch {
	case fromC:
		for i := m; i < me; i++ {
			copy((*c)[(i-m+1)*g.nr:][:w], p.c.Data[i*p.c.Stride+q:])
		}
		job.src, job.srcRow, job.srcM = job.c, job.cRow, job.cM
	case p.bias != nil:
		copy((*c)[:w], p.bias[q:])
		job.src, job.srcRow, job.srcM = at(*c, 0), 0, 0
	default:
		job.src, job.srcRow, job.srcM = at(zeros[:], 0), 0, 0
	}
	p.blocks(job, m, me, k)
	for i := m; i < me; i++ {
		copy(p.c.Data[i*p.c.Stride+q:][:w], (*c)[(i-m+1)*g.nr:])
	}
}

// at is the address of s[i].
func at[E any](s []E, i int) unsafe.Pointer { return unsafe.Pointer(&s[i]) }
