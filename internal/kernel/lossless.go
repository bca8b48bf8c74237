package kernel

import "slices"

// Weights stored in bf16 spend eight bits on exponents that hardly differ: those of numbers drawn from a normal distribution need less than three [zhang2025]. A
// lossless weight keeps signs and mantissas in a byte, and in four bits which of the weight's fifteen most frequent exponents a number has, or that
// it has none: it is zero or denormal. The few numbers with another one are listed with their columns, row by row; in their places are zeros. Codes have one
// length, unlike those of [zhang2025], so that a register of them is looked up at a time.
//
// [zhang2025] 70% Size, 100% Accuracy: Lossless LLM Compression for Efficient GPU Inference via Dynamic-Length Float, arXiv 2504.11651.
//
// The bytes are [rows][blocks of 64 numbers][96]: first those of signs and mantissas, then codes. The lower half of their byte t is number t's, the
// upper half number t+32's.
type lossless struct {
	exponents [32]uint16 // by code, where bf16 has them; the second half repeats the first
	first     []uint32   // [rows + 1] the first of each row's other numbers
	others
}

// others are numbers that are not in blocks. Those of a row are in any order.
type others struct {
	cols []uint32 // where these are
	bits []uint16 // what they are
}

const (
	losslessBlock = 64
	losslessBytes = 96 // of a block
	noExponent    = 15 // code of exponent 0
	other         = 16 // no code
	sampledRows   = 256
	// othersIn is in how many numbers one with a rare exponent is acceptable: there it adds a bit to the twelve.
	othersIn = 48
)

// lossless is a copy of a weight stored in bf16 in about 12 bits a number instead of 16: the same numbers. It is nil where that saves little or w is not
// stored in bf16.
func (w *Frozen) lossless() *Frozen {
	if w.DType != BF16 || w.Rows*w.Cols == 0 {
		return nil
	}
	var codeOf [256]byte
	for e := range codeOf {
		codeOf[e] = other
	}
	l := &lossless{first: make([]uint32, w.Rows+1)}
	for code, e := range w.commonExponents() {
		codeOf[e] = byte(code)
		l.exponents[code], l.exponents[16+code] = uint16(e)<<7, uint16(e)<<7
	}
	codeOf[0] = noExponent
	q := &quant{bytes: make([]byte, w.Rows*losslessRow(w.Cols)), lossless: l}
	grain := max(1, 1<<16/w.Cols)
	parts := make([]others, ceilDiv(w.Rows, grain))
	Parallel(len(parts), func(p int) {
		for i := p * grain; i < min(w.Rows, (p+1)*grain); i++ {
			before := len(parts[p].cols)
			parts[p].row(q.bytes[i*losslessRow(w.Cols):], w.u16[i*w.Cols:][:w.Cols], &codeOf)
			l.first[i+1] = uint32(len(parts[p].cols) - before)
		}
	})
	for i := range w.Rows {
		l.first[i+1] += l.first[i]
	}
	if int(l.first[w.Rows]) > w.Rows*w.Cols/othersIn {
		return nil
	}
	for _, o := range parts {
		l.cols, l.bits = append(l.cols, o.cols...), append(l.bits, o.bits...)
	}
	return &Frozen{Rows: w.Rows, Cols: w.Cols, DType: Lossless, q: q}
}

// losslessRow is how many bytes a row of so many numbers takes.
func losslessRow(cols int) int { return ceilDiv(cols, losslessBlock) * losslessBytes }

// commonExponents are the fifteen most frequent exponents but 0 of some of the rows, of equally frequent ones the lower.
func (w *Frozen) commonExponents() []int {
	var counts [256]int
	for i := 0; i < w.Rows; i += max(1, w.Rows/sampledRows) {
		for _, v := range w.u16[i*w.Cols:][:w.Cols] {
			counts[byte(v>>7)]++
		}
	}
	list := make([]int, 255)
	for i := range list {
		list[i] = i + 1
	}
	slices.SortStableFunc(list, func(a, b int) int { return counts[b] - counts[a] })
	return list[:noExponent]
}

// row writes the blocks of a row, and lists what has no code.
func (o *others) row(out []byte, row []uint16, codeOf *[256]byte) {
	for j := 0; j < len(row); j += losslessBlock {
		var numbers [losslessBlock]uint16
		copy(numbers[:], row[j:])
		block := (*[losslessBytes]byte)(out[j/losslessBlock*losslessBytes:])
		for t := range losslessBlock / 2 {
			a, b := &numbers[t], &numbers[t+32]
			x, y := codeOf[byte(*a>>7)], codeOf[byte(*b>>7)]
			if x|y >= other {
				x, y = o.take(a, j+t, x), o.take(b, j+t+32, y)
			}
			block[t], block[t+32], block[t+64] = byte(*a&0x7f|*a>>8&0x80), byte(*b&0x7f|*b>>8&0x80), x|y<<4
		}
	}
}

// take lists a number that has no code, and leaves a zero.
func (o *others) take(v *uint16, col int, code byte) byte {
	if code < other {
		return code
	}
	o.cols, o.bits = append(o.cols, uint32(col)), append(o.bits, *v)
	*v = 0
	return noExponent
}

// unpack writes the numbers from column j of row i on, of cols, as bf16.
func (q *quant) unpack(dst []uint16, cols, i, j int) {
	l := q.lossless
	row := q.bytes[i*losslessRow(cols):]
	var block [losslessBlock]uint16
	for k := 0; k < len(dst); {
		b, from := (j+k)/losslessBlock, (j+k)%losslessBlock
		if n := (len(dst) - k) / losslessBlock; from == 0 && n > 0 {
			l.blocks(dst[k:][:n*losslessBlock], row[b*losslessBytes:])
			k += n * losslessBlock
			continue
		}
		l.blocks(block[:], row[b*losslessBytes:])
		k += copy(dst[k:], block[from:])
	}
	from, to := l.first[i], l.first[i+1]
	for ; from < to; from++ {
		if k := int(l.cols[from]) - j; k >= 0 && k < len(dst) {
			dst[k] = l.bits[from]
		}
	}
}

// blocks writes whole blocks of numbers.
func (l *lossless) blocks(dst []uint16, src []byte) {
	for k := unpackVec(dst, src, &l.exponents); k < len(dst); k++ {
		block, t := (*[losslessBytes]byte)(src[k/losslessBlock*losslessBytes:]), k%losslessBlock
		code := block[losslessBlock+t%32] >> (t & 32 >> 3) & 15
		dst[k] = l.exponents[code] | uint16(block[t])&0x7f | uint16(block[t])>>7<<15
	}
}

// widenLossless writes the numbers from column j of row i on.
func (q *quant) widenLossless(dst []float32, cols, i, j int) {
	var half [4 * losslessBlock]uint16
	for len(dst) > 0 {
		n := min(len(dst), len(half)-j%losslessBlock)
		q.unpack(half[:n], cols, i, j)
		BF16ToF32(dst[:n], half[:n])
		dst, j = dst[n:], j+n
	}
}

func (l *lossless) size() int {
	return 2*len(l.exponents) + 4*len(l.first) + 4*len(l.cols) + 2*len(l.bits)
}
