package gguf

import "math"

// The quantised types of super-blocks of 256 numbers. Groups of numbers have scales of their own, which are themselves whole multiples
// of a scale of the super-block in half precision.
//
//	Q4_K  d, dmin, 8 × (6 bit s, 6 bit m), 256 × 4 bit            x = d·s·q − dmin·m     groups of 32
//	Q5_K  d, dmin, 8 × (6 bit s, 6 bit m), 256 bits, 256 × 4 bit  the same with a fifth bit of q
//	Q6_K  256 × 4 bit, 256 × 2 bit, 16 × int8 s, d                x = d·s·(q − 32)       groups of 16
//
// What s and m of a group are is searched for: the sum of weighted squared errors is least among the candidates that a grid of first
// scales gives. The order of the float32 sums is ggml's. A product is rounded before it is added to, on every machine.
//
// References: ggml-quants.c and ggml-common.h of github.com/ggml-org/llama.cpp.

const superLen = 256 // numbers in a super-block

// nearest is the whole number nearest to v, halves to even.
func nearest(v float32) int {
	const shift = 3 << 22 // from here on a float32 has no bits for fractions
	if !(abs(v) < 1<<22) {
		return int(clamp(float64(v), -1<<22, 1<<22))
	}
	return int(math.Float32bits(v+shift)&(1<<23-1)) - 1<<22
}

// within is the whole number nearest to v between lo and hi.
func within(v float32, lo, hi int) int { return max(lo, min(hi, nearest(v))) }

// whole is within as a float32; what is no number is lo.
func whole(v, lo, hi float32) float32 {
	const shift = 3 << 22 // as in nearest
	if v = float32(v+shift) - shift; !(v > lo) {
		return lo
	}
	if v > hi {
		return hi
	}
	return v
}

// affine is a type whose groups of 32 have a scale and a minimum.
type affine struct {
	top         int     // highest q
	first, step float32 // the grid of the search: top + first, and steps more
	steps       int
	size        int // bytes of a super-block
	fifth       bool
}

var (
	typeQ4K = affine{top: 15, first: -1, step: 0.1, steps: 20, size: 144}
	typeQ5K = affine{top: 31, first: -0.5, step: 0.1, steps: 15, size: 176, fifth: true}
)

const (
	affineLen    = 32                   // numbers in a group
	affineGroups = superLen / affineLen // in a super-block
	scaleBytes   = 12                   // of 16 numbers of 6 bits
)

// group is 32 numbers on their way: x ≈ scale·q − least.
type group struct {
	q            [affineLen]uint8
	scale, least float32
}

func (a *affine) encode(dst []byte, src []float32) {
	for ; len(src) > 0; dst, src = dst[a.size:], src[superLen:] {
		a.encodeSuper(dst[:a.size], src[:superLen])
	}
}

func (a *affine) encodeSuper(dst []byte, x []float32) {
	var groups [affineGroups]group
	var scale, least float32
	for j := range groups {
		g := &groups[j]
		a.search(g, x[affineLen*j:affineLen*(j+1)])
		scale, least = max(scale, g.scale), max(least, g.least)
	}
	const most = 63 // of 6 bits
	putHalf(dst, scale/most)
	putHalf(dst[2:], least/most)
	packed := dst[4 : 4+scaleBytes]
	clear(packed)
	for j := range groups {
		g := &groups[j]
		putScales(packed, j, uint8(within(g.scale*over(most, scale), 0, most)), uint8(within(g.least*over(most, least), 0, most)))
	}
	d, dmin := half(dst), half(dst[2:])
	for j := range groups {
		s, m := scales(packed, j)
		requantise(groups[j].q[:], x[affineLen*j:], d*float32(s), dmin*float32(m), a.top)
	}
	a.pack(dst[4+scaleBytes:], &groups)
}

// over is a/b, or 0 where there is nothing to divide by.
func over(a, b float32) float32 {
	if b > 0 {
		return a / b
	}
	return 0
}

// requantise chooses the q that the scales as stored make best; a scale of 0 leaves those of the search.
func requantise(q []uint8, x []float32, d, least float32, top int) {
	if d == 0 {
		return
	}
	for i := range q {
		q[i] = uint8(within((x[i]+least)/d, 0, top))
	}
}

// pack writes the q: of 64 numbers, the first 32 in the lower halves of 32 bytes, the others in the upper ones.
func (a *affine) pack(dst []byte, groups *[affineGroups]group) {
	high := dst[:0]
	if a.fifth {
		high, dst = dst[:affineLen], dst[affineLen:]
		clear(high)
	}
	for j := 0; j < affineGroups; j += 2 {
		for i := range affineLen {
			lo, hi := groups[j].q[i], groups[j+1].q[i]
			dst[affineLen*j/2+i] = lo&15 | hi<<4
			if a.fifth {
				high[i] |= lo>>4<<j | hi>>4<<(j+1)
			}
		}
	}
}

