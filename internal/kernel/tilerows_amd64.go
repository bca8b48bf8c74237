//go:build !purego

package kernel

import (
	"runtime"
	"unsafe"
)

//go:noescape
func transposeOut(y *float32, yRow int, c *float32, cStep, tiles, add int, bias *float32)

// fewTileRows is the number of rows up to which yᵀ = W·xᵀ with W's rows as the left tiles beats making blocks of W.
const fewTileRows = 128

// columnTiles are the activations as B blocks of xᵀ: [T/32][K/32][hi, lo][2 tiles][16 pairs of k][16 t][2] bf16.
func (a *Acts) columnTiles() []uint16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.columns == nil {
		src := forwardTiles{tileNumbers{a.x.numbers(), a.mode == ModeSplit}, tileLayout}
		steps := ceil(a.x.Cols, 32)
		block := steps * 2 * tileSize * (1 + bit(src.low()))
		a.columns = halves.get(ceil(a.x.Rows, 32) * block)
		dst := *a.columns
		Split(ceil(a.x.Rows, 32), 1, func(b, _ int) { src.blocks(dst[b*block:(b+1)*block], b, 1, 0, steps) })
	}
	return *a.columns
}

// rowProduct is y (+)= x·Wᵀ + bias for few rows of x: W's rows are read in place as A tiles, x is the B operand, and the
// results are transposed on their way to y. W is bf16.
type rowProduct struct {
	y    Mat
	w    *Frozen
	x    []uint16 // as columnTiles leaves it
	low  bool     // x has low parts
	add  bool
	bias []float32
}

// run computes the product; threads own rows of W.
func (p *rowProduct) run() {
	blocks := ceil(p.w.Rows, 32)
	n := pieces(blocks, 16, runtime.GOMAXPROCS(0))
	Parallel(n, func(i int) { p.rows(blocks*i/n, blocks*(i+1)/n) })
}

// maxColumnBlocks is the most blocks of 32 rows of x per round.
const maxColumnBlocks = 32

// rows computes blocks from … to of 32 rows of W.
func (p *rowProduct) rows(from, to int) {
	steps, tb := ceil(p.w.Cols, 32), ceil(p.y.Rows, 32)
	bStep := 4 * tileSize * (1 + bit(p.low))
	round := min(tb, max(2, min(maxColumnBlocks, 1<<20/(steps*bStep)))) // 1 MB of x in the second cache
	c := floats.get(round * 1024)                                       // [2 halves of n][T/16][16 n][16 t]
	defer floats.put(c)
	strip := halves.get(32 * steps * 32)
	defer halves.put(strip)
	for t0 := 0; t0 < tb; t0 += round {
		nt := min(round, tb-t0)
		for q := from; q < to; q++ {
			j := tileJob{cfg: &tileConfig, b: at(p.x, t0*steps*bStep/2), c: at(*c, 0),
				bStep: bStep, bN: steps * bStep, cRow: 64, c1: 1024, c2: nt * 2048, cN: 2048, n: nt, m: 1, mode: 2 * bit(p.low)}
			p.block(&j, *strip, q, bStep)
			for h := range 2 {
				if n0 := q*32 + h*16; n0 < p.w.Rows {
					p.out((*c)[h*nt*512:], t0, nt, n0)
				}
			}
		}
	}
}

// block multiplies rows q·32 … q·32+32 of W by the round's rows of x.
func (p *rowProduct) block(j *tileJob, strip []uint16, q, bStep int) {
	K := p.w.Cols
	steps, full := ceil(K, 32), K/32
	rows := min(32, p.w.Rows-q*32)
	if rows < 32 { // the last rows of W: a padded copy
		clear(strip)
		for r := range rows {
			copy(strip[r*steps*32:], p.w.u16[(q*32+r)*K:][:K])
		}
		j.a, j.aRow, j.a1, j.aStep, j.k = at(strip, 0), steps*64, steps*1024, 64, steps
		tileBlocks(j)
		return
	}
	if full > 0 {
		j.a, j.aRow, j.a1, j.aStep, j.k = at(p.w.u16, q*32*K), 2*K, 32*K, 64, full
		tileBlocks(j)
		j.init = 1
	}
	if full < steps { // the last columns
		edge := strip[:32*32]
		clear(edge)
		for r := range rows {
			copy(edge[r*32:], p.w.u16[(q*32+r)*K+full*32:][:K-full*32])
		}
		j.a, j.aRow, j.a1, j.aStep, j.k = at(edge, 0), 64, 1024, 64, 1
		j.b = unsafe.Add(j.b, full*bStep)
		tileBlocks(j)
	}
}

// out writes 16 columns of y, from n0, for the round's rows, from tiles of [16 n][16 t].
func (p *rowProduct) out(c []float32, t0, nt, n0 int) {
	y, T := p.y, p.y.Rows
	tiles := 0
	if n0+16 <= y.Cols {
		tiles = min(2*nt, (T-t0*32)/16)
	}
	if tiles > 0 {
		var bias *float32
		if p.bias != nil {
			bias = &p.bias[n0]
		}
		transposeOut(&y.Data[t0*32*y.Stride+n0], 4*y.Stride, &c[0], 1024, tiles, bit(p.add), bias)
	}
	for t := t0*32 + tiles*16; t < min(T, (t0+nt)*32); t++ {
		for i := range min(16, y.Cols-n0) {
			store(y, t, n0+i, c[(t-t0*32)/16*256+i*16+t%16], p.bias, p.add)
		}
	}
}
