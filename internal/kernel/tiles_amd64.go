//go:build !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// tileJob is one assembly call: n x m blocks of 32x32 results over k steps of 32. All strides are bytes.
//
//	A block (32 rows): two tiles of 16 rows x 64 bytes, row stride aRow, the second a1 behind the first; the next step aStep on, the next block aM on.
//	B block (32 columns): two tiles [16 pairs][16 columns][2], 1 KB each, side by side; the next step bStep on, the next block bN on.
//	C block: tile (i,j) at i*c2 + j*c1, row stride cRow; the next A block's cM on, the next B block's cN on.
//
// Low parts of an operand lie 2 KB behind its high parts. The whole loop is one call from LDTILECFG to TILERELEASE: Go
// never preempts assembly, so tile state never crosses a scheduling point.
type tileJob struct {
	cfg             *[64]byte
	a, b, c, bias   unsafe.Pointer
	aRow, a1, aStep int
	aM, bStep, bN   int
	cRow, c1, c2    int
	cM, cN          int
	n, m, k         int
	mode            int // which operands carry low parts: 0 none, 1 A, 2 B, 3 both
	init            int // C starts as 0: zero, 1: itself, 2: the bias row
}

//go:noescape
func tileBlocks(j *tileJob)

// tileConfig: palette 1, eight tiles of 16 rows x 64 bytes.
var tileConfig = func() (c [64]byte) {
	c[0] = 1
	for i := range 8 {
		c[16+2*i], c[48+i] = 64, 16
	}
	return c
}()

const (
	tileSize  = 512 // bf16 numbers in a tile: 1 KB
	tileCols  = 8   // B blocks of 32 columns made per round and thread
	tileSteps = 64  // steps of 32 made per round: tileCols·tileSteps·2 KB = 1 MB of scratch, half of the second cache
	tileRows  = 2   // A blocks of 32 rows per assembly call
)

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// leftTiles are the activations as A blocks: [T/32][K/32][hi, lo][2 tiles][16 rows][32] bf16, zeros beyond T and K.
func (a *Acts) leftTiles() []uint16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tiles == nil {
		lo := bit(a.mode == ModeSplit)
		block := ceil(a.x.Cols, 32) * 2 * tileSize * (1 + lo)
		a.tiles = halves.get(ceil(a.x.Rows, 32) * block)
		dst := *a.tiles
		Split(ceil(a.x.Rows, 32), max(1, 1<<17/block), func(from, to int) {
			for b := from; b < to; b++ {
				packTileRows(dst[b*block:(b+1)*block], a.x, b*32, lo)
			}
		})
	}
	return *a.tiles
}

// packTileRows makes the A block of rows t0 … t0+32.
func packTileRows(dst []uint16, x Mat, t0, lo int) {
	steps, full := ceil(x.Cols, 32), x.Cols/32
	step := 2 * tileSize * (1 + lo)
	var tail [32]float32
	for r := range 32 {
		row := dst[r*32:]
		if t0+r >= x.Rows {
			for s := range steps {
				clear(row[s*step:][:32])
				if lo > 0 {
					clear(row[s*step+2*tileSize:][:32])
				}
			}
			continue
		}
		src := x.Row(t0 + r)
		if full > 0 {
			cvtRow(&row[0], &src[0], full, 2*step, 4*tileSize*lo)
		}
		if full < steps {
			copy(tail[:], src[full*32:])
			cvtRow(&row[full*step], &tail[0], 1, 2*step, 4*tileSize*lo)
		}
	}
}

// tileSource makes B blocks: out[p][s] for blocks p0 … p0+np of 32 columns and steps s0 … s0+ns of 32.
type tileSource interface {
	blocks(out []uint16, p0, np, s0, ns int)
	low() bool // low parts lie behind the high ones
}

// tileProduct is y (+)= A·B + bias over steps of 32 in the contracted dimension.
type tileProduct struct {
	y     Mat
	steps int
	a     []uint16 // as leftTiles leaves it
	aLow  bool
	b     tileSource
	add   bool
	bias  []float32
	more  *product // to be added to the same results; nil if nothing
}

