package kernel

import (
	"fmt"
	"math"
	"slices"
)

// A quantised weight keeps small numbers and scales, and is read as float32: products widen a block of it at a time, in
// memory that stays in the caches, and multiply that as they would a weight stored in float32.
//
//	I8   q in -127 … 127, one scale a row: w = q·scale, scale = the row's largest |w| / 127
//	NF4  blocks of 64 numbers of the weight row by row, two in a byte, the first in its upper half; w = nf4Values[q]·scale.
//	     The scales are quantised themselves, 256 in a group: scale = scaleValues[code]·group + offset, offset = their mean
//
// A lossless weight (see lossless.go) is kept in the same way, and is read as bf16.
//
// NF4 is that of bitsandbytes with compress_statistics [dettmers2023, dettmers2022].
//
// References: [dettmers2022] 8-bit Optimizers via Block-wise Quantization, arXiv 2110.02861; [dettmers2023] QLoRA, arXiv 2305.14314.
type quant struct {
	bytes  []byte
	scales []float32 // I8: by row
	sums   []int32   // I8: by row, 128·Σ q; nil where that may be too much for 32 bits
	codes  []uint8   // NF4: by block
	groups []float32 // NF4: by 256 blocks
	offset float32

	*lossless // or nil; then bytes are signs and mantissas
}

const (
	nf4Block = 64  // numbers that share a scale
	nf4Group = 256 // scales that share a scale
)

// nf4Values are the 16 numbers of NF4: quantiles of a normal distribution, the largest 1.
var nf4Values = [16]float32{-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
	-0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434,
	0.5626170039176941, 0.7229568362236023, 1}

// scaleValues are the 256 numbers that scales are quantised to, ascending: a tree of decades, each twice as finely divided as
// the one below.
var scaleValues = func() (v [256]float32) {
	list := []float32{0, 1}
	for i := range 7 {
		decade := float32(math.Pow(10, float64(i-6)))
		bounds := linspace(0.1, 1, 1<<i+1)
		for j := range 1 << i {
			mean := (bounds[j] + bounds[j+1]) / 2
			list = append(list, decade*mean, -decade*mean)
		}
	}
	slices.Sort(list)
	copy(v[:], list)
	return v
}()

// linspace are n numbers from a to b, found from the nearer end, each rounded once, as torch has them.
func linspace(a, b float32, n int) []float32 {
	x := make([]float32, n)
	step := (b - a) / float32(n-1)
	for i := range x {
		if i < n/2 {
			x[i] = float32(float64(a) + float64(step)*float64(i))
		} else {
			x[i] = float32(float64(b) - float64(step)*float64(n-1-i))
		}
	}
	return x
}

// Quantise is a copy of w in I8, NF4 or Lossless, in memory of its own, or w itself where Lossless saves nothing. The work is done in parallel and does not
// depend on how.
func (w *Frozen) Quantise(d DType) *Frozen {
	if d == Lossless {
		if l := w.lossless(); l != nil {
			return l
		}
		return w
	}
	out := &Frozen{Rows: w.Rows, Cols: w.Cols, DType: d, q: &quant{}}
	switch d {
	case I8:
		out.q.fromRows(w)
	case NF4:
		out.q.fromBlocks(w)
	default:
		panic(fmt.Sprintf("kernel: Quantise: %v is no quantised type", d))
	}
	return out
}

// fromRows makes I8.
func (q *quant) fromRows(w *Frozen) {
	q.bytes, q.scales = make([]byte, w.Rows*w.Cols), make([]float32, w.Rows)
	if w.Cols <= maxShortCols {
		q.sums = make([]int32, w.Rows)
	}
	Split(w.Rows, max(1, 1<<16/max(1, w.Cols)), func(lo, hi int) {
		row := make([]float32, w.Cols)
		for i := lo; i < hi; i++ {
			w.Row(row, i)
			largest := absMax(row)
			q.scales[i] = largest / 127
			inverse := 127 / max(largest, math.SmallestNonzeroFloat32)
			if math.IsInf(float64(inverse), 0) { // the row is zero or nearly so
				q.scales[i], inverse = 0, 0
			}
			out := q.bytes[i*w.Cols:][:w.Cols]
			sum := int32(0)
			for j, v := range row {
				out[j] = byte(math.Float32bits(float32(v*inverse) + toInteger))
				sum += int32(int8(out[j]))
			}
			if q.sums != nil {
				q.sums[i] = 128 * sum
			}
		}
	})
}

// toInteger, added to a float32 below 2^22, leaves the nearest whole number in the lowest bits, ties to even.
const toInteger = 3 << 22