func (a *affine) decode(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[superLen:], src[a.size:] {
		d, dmin, packed, q := half(src), half(src[2:]), src[4:4+scaleBytes], src[4+scaleBytes:]
		var high []byte
		if a.fifth {
			high, q = q[:affineLen], q[affineLen:]
		}
		for j := range affineGroups {
			s, m := scales(packed, j)
			scale, least := d*float32(s), dmin*float32(m)
			for i := range affineLen {
				v := q[affineLen*(j/2)+i] >> (4 * (j & 1)) & 15
				if a.fifth {
					v |= high[i] >> j & 1 << 4
				}
				dst[affineLen*j+i] = float32(scale*float32(v)) - least
			}
		}
	}
}

// putScales puts the j-th scale and minimum among the 12 bytes: the first four of each in 6 bits of bytes of their own; of the others four
// bits share a byte, and the upper two are above those of the first four.
func putScales(b []byte, j int, s, m uint8) {
	if j < 4 {
		b[j], b[j+4] = s, m
		return
	}
	b[j+4] = s&15 | m&15<<4
	b[j-4] |= s >> 4 << 6
	b[j] |= m >> 4 << 6
}

func scales(b []byte, j int) (s, m uint8) {
	if j < 4 {
		return b[j] & 63, b[j+4] & 63
	}
	return b[j+4]&15 | b[j-4]>>6<<4, b[j+4]>>4 | b[j]>>6<<4
}

// search fits a group: minimum and scale from its ends first, then by least squares for the q of each scale of the grid. The grid lies
// between the group's upper end and the best minimum so far.
//
//	weight of x  = √(mean of the group's x²) + |x|
func (a *affine) search(g *group, x []float32) {
	f := newFit((*[affineLen]float32)(x))
	g.q, g.scale, g.least = [affineLen]uint8{}, 0, -f.lo
	if f.hi == f.lo {
		return
	}
	var chosen, q levels
	top := float32(a.top)
	least, inverse := f.lo, top/(f.hi-f.lo)
	g.scale = 1 / inverse
	f.levels(&chosen, inverse, least, top)
	best := f.loss(&chosen, g.scale, least)
	for i := range a.steps + 1 {
		f.levels(&q, (float32(a.first+float32(a.step*float32(i)))+top)/(f.hi-least), least, top)
		scale, lo, ok := f.solve(&q)
		if !ok {
			continue
		}
		if loss := f.loss(&q, scale, lo); loss < best {
			chosen, g.scale, least, best = q, scale, lo, loss
		}
	}
	g.least = -least
	for i, v := range chosen {
		g.q[i] = uint8(v)
	}
}

// levels are the q of a group as float32, which the search computes with.
type levels [affineLen]float32

// fit is what the search knows of a group.
type fit struct {
	x      *[affineLen]float32
	w      [affineLen]float32
	lo, hi float32 // the ends, with 0 between or at one of them
	sumW   float32 // Σ w
	sumX   float32 // Σ w·x
}

func newFit(x *[affineLen]float32) *fit {
	f := &fit{x: x, lo: x[0], hi: x[0]}
	squares := float32(0)
	for _, v := range x {
		squares += float32(v * v)
	}
	mean := float32(math.Sqrt(float64(squares / affineLen)))
	for i, v := range x {
		f.w[i] = mean + abs(v)
		f.lo, f.hi = min(f.lo, v), max(f.hi, v)
		f.sumW += f.w[i]
		f.sumX += float32(f.w[i] * v)
	}
	f.lo = min(f.lo, 0)
	return f
}

// levels are the q of a scale 1/inverse and a minimum.
func (f *fit) levels(q *levels, inverse, least, top float32) {
	for i, v := range f.x {
		q[i] = whole(inverse*(v-least), 0, top)
	}
}

// loss is Σ w·(scale·q + least − x)².
func (f *fit) loss(q *levels, scale, least float32) (sum float32) {
	for i, v := range f.x {
		d := float32(scale*q[i]) + least - v
		sum += float32(f.w[i] * float32(d*d))
	}
	return sum
}

