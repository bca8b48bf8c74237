package kernel

import (
	"fmt"
	"math"
)

func sameLen(name string, n int, others ...int) {
	for _, m := range others {
		if m != n {
			panic(fmt.Sprintf("kernel: %s: operands of %d and %d numbers; want the same", name, n, m))
		}
	}
}

// Dot is
//
//	for i := range x { s += x[i] * y[i] }
func Dot(x, y []float32) float32 {
	sameLen("Dot", len(x), len(y))
	return dotRow(x, y)
}

// Sum is the sum of x, in float64.
func Sum(x []float32) float64 { return sumRow(x) }

// SumSquares is, in float64,
//
//	for _, v := range x { s += v * v }
func SumSquares(x []float32) float64 { return sumSquaresRow(x) }

// Max is the largest number of x, NaN if x holds one, -Inf if x is empty.
func Max(x []float32) float32 { return maxRow(x) }

// Axpy is
//
//	for i, v := range x { y[i] += alpha * v }
func Axpy(y []float32, alpha float32, x []float32) {
	sameLen("Axpy", len(y), len(x))
	axpyRow(y, x, alpha)
}

// AxpyMul is
//
//	for i := range y { y[i] += alpha * a[i] * b[i] }
func AxpyMul(y []float32, alpha float32, a, b []float32) {
	sameLen("AxpyMul", len(y), len(a), len(b))
	axpyMulRow(y, a, b, alpha)
}

// Add is
//
//	for i, v := range x { y[i] += v }
func Add(y, x []float32) {
	sameLen("Add", len(y), len(x))
	addRow(y, x)
}

// Mul is
//
//	for i, v := range x { y[i] *= v }
func Mul(y, x []float32) {
	sameLen("Mul", len(y), len(x))
	mulRow(y, x)
}

// Scale is
//
//	for i := range x { x[i] *= alpha }
func Scale(x []float32, alpha float32) { scaleRow(x, alpha) }

// Exp is
//
//	for i, v := range x { y[i] = exp(v) }
//
// within 2e-7 of the value; 0 below -104, +Inf above 88.73. y may be x.
func Exp(y, x []float32) {
	sameLen("Exp", len(y), len(x))
	expRow(y, x)
}

// SoftmaxRow replaces x by exp(x - max) / sum and returns both. A row of nothing but -Inf becomes NaN.
//
//	max = largest x[i]; sum = Σ exp(x[i] - max); x[i] = exp(x[i] - max) / sum
func SoftmaxRow(x []float32) (max, sum float32) {
	max = Max(x)
	sum = float32(expShiftSumRow(x, max))
	Scale(x, 1/sum)
	return max, sum
}

// ExpShiftSum replaces x by exp(x - shift) and returns the sum.
func ExpShiftSum(x []float32, shift float32) float64 { return expShiftSumRow(x, shift) }

// ExpShift is
//
//	for i, v := range x { x[i] = exp(v - shift) }
func ExpShift(x []float32, shift float32) { expShiftRow(x, shift) }

// SoftmaxBackward turns the gradient of softmax' result p into that of what it was taken of; mean is Σ d[i]·p[i].
//
//	for i := range d { d[i] = p[i] * (d[i] - mean) }
func SoftmaxBackward(d, p []float32, mean float32) {
	sameLen("SoftmaxBackward", len(d), len(p))
	softmaxBackwardRow(d, p, mean)
}

// SiLUMul is
//
//	for i, g := range gate { y[i] = g / (1 + exp(-g)) * up[i] }
//
// y may be gate or up.
func SiLUMul(y, gate, up []float32) {
	sameLen("SiLUMul", len(y), len(gate), len(up))
	siluMulRow(y, gate, up)
}

// SiLUMulBackward is the gradient of SiLUMul, with s = 1 / (1 + exp(-gate[i])):
//
//	dgate[i] = dy[i] * up[i] * s * (1 + gate[i]*(1-s))
//	dup[i]   = dy[i] * gate[i] * s
//
// dgate and dup may be any of the operands.
func SiLUMulBackward(dgate, dup, dy, gate, up []float32) {
	sameLen("SiLUMulBackward", len(dgate), len(dup), len(dy), len(gate), len(up))
	siluMulBackwardRow(dgate, dup, dy, gate, up)
}

// GELU is the exact form: y[i] = x[i]·Φ(x[i]), Φ the normal distribution function. y may be x.
func GELU(y, x []float32) {
	sameLen("GELU", len(y), len(x))
	geluRow(y, x)
}

// GELUBackward is dx[i] = dy[i]·(Φ(x[i]) + x[i]·φ(x[i])), φ the normal density. dx may be dy or x.
func GELUBackward(dx, dy, x []float32) {
	sameLen("GELUBackward", len(dx), len(dy), len(x))
	geluBackwardRow(dx, dy, x)
}

// GELUTanh is the tanh form (gelu_new, gelu_pytorch_tanh), with u = √(2/π)·(x + 0.044715·x³):
//
//	y[i] = x/2 * (1 + tanh(u))
//
// y may be x.
func GELUTanh(y, x []float32) {
	sameLen("GELUTanh", len(y), len(x))
	geluTanhRow(y, x)
}

// GELUTanhBackward is dx[i] = dy[i] · the derivative of GELUTanh at x[i]. dx may be dy or x.
func GELUTanhBackward(dx, dy, x []float32) {
	sameLen("GELUTanhBackward", len(dx), len(dy), len(x))
	geluTanhBackwardRow(dx, dy, x)
}

// ReLU is y[i] = max(x[i], 0); a NaN stays. y may be x.
func ReLU(y, x []float32) {
	sameLen("ReLU", len(y), len(x))
	reluRow(y, x)
}

// ReLUBackward is dx[i] = x[i] > 0 ? dy[i] : 0. dx may be dy or x.
func ReLUBackward(dx, dy, x []float32) {
	sameLen("ReLUBackward", len(dx), len(dy), len(x))
	reluBackwardRow(dx, dy, x)
}

// RMSNorm normalises one row and returns its scale, which RMSNormBackward wants:
//
//	scale = 1 / sqrt(Σ x[i]² / n + eps); y[i] = x[i] * scale * w[i]
//
// y may be x.
func RMSNorm(y, x, w []float32, eps float64) (scale float32) {
	sameLen("RMSNorm", len(y), len(x), len(w))
	scale = float32(1 / math.Sqrt(SumSquares(x)/float64(len(x))+eps))
	scaleMulRow(y, x, w, scale)
	return scale
}

// RMSNormBackward adds the input gradient of RMSNorm to dx:
//
//	dot = Σ dy[i]·w[i]·x[i]; dx[i] += scale·dy[i]·w[i] - scale³·dot/n·x[i]
//
// The gradient of w is AxpyMul(dw, scale, dy, x).
func RMSNormBackward(dx, dy, x, w []float32, scale float32) {
	sameLen("RMSNormBackward", len(dx), len(dy), len(x), len(w))
	d := dot3Row(dy, w, x)
	AxpyMul(dx, scale, dy, w)
	s := float64(scale)
	Axpy(dx, float32(-s*s*s*d/float64(len(x))), x)
}