// run computes the product. Each thread owns ranges of columns, so every result is summed in one order whatever the
// number of threads.
func (p *tileProduct) run() {
	if p.add && p.bias != nil {
		start(p.y, p.bias, 0, true)
	}
	blocks := ceil(p.y.Cols, 32)
	n := pieces(blocks, tileCols, runtime.GOMAXPROCS(0))
	Parallel(n, func(i int) { p.columns(blocks*i/n, blocks*(i+1)/n) })
}

// columns computes blocks from … to of 32 columns.
func (p *tileProduct) columns(from, to int) {
	bStep := 4 * tileSize * (1 + bit(p.b.low()))
	scratch := halves.get(min(tileCols, to-from) * min(tileSteps, p.steps) * bStep / 2)
	defer halves.put(scratch)
	for q := from; q < to; q += tileCols {
		n := min(tileCols, to-q)
		for s := 0; s < p.steps; s += tileSteps {
			ns := min(tileSteps, p.steps-s)
			p.b.blocks(*scratch, q, n, s, ns)
			p.multiply(tileJob{b: at(*scratch, 0), bStep: bStep, bN: ns * bStep, n: n, k: ns, mode: 2 * bit(p.b.low())}, q, s)
		}
		if p.more != nil {
			p.more.part(0, p.y.Rows, 32*q, min(p.y.Cols, 32*(q+n)), region{})
		}
	}
}

// multiply computes all rows of the columns from block q on, steps from s on: the job says which B blocks they are.
func (p *tileProduct) multiply(j tileJob, q, s int) {
	aStep := 4 * tileSize * (1 + bit(p.aLow))
	j.cfg, j.aRow, j.a1, j.aStep, j.aM = &tileConfig, 64, 2*tileSize, aStep, p.steps*aStep
	j.cRow, j.c1, j.c2, j.cM, j.cN = 4*p.y.Stride, 64, 64*p.y.Stride, 128*p.y.Stride, 128
	j.mode += bit(p.aLow)
	switch {
	case p.add || s > 0:
		j.init = 1
	case p.bias != nil:
		j.init = 2
	}
	rows := ceil(p.y.Rows, 32)
	for m := 0; m < rows; m += tileRows {
		j.a, j.m = at(p.a, (m*p.steps+s)*aStep/2), min(tileRows, rows-m)
		p.call(j, m, q)
	}
}

// call computes the job's blocks from row block m and column block q: those inside y at once, those across its edges one
// by one.
func (p *tileProduct) call(j tileJob, m, q int) {
	cols, rows := min(j.n, p.y.Cols/32-q), min(j.m, p.y.Rows/32-m)
	if cols > 0 && rows > 0 {
		k := j
		k.m, k.n, k.c = rows, cols, at(p.y.Data, m*32*p.y.Stride+q*32)
		if k.init == 2 {
			k.bias = at(p.bias, q*32)
		}
		tileBlocks(&k)
	}
	for qi := range j.n {
		for mi := range j.m {
			if qi >= cols || mi >= rows {
				p.edge(j, m, q, mi, qi)
			}
		}
	}
}

// edge computes one block of which only a part lies inside y, through a copy.
func (p *tileProduct) edge(j tileJob, m, q, mi, qi int) {
	var c [1024]float32
	t, n := (m+mi)*32, (q+qi)*32
	h, w := min(32, p.y.Rows-t), min(32, p.y.Cols-n)
	for i := range h {
		switch j.init {
		case 1:
			copy(c[i*32:i*32+w], p.y.Data[(t+i)*p.y.Stride+n:])
		case 2:
			copy(c[i*32:i*32+w], p.bias[n:])
		}
	}
	j.a, j.b = unsafe.Add(j.a, mi*j.aM), unsafe.Add(j.b, qi*j.bN)
	j.c, j.cRow, j.c1, j.c2, j.m, j.n, j.init = unsafe.Pointer(&c[0]), 128, 64, 64*32, 1, 1, 1
	tileBlocks(&j)
	for i := range h {
		copy(p.y.Data[(t+i)*p.y.Stride+n:][:w], c[i*32:])
	}
}
