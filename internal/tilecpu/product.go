package tilecpu

import "math"

// TDPBF16PS by Intel's description: for each result the products of the lower halves and those of the upper halves are
// summed apart, from zero, each by a fused multiply-add; then the two sums are added, and then that to what was there.
// Every step rounds to the nearest float32 (ties to even), takes denormals for zeros and gives zeros for denormals.

// Multiply is TDPBF16PS of whole tiles: c += a·b, for c of 16 rows and columns and 32 numbers for each sum.
func Multiply(c, a, b *Tile) { multiply(c, a, b, maxRows, maxRows) }

// multiply is c += a·b for the first rows of c and a, and the first pairs of a's columns and b's rows. c's columns beyond
// its shape stay zero because b's are.
func multiply(c, a, b *Tile, rows, pairs int) {
	left, right := a.widen(false), b.widen(true)
	sum := sumOf
	if a.plain() && b.plain() {
		sum = plainSum
	}
	for i := range rows {
		for j := range c[i] {
			lower, upper := sum(&left[i], &right[j], pairs)
			was := flush(math.Float32frombits(c[i][j]))
			c[i][j] = math.Float32bits(flush(was + flush(lower+upper)))
		}
	}
}

// line is a row of a or a column of b, its lower and its upper halves apart.
type line struct{ lower, upper [16]float32 }

// widen parts the halves of all rows, or columns.
func (t *Tile) widen(columns bool) (w [16]line) {
	for i := range t {
		for j, v := range t[i] {
			at, k := i, j
			if columns {
				at, k = j, i
			}
			w[at].lower[k], w[at].upper[k] = halves(v)
		}
	}
	return w
}

// sumOf is the two sums of a result.
func sumOf(a, b *line, pairs int) (lower, upper float32) {
	for k := range pairs {
		lower = fma(a.lower[k], b.lower[k], lower)
		upper = fma(a.upper[k], b.upper[k], upper)
	}
	return lower, upper
}

// plainSum is the same for numbers of plain tiles. It is most of what emulation takes.
func plainSum(a, b *line, pairs int) (lower, upper float32) {
	for k := range min(pairs, len(a.lower)) {
		lower += a.lower[k] * b.lower[k]
		upper += a.upper[k] * b.upper[k]
	}
	return lower, upper
}

// halves are the two bf16 of a double word.
func halves(v uint32) (lower, upper float32) {
	return math.Float32frombits(v << 16), math.Float32frombits(v &^ 0xffff)
}

// plain says that all numbers are zeros or have sizes from 2^-50 to 2^61. Their products are float32 and so are sums of
// them, until these are rounded: nothing overflows or is a denormal, and multiplying before adding is exact.
func (t *Tile) plain() bool {
	for i := range t {
		for _, v := range t[i] {
			for _, half := range [2]uint32{v & 0x7fff, v >> 16 & 0x7fff} {
				if e := half >> 7; half != 0 && (e < 127-50 || e > 127+60) {
					return false
				}
			}
		}
	}
	return true
}

// fma is a·b + c rounded once; a and b are bf16.
func fma(a, b, c float32) float32 {
	p, q := float64(flush(a))*float64(flush(b)), float64(flush(c)) // exact: 16 bits
	s := p + q
	if math.IsNaN(s) || math.IsInf(s, 0) {
		return float32(s)
	}
	// Of the two float64 around the sum take the odd one, unless the sum is exact: then rounding again is rounding once.
	t := s - p
	if e := (p - (s - t)) + (q - t); e != 0 && math.Float64bits(s)&1 == 0 {
		s = math.Nextafter(s, math.Inf(int(math.Copysign(1, e))))
	}
	const small = 0x1p-126 // a result is a denormal if it is smaller after it was rounded to 24 bits
	if math.Abs(s) < 2*small && math.Abs(float64(float32(s*0x1p100))) < small*0x1p100 {
		return float32(math.Copysign(0, s))
	}
	return float32(s)
}

// flush is x, or a zero of its sign for a denormal.
func flush(x float32) float32 {
	if u := math.Float32bits(x); u&0x7f800000 == 0 {
		return math.Float32frombits(u & (1 << 31))
	}
	return x
}
