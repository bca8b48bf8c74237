package kernel

import "math"

// The loops of vector.go in plain Go: the fallback where there is no assembly, and the oracle where there is. Sums run in
// four lanes, which compilers and processors like better than one.

func dotGo(x, y []float32) float32 {
	y = y[:len(x)]
	var a, b, c, d float32
	for len(x) >= 4 {
		a += x[0] * y[0]
		b += x[1] * y[1]
		c += x[2] * y[2]
		d += x[3] * y[3]
		x, y = x[4:], y[4:]
	}
	for i, v := range x {
		a += v * y[i]
	}
	return (a + b) + (c + d)
}

func dot3Go(x, y, z []float32) float64 {
	y, z = y[:len(x)], z[:len(x)]
	var a, b float64
	i := 0
	for ; i+2 <= len(x); i += 2 {
		a += float64(x[i] * y[i] * z[i])
		b += float64(x[i+1] * y[i+1] * z[i+1])
	}
	if i < len(x) {
		a += float64(x[i] * y[i] * z[i])
	}
	return a + b
}

func sumGo(x []float32) float64 {
	var a, b float64
	for len(x) >= 2 {
		a += float64(x[0])
		b += float64(x[1])
		x = x[2:]
	}
	for _, v := range x {
		a += float64(v)
	}
	return a + b
}

func sumSquaresGo(x []float32) float64 {
	var a, b float64
	for len(x) >= 2 {
		a += float64(x[0]) * float64(x[0])
		b += float64(x[1]) * float64(x[1])
		x = x[2:]
	}
	for _, v := range x {
		a += float64(v) * float64(v)
	}
	return a + b
}

func maxGo(x []float32) float32 {
	m := negInf
	for _, v := range x {
		m = max(m, v)
	}
	return m
}

func axpyGo(y, x []float32, alpha float32) {
	y = y[:len(x)]
	for len(x) >= 4 {
		y[0] += alpha * x[0]
		y[1] += alpha * x[1]
		y[2] += alpha * x[2]
		y[3] += alpha * x[3]
		x, y = x[4:], y[4:]
	}
	for i, v := range x {
		y[i] += alpha * v
	}
}

func axpyMulGo(y, a, b []float32, alpha float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] += alpha * a[i] * b[i]
	}
}

func scaleMulGo(y, a, b []float32, alpha float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] = a[i] * alpha * b[i]
	}
}

func addGo(y, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += v
	}
}

func mulGo(y, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] *= v
	}
}

func scaleGo(x []float32, alpha float32) {
	for i := range x {
		x[i] *= alpha
	}
}

func toBF16Go(x []float32) {
	for i, v := range x {
		x[i] = wideBF16(roundBF16(v))
	}
}

func toSplitGo(x []float32) {
	for i, v := range x {
		hi := wideBF16(roundBF16(v))
		x[i] = hi + wideBF16(roundBF16(v-hi))
	}
}

func sumAbsGo(x []float32) float64 {
	var a, b float64
	for len(x) >= 2 {
		a += math.Abs(float64(x[0]))
		b += math.Abs(float64(x[1]))
		x = x[2:]
	}
	for _, v := range x {
		a += math.Abs(float64(v))
	}
	return a + b
}

func maxSizeGo(x []float32) float32 {
	var m [4]uint32
	for ; len(x) >= 4; x = x[4:] {
		m[0] = max(m[0], Size(x[0]))
		m[1] = max(m[1], Size(x[1]))
		m[2] = max(m[2], Size(x[2]))
		m[3] = max(m[3], Size(x[3]))
	}
	for _, v := range x {
		m[0] = max(m[0], Size(v))
	}
	return math.Float32frombits(max(m[0], m[1], m[2], m[3]))
}

// Which numbers are kept is random, so it goes without branches.

func keepAboveGo(x, s []float32, alpha float32) {
	limit := int64(int32(math.Float32bits(alpha)))
	x = x[:len(s)]
	for i, v := range s {
		mask := uint32((limit - int64(Size(v))) >> 63)
		x[i] = math.Float32frombits(math.Float32bits(x[i]) & mask)
	}
}

func keepUpToGo(x, s []float32, alpha float32) {
	limit := int64(int32(math.Float32bits(alpha)))
	x = x[:len(s)]
	for i, v := range s {
		mask := ^uint32((limit - int64(Size(v))) >> 63)
		x[i] = math.Float32frombits(math.Float32bits(x[i]) & mask)
	}
}