// absMax is the largest |x|, NaN if x holds one: without their signs float32 are ordered as their bits.
func absMax(x []float32) float32 {
	m := uint32(0)
	for _, v := range x {
		m = max(m, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(m)
}

// fromBlocks makes NF4.
func (q *quant) fromBlocks(w *Frozen) {
	n := w.Rows * w.Cols
	blocks := ceilDiv(n, nf4Block)
	q.bytes, q.codes, q.groups = make([]byte, ceilDiv(n, 2)), make([]uint8, blocks), make([]float32, ceilDiv(blocks, nf4Group))
	scales := make([]float32, blocks)
	Split(blocks, 1024, func(lo, hi int) {
		var x [nf4Block]float32
		for b := lo; b < hi; b++ {
			from, to := b*nf4Block, min((b+1)*nf4Block, n)
			w.run(x[:to-from], from)
			scales[b] = absMax(x[:to-from])
			nf4Codes(q.bytes[from/2:ceilDiv(to, 2)], x[:to-from], scales[b])
		}
	})
	q.compress(scales)
}

func ceilDiv(n, unit int) int { return (n + unit - 1) / unit }

// run writes the numbers from number at on, counted row by row, which may go on in the next rows.
func (w *Frozen) run(dst []float32, at int) {
	for len(dst) > 0 {
		i, j := at/w.Cols, at%w.Cols
		n := min(len(dst), w.Cols-j)
		w.part(dst[:n], i, j)
		dst, at = dst[n:], at+n
	}
}

// nf4Bounds lie halfway between the values. nf4First is, for each 128th of -1 … 1, how many bounds are below it.
var (
	nf4Bounds = func() (b [16]float32) {
		for i := range 15 {
			b[i] = (nf4Values[i] + nf4Values[i+1]) / 2
		}
		b[15] = float32(math.Inf(1))
		return b
	}()
	nf4First = func() (first [258]uint8) {
		for i := range first {
			for nf4Bounds[first[i]] < float32(i)/128-1-1e-6 { // what rounding of the index may add
				first[i]++
			}
		}
		return first
	}()
)

// nf4Codes packs a block of numbers. One exactly between two values takes the lower.
func nf4Codes(dst []byte, x []float32, scale float32) {
	scale = max(scale, 1e-38)
	inverse := 1 / scale
	var codes [nf4Block]uint8
	for i, v := range x {
		if len(x) == nf4Block { // bitsandbytes multiplies whole blocks and divides the last one where it is not whole
			v *= inverse
		} else {
			v /= scale
		}
		code := nf4First[max(0, min(257, int(v*128+128)))]
		for v > nf4Bounds[code&15] {
			code++
		}
		codes[i] = code
	}
	for i := range dst {
		dst[i] = codes[2*i]<<4 | codes[2*i+1]
	}
}

// compress quantises the scales.
func (q *quant) compress(scales []float32) {
	sum := 0.0
	for _, s := range scales {
		sum += float64(s)
	}
	q.offset = float32(sum / float64(max(1, len(scales))))
	for g := range q.groups {
		part := scales[g*nf4Group : min((g+1)*nf4Group, len(scales))]
		for i := range part {
			part[i] -= q.offset
		}
		q.groups[g] = absMax(part)
		inverse := 1 / q.groups[g]
		for i, s := range part {
			if q.groups[g] > 0 {
				s *= inverse
			}
			q.codes[g*nf4Group+i] = nearestScale(s)
		}
	}
}

// nearestScale is the number of the value of scaleValues that is nearest.
func nearestScale(s float32) uint8 {
	i, _ := slices.BinarySearch(scaleValues[:], s)
	if i == len(scaleValues) || i > 0 && s-scaleValues[i-1] <= scaleValues[i]-s {
		i--
	}
	return uint8(i)
}

// blockScales writes the scales of the blocks from b on.
func (q *quant) blockScales(dst []float32, b int) {
	for i := range dst {
		dst[i] = float32(scaleValues[q.codes[b+i]]*q.groups[(b+i)/nf4Group]) + q.offset
	}
}

// widenI8 writes the numbers from column j of row i on.
func (q *quant) widenI8(dst []float32, cols, i, j int) {
	src, scale := q.bytes[i*cols+j:][:len(dst)], q.scales[i]
	n := i8ToF32Vec(dst, src, scale)
	for k := n; k < len(src); k++ {
		dst[k] = float32(int8(src[k])) * scale
	}
}

// widenNF4 writes the numbers from number at on, counted row by row. What begins or ends within a block goes through a copy.
func (q *quant) widenNF4(dst []float32, at int) {
	var scales [64]float32
	for len(dst) > 0 {
		b, from := at/nf4Block, at%nf4Block
		n := min(len(dst)/nf4Block, len(scales)) // whole blocks
		if from > 0 || n == 0 {
			var block [nf4Block]float32
			q.blockScales(scales[:1], b)
			q.blocks(block[:min(nf4Block, 2*len(q.bytes)-b*nf4Block)], b, scales[:1])
			n := copy(dst, block[from:])
			dst, at = dst[n:], at+n
			continue
		}
		q.blockScales(scales[:n], b)
		q.blocks(dst[:n*nf4Block], b, scales[:n])
		dst, at = dst[n*nf4Block:], at+n*nf4Block
	}
}

// blocks writes the numbers of the blocks from b on, the last of which may not be whole.
func (q *quant) blocks(dst []float32, b int, scales []float32) {
	src := q.bytes[b*nf4Block/2:]
	for k := nf4ToF32Vec(dst, src, scales); k < len(dst); k++ {
		code := src[k/2]
		if k%2 == 0 {
			code >>= 4
		}
		dst[k] = nf4Values[code&15] * scales[k/nf4Block]
	}
}

func (q *quant) size() int64 {
	n := 0
	if q.lossless != nil {
		n = q.lossless.size()
	}
	return int64(n + len(q.bytes) + 4*len(q.scales) + 4*len(q.sums) + len(q.codes) + 4*len(q.groups))
}