// solve gives scale and minimum of least loss for the q; the minimum is at most 0. There are none if all q are alike.
func (f *fit) solve(q *levels) (scale, least float32, ok bool) {
	var sumQ, sumQQ, sumXQ float32
	for i, v := range f.x {
		wq := float32(f.w[i] * q[i])
		sumQ += wq
		sumQQ += float32(wq * q[i])
		sumXQ += float32(wq * v)
	}
	det := float32(f.sumW*sumQQ) - float32(sumQ*sumQ)
	if !(det > 0) {
		return 0, 0, false
	}
	scale = (float32(f.sumW*sumXQ) - float32(f.sumX*sumQ)) / det
	least = (float32(sumQQ*f.sumX) - float32(sumQ*sumXQ)) / det
	if least > 0 {
		return sumXQ / sumQQ, 0, true
	}
	return scale, least, true
}

// Of Q6_K.
const (
	groupLen6  = 16
	groups6    = superLen / groupLen6
	middle6    = 32
	sizeQ6K    = superLen/2 + superLen/4 + groups6 + 2
	scalesAt6  = superLen/2 + superLen/4
	smallest6  = 1e-15 // groups of smaller numbers are zeros
	gridSteps6 = 9     // to either side, of a tenth each
)

func encodeQ6K(dst []byte, src []float32) {
	for ; len(src) > 0; dst, src = dst[sizeQ6K:], src[superLen:] {
		encodeSuper6(dst[:sizeQ6K], src[:superLen])
	}
}

func encodeSuper6(dst []byte, x []float32) {
	var q [superLen]uint8
	var s [groups6]float32
	for j := range s {
		s[j] = search6(q[groupLen6*j:], x[groupLen6*j:groupLen6*(j+1)])
	}
	largest := largestOf(s[:])
	clear(dst)
	if abs(largest) < smallest6 {
		return
	}
	inv := -128 / largest
	putHalf(dst[sizeQ6K-2:], 1/inv)
	d := half(dst[sizeQ6K-2:])
	for j := range s {
		m := int8(within(inv*s[j], -128, 127))
		dst[scalesAt6+j] = byte(m)
		scale := d * float32(m)
		if scale == 0 {
			continue
		}
		for i := range groupLen6 {
			q[groupLen6*j+i] = uint8(within(x[groupLen6*j+i]/scale, -middle6, middle6-1) + middle6)
		}
	}
	for n := range 2 {
		for i := range 32 {
			a, b, c, e := q[128*n+i], q[128*n+i+32], q[128*n+i+64], q[128*n+i+96]
			dst[64*n+i], dst[64*n+i+32] = a&15|c<<4, b&15|e<<4
			dst[128+32*n+i] = a>>4 | b>>4<<2 | c>>4<<4 | e>>4<<6
		}
	}
}

// search6 fits a group x ≈ scale·(q − 32) with weights x².
func search6(q []uint8, x []float32) (scale float32) {
	largest := largestOf(x)
	if abs(largest) < smallest6 {
		clear(q[:len(x)])
		return 0
	}
	inv := -middle6 / largest
	levels6(q, x, inv)
	sumXQ, sumQQ := sums6(x, inv)
	if sumQQ > 0 {
		scale = sumXQ / sumQQ
	}
	best := scale * sumXQ
	for i := -gridSteps6; i <= gridSteps6; i++ {
		if i == 0 {
			continue
		}
		inv := -(middle6 + float32(0.1*float32(i))) / largest
		sumXQ, sumQQ := sums6(x, inv)
		if sumQQ > 0 && float32(sumXQ*sumXQ) > float32(best*sumQQ) {
			levels6(q, x, inv)
			scale = sumXQ / sumQQ
			best = scale * sumXQ
		}
	}
	return scale
}

func levels6(q []uint8, x []float32, inv float32) {
	for i, v := range x {
		q[i] = uint8(within(inv*v, -middle6, middle6-1) + middle6)
	}
}

// sums6 are Σ x²·x·q and Σ x²·q².
func sums6(x []float32, inv float32) (sumXQ, sumQQ float32) {
	for _, v := range x {
		l, w := whole(inv*v, -middle6, middle6-1), float32(v*v)
		sumXQ += float32(float32(w*v) * l)
		sumQQ += float32(float32(w*l) * l)
	}
	return sumXQ, sumQQ
}

func decodeQ6K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[superLen:], src[sizeQ6K:] {
		d := half(src[sizeQ6K-2:])
		for k := range superLen {
			n, part, i := k/128, k/32%4, k%32
			low := src[64*n+32*(part&1)+i] >> (4 * (part >> 1)) & 15
			high := src[128+32*n+i] >> (2 * part) & 3
			scale := float32(d * float32(int8(src[scalesAt6+k/groupLen6])))
			dst[k] = scale * float32(int(low|high<<4)-middle6)
		}
	}
}