func addElectedGo(sum, divisor, vote, x []float32, w float32) {
	factor := math.Float32bits(w)
	sum, divisor, vote = sum[:len(x)], divisor[:len(x)], vote[:len(x)]
	for j, v := range x {
		b := math.Float32bits(v)
		agrees := ^(b ^ math.Float32bits(vote[j])) >> 31
		some := (b<<1 | -(b << 1)) >> 31
		mask := -(agrees & some)
		sum[j] += math.Float32frombits(b & mask)
		divisor[j] += math.Float32frombits(factor & mask)
	}
}

func divideGo(y, d []float32) {
	y = y[:len(d)]
	for i, v := range d {
		if v != 0 {
			y[i] /= v
		}
	}
}

func reluGo(y, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] = max(v, 0)
	}
}

func reluBackwardGo(dx, dy, x []float32) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	for i, v := range x {
		if v > 0 {
			dx[i] = dy[i]
		} else {
			dx[i] = 0
		}
	}
}

func expGo(y, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] = exp32(v)
	}
}

// expShiftSumGo is x[i] = exp(x[i] - alpha) and returns the sum.
func expShiftSumGo(x []float32, alpha float32) float64 {
	var s float64
	for i, v := range x {
		e := exp32(v - alpha)
		x[i] = e
		s += float64(e)
	}
	return s
}

func expShiftGo(x []float32, alpha float32) {
	for i, v := range x {
		x[i] = exp32(v - alpha)
	}
}

func softmaxBackwardGo(d, p []float32, alpha float32) {
	for i, v := range d {
		d[i] = p[i] * (v - alpha)
	}
}

func siluMulGo(y, gate, up []float32) {
	y, up = y[:len(gate)], up[:len(gate)]
	for i, g := range gate {
		y[i] = g / (1 + exp32(-g)) * up[i]
	}
}

func siluMulBackwardGo(dgate, dup, dy, gate, up []float32) {
	dgate, dup, dy, up = dgate[:len(gate)], dup[:len(gate)], dy[:len(gate)], up[:len(gate)]
	for i, g := range gate {
		s := 1 / (1 + exp32(-g))
		d, u := dy[i], up[i]
		dgate[i] = d * u * s * (1 + g*(1-s))
		dup[i] = d * g * s
	}
}

func geluGo(y, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] = float32(float64(v) * normalCDF(float64(v)))
	}
}

func geluBackwardGo(dx, dy, x []float32) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	for i, v := range x {
		z := float64(v)
		pdf := math.Exp(-z*z/2) / math.Sqrt(2*math.Pi)
		dx[i] = dy[i] * float32(normalCDF(z)+z*pdf)
	}
}

func normalCDF(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

// Constants of the tanh form: u = geluA·x + geluB·x³.
const (
	geluA = 0.7978845608028654 // √(2/π)
	geluB = geluA * 0.044715
)

// geluTanhGo uses (1 + tanh(u))/2 = 1/(1 + exp(-2u)).
func geluTanhGo(y, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		u := v * (geluA + geluB*v*v)
		y[i] = v / (1 + exp32(-2*u))
	}
}

// geluTanhBackwardGo: with s = 1/(1 + exp(-2u)), the derivative is s + x·2s(1-s)·u'.
func geluTanhBackwardGo(dx, dy, x []float32) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	for i, v := range x {
		u := v * (geluA + geluB*v*v)
		s := 1 / (1 + exp32(-2*u))
		d := s
		if p := 2 * s * (1 - s); p != 0 { // at ±Inf the second term is 0·Inf, but its limit is 0
			d += v * p * (geluA + 3*geluB*v*v)
		}
		dx[i] = dy[i] * d
	}
}

// Constants of exp: x = n·ln 2 + r, exp(x) = 2ⁿ·(1 + r + r²·P(r)) with the Taylor series to r⁷, |r| ≤ 0.35.
const (
	expLow  = -104.5 // below, exp is less than half the smallest number
	expHigh = 89     // above, exp is infinite
	log2e   = 1.44269504088896341
	ln2Hi   = 0.693359375 // 9 bits, so that n·ln2Hi is exact
	ln2Lo   = -2.12194440054690583e-4
)

// exp32 is exp in float32 arithmetic.
func exp32(x float32) float32 {
	if x != x {
		return x
	}
	x = max(expLow, min(expHigh, x))
	n := float32(math.Floor(float64(x)*log2e + 0.5))
	r := x - n*ln2Hi - n*ln2Lo
	p := float32(1.0/5040)*r + 1.0/720
	p = p*r + 1.0/120
	p = p*r + 1.0/24
	p = p*r + 1.0/6
	p = p*r + 0.5
	p = p*r*r + r + 1
	// 2ⁿ in two factors: n runs from -151 to 128.
	i := int32(n)
	h := i >> 1
	return p * math.Float32frombits(uint32(h+127)<<23) * math.Float32frombits(uint32(i-h+127)<<23)
}
