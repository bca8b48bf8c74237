package main

import "math"

// The element-wise loops. Registers: Y0 … Y7 are free for a body, Y8 … Y13 are accumulators, Y14 alpha, Y15 the mask.
var loops = []loop{
	{name: "dotVec", doc: "Σ x·y", ptrs: []string{"x", "y"}, result: "float32", accs: 4, wide: 4, reduce: sum32(4),
		body: func(b *body) {
			b.load("x", 0)
			b.load("y", 1)
			b.i("VFMADD231PS Y0, Y1, Y%d", b.accReg())
		}},
	{name: "dot3Vec", doc: "Σ x·y·z in float64", ptrs: []string{"x", "y", "z"}, result: "float64", accs: 2, reduce: sum64(2),
		body: func(b *body) {
			b.load("x", 0)
			b.load("y", 1)
			b.load("z", 2)
			b.i("VMULPS Y1, Y0, Y0")
			b.i("VMULPS Y2, Y0, Y0")
			b.addDoubles(0, 1, 8)
		}},
	{name: "sumVec", doc: "Σ x in float64", ptrs: []string{"x"}, result: "float64", accs: 4, wide: 2, reduce: sum64(4),
		body: func(b *body) {
			b.load("x", 0)
			b.addDoubles(0, 1, 8+2*b.acc)
		}},
	{name: "sumSquaresVec", doc: "Σ x² in float64", ptrs: []string{"x"}, result: "float64", accs: 4, wide: 2, reduce: sum64(4),
		body: func(b *body) {
			b.load("x", 0)
			b.i("VCVTPS2PD X0, Y1")
			b.i("VEXTRACTF128 $1, Y0, X0")
			b.i("VCVTPS2PD X0, Y0")
			b.i("VFMADD231PD Y1, Y1, Y%d", 8+2*b.acc)
			b.i("VFMADD231PD Y0, Y0, Y%d", 9+2*b.acc)
		}},
	{name: "maxVec", doc: "the largest x, NaN if there is one, -Inf if n is 0", ptrs: []string{"x"}, result: "float32", accs: 2, reduce: reduceMax,
		begin: func(f *file) { f.i("VMOVUPS %s, Y8", c(math.Inf(-1))) },
		body: func(b *body) {
			b.load("x", 0)
			if b.tail {
				b.i("VBLENDVPS Y15, Y0, Y8, Y0")
			}
			b.i("VCMPPS $3, Y0, Y0, Y1")
			b.i("VORPS Y1, Y9, Y9") // any NaN
			b.i("VMAXPS Y8, Y0, Y8")
		}},
	{name: "axpyVec", doc: "y += alpha·x", ptrs: []string{"y", "x"}, alpha: true, wide: 2,
		body: func(b *body) {
			b.load("y", 0)
			b.load("x", 1)
			b.i("VFMADD231PS Y1, Y14, Y0")
			b.store(0, "y")
		}},
	{name: "axpyMulVec", doc: "y += alpha·a·b", ptrs: []string{"y", "a", "b"}, alpha: true,
		body: func(b *body) {
			b.load("y", 0)
			b.load("a", 1)
			b.load("b", 2)
			b.i("VMULPS Y1, Y14, Y1")
			b.i("VFMADD231PS Y1, Y2, Y0")
			b.store(0, "y")
		}},
	{name: "scaleMulVec", doc: "y = a·alpha·b", ptrs: []string{"y", "a", "b"}, alpha: true,
		body: func(b *body) {
			b.load("a", 1)
			b.load("b", 2)
			b.i("VMULPS Y1, Y14, Y1")
			b.i("VMULPS Y1, Y2, Y1")
			b.store(1, "y")
		}},
	{name: "addVec", doc: "y += x", ptrs: []string{"y", "x"}, wide: 2,
		body: func(b *body) {
			b.load("y", 0)
			b.load("x", 1)
			b.i("VADDPS Y1, Y0, Y0")
			b.store(0, "y")
		}},
	{name: "mulVec", doc: "y *= x", ptrs: []string{"y", "x"}, wide: 2,
		body: func(b *body) {
			b.load("y", 0)
			b.load("x", 1)
			b.i("VMULPS Y1, Y0, Y0")
			b.store(0, "y")
		}},
	{name: "scaleVec", doc: "x *= alpha", ptrs: []string{"x"}, alpha: true, wide: 2,
		body: func(b *body) {
			b.load("x", 0)
			b.i("VMULPS Y0, Y14, Y0")
			b.store(0, "x")
		}},
	{name: "reluVec", doc: "y = max(x, 0)", ptrs: []string{"y", "x"},
		body: func(b *body) {
			b.load("x", 0)
			b.i("VXORPS Y1, Y1, Y1")
			b.i("VMAXPS Y0, Y1, Y0") // a NaN is the second source and stays
			b.store(0, "y")
		}},
	{name: "reluBackwardVec", doc: "dx = x > 0 ? dy : 0", ptrs: []string{"dx", "dy", "x"},
		body: func(b *body) {
			b.load("dy", 0)
			b.load("x", 1)
			b.i("VXORPS Y2, Y2, Y2")
			b.i("VCMPPS $1, Y1, Y2, Y2") // 0 < x
			b.i("VANDPS Y0, Y2, Y0")
			b.store(0, "dx")
		}},
	{name: "expVec", doc: "y = exp(x)", ptrs: []string{"y", "x"},
		body: func(b *body) {
			b.load("x", 0)
			b.exp(0, 1, 2, 3)
			b.store(0, "y")
		}},
	{name: "expShiftSumVec", doc: "x = exp(x - alpha), and their sum in float64", ptrs: []string{"x"}, alpha: true, result: "float64", accs: 2, reduce: sum64(2),
		body: func(b *body) {
			b.load("x", 0)
			b.i("VSUBPS Y14, Y0, Y0")
			b.exp(0, 1, 2, 3)
			b.store(0, "x")
			if b.tail {
				b.i("VANDPS Y15, Y0, Y0")
			}
			b.addDoubles(0, 1, 8)
		}},
	{name: "expShiftVec", doc: "x = exp(x - alpha)", ptrs: []string{"x"}, alpha: true,
		body: func(b *body) {
			b.load("x", 0)
			b.i("VSUBPS Y14, Y0, Y0")
			b.exp(0, 1, 2, 3)
			b.store(0, "x")
		}},
	{name: "softmaxBackwardVec", doc: "d = p·(d - alpha)", ptrs: []string{"d", "p"}, alpha: true, wide: 2,
		body: func(b *body) {
			b.load("d", 0)
			b.load("p", 1)
			b.i("VSUBPS Y14, Y0, Y0")
			b.i("VMULPS Y0, Y1, Y0")
			b.store(0, "d")
		}},
	{name: "siluMulVec", doc: "y = gate·sigmoid(gate)·up", ptrs: []string{"y", "gate", "up"},
		body: func(b *body) {
			b.load("gate", 0)
			b.sigmoid(1, 0, 2, 3, 4)
			b.load("up", 2)
			b.i("VMULPS Y1, Y0, Y0")
			b.i("VMULPS Y2, Y0, Y0")
			b.store(0, "y")
		}},
	{name: "siluMulBackwardVec", doc: "dgate = dy·up·s·(1 + gate·(1-s)), dup = dy·gate·s", ptrs: []string{"dgate", "dup", "dy", "gate", "up"},
		body: func(b *body) {
			b.load("gate", 0)
			b.sigmoid(1, 0, 2, 3, 4)
			b.load("dy", 5)
			b.load("up", 6)
			b.i("VMULPS Y1, Y5, Y5") // dy·s
			b.i("VMULPS Y0, Y5, Y7") // dup
			b.i("VMOVUPS %s, Y2", c(1))
			b.i("VSUBPS Y1, Y2, Y3")
			b.i("VFMADD213PS Y2, Y0, Y3") // 1 + gate·(1-s)
			b.i("VMULPS Y6, Y5, Y5")
			b.i("VMULPS Y3, Y5, Y5")
			b.store(7, "dup")
			b.store(5, "dgate")
		}},
	{name: "geluVec", doc: "y = x·Φ(x)", ptrs: []string{"y", "x"},
		body: func(b *body) {
			b.load("x", 0)
			b.normal(1, 2, 0, 3, 4, 5)
			b.i("VMULPS Y1, Y0, Y0")
			b.store(0, "y")
		}},
	{name: "geluBackwardVec", doc: "dx = dy·(Φ(x) + x·φ(x))", ptrs: []string{"dx", "dy", "x"},
		body: func(b *body) {
			b.load("x", 0)
			b.normal(1, 2, 0, 3, 4, 5)
			b.load("dy", 3)
			b.i("VMULPS %s, Y2, Y2", c(0.3989422804014327))
			b.i("VFMADD231PS Y2, Y0, Y1")
			b.i("VMULPS Y1, Y3, Y3")
			b.store(3, "dx")
		}},
	{name: "geluTanhVec", doc: "y = x·sigmoid(2u), u = √(2/π)·(x + 0.044715·x³)", ptrs: []string{"y", "x"},
		body: func(b *body) {
			b.load("x", 0)
			b.tanhArg(1, 0, 2)
			b.sigmoid(2, 1, 3, 4, 5)
			b.i("VMULPS Y2, Y0, Y0")
			b.store(0, "y")
		}},
	{name: "geluTanhBackwardVec", doc: "dx = dy·(s + x·2s(1-s)·u'), the second term 0 where 2s(1-s) is", ptrs: []string{"dx", "dy", "x"},
		body: func(b *body) {
			b.load("x", 0)
			b.tanhArg(1, 0, 2)
			b.sigmoid(2, 1, 3, 4, 5)
			b.load("dy", 6)
			b.i("VMOVUPS %s, Y3", c(1))
			b.i("VSUBPS Y2, Y3, Y3")
			b.i("VMULPS Y2, Y3, Y3")
			b.i("VADDPS Y3, Y3, Y3") // p = 2s(1-s)
			b.i("VXORPS Y4, Y4, Y4")
			b.i("VCMPPS $4, Y3, Y4, Y4") // p != 0 or NaN
			b.i("VMULPS Y0, Y0, Y5")
			b.i("VMOVUPS %s, Y7", c(geluA))
			b.i("VFMADD132PS %s, Y7, Y5", c(3*geluB)) // u' = x²·3B + A
			b.i("VMULPS Y0, Y3, Y3")
			b.i("VMULPS Y5, Y3, Y3")
			b.i("VANDPS Y4, Y3, Y3")
			b.i("VADDPS Y3, Y2, Y2")
			b.i("VMULPS Y2, Y6, Y6")
			b.store(6, "dx")
		}},
	{name: "sumAbsVec", doc: "Σ |x| in float64", ptrs: []string{"x"}, result: "float64", accs: 4, wide: 2, reduce: sum64(4),
		body: func(b *body) {
			b.load("x", 0)
			b.i("VANDPS %s, Y0, Y0", bitsOf(1<<31-1))
			b.addDoubles(0, 1, 8+2*b.acc)
		}},
	{name: "maxSizeVec", doc: "the largest size of x, as bits", ptrs: []string{"x"}, result: "float32", accs: 2, wide: 2, reduce: reduceMaxSize,
		body: func(b *body) {
			b.load("x", 0)
			b.i("VPAND %s, Y0, Y0", bitsOf(1<<31-1))
			b.i("VPMAXSD Y0, Y%d, Y%d", b.accReg(), b.accReg())
		}},
	{name: "keepAboveVec", doc: "x = size of s > alpha's bits ? x : 0", ptrs: []string{"x", "s"}, alpha: true, wide: 2,
		body: func(b *body) {
			b.load("s", 0)
			b.load("x", 1)
			b.i("VPAND %s, Y0, Y0", bitsOf(1<<31-1))
			b.i("VPCMPGTD Y14, Y0, Y0")
			b.i("VPAND Y1, Y0, Y0")
			b.store(0, "x")
		}},
	{name: "keepUpToVec", doc: "x = size of s > alpha's bits ? 0 : x", ptrs: []string{"x", "s"}, alpha: true, wide: 2,
		body: func(b *body) {
			b.load("s", 0)
			b.load("x", 1)
			b.i("VPAND %s, Y0, Y0", bitsOf(1<<31-1))
			b.i("VPCMPGTD Y14, Y0, Y0")
			b.i("VPANDN Y1, Y0, Y0")
			b.store(0, "x")
		}},
	{name: "addElectedVec", doc: "where x is not 0 and has the sign of vote: sum += x, divisor += alpha", ptrs: []string{"sum", "divisor", "vote", "x"}, alpha: true,
		body: func(b *body) {
			b.load("vote", 0)
			b.load("x", 1)
			b.load("sum", 2)
			b.load("divisor", 3)
			b.i("VPXOR Y0, Y1, Y0")
			b.i("VPSRAD $31, Y0, Y0") // the other sign
			b.i("VPADDD Y1, Y1, Y4")
			b.i("VPXOR Y5, Y5, Y5")
			b.i("VPCMPEQD Y5, Y4, Y4") // 0 or -0
			b.i("VPOR Y4, Y0, Y0")
			b.i("VPANDN Y1, Y0, Y1")
			b.i("VPANDN Y14, Y0, Y0")
			b.i("VADDPS Y1, Y2, Y2")
			b.i("VADDPS Y0, Y3, Y3")
			b.store(2, "sum")
			b.store(3, "divisor")
		}},
	{name: "divideVec", doc: "y = d != 0 ? y/d : y", ptrs: []string{"y", "d"},
		body: func(b *body) {
			b.load("y", 0)
			b.load("d", 1)
			b.i("VXORPS Y2, Y2, Y2")
			b.i("VCMPPS $4, Y2, Y1, Y2")
			b.i("VDIVPS Y1, Y0, Y1")
			b.i("VBLENDVPS Y2, Y1, Y0, Y0")
			b.store(0, "y")
		}},
	{name: "toBF16Vec", doc: "x = the nearest bf16", ptrs: []string{"x"},
		body: func(b *body) {
			b.load("x", 0)
			b.toBF16(1, 0, 2)
			b.store(1, "x")
		}},
	{name: "toSplitVec", doc: "x = hi + lo: the nearest bf16 and that of the rest", ptrs: []string{"x"},
		body: func(b *body) {
			b.load("x", 0)
			b.toBF16(1, 0, 2)
			b.i("VSUBPS Y1, Y0, Y0")
			b.toBF16(3, 0, 2)
			b.i("VADDPS Y3, Y1, Y1")
			b.store(1, "x")
		}},
}

// Constants of the tanh form.
const (
	geluA = 0.7978845608028654
	geluB = geluA * 0.044715
)

// tanhArg is Y[u] = 2·x·(A + B·x²).
func (b *body) tanhArg(u, x, tmp int) {
	b.i("VMULPS Y%d, Y%d, Y%d", x, x, u)
	b.i("VMOVUPS %s, Y%d", c(2*geluA), tmp)
	b.i("VFMADD132PS %s, Y%d, Y%d", c(2*geluB), tmp, u)
	b.i("VMULPS Y%d, Y%d, Y%d", x, u, u)
}

// toBF16 is Y[d] = Y[x] rounded to the nearest bf16, ties to even; a NaN stays as it is.
func (b *body) toBF16(d, x, tmp int) {
	b.i("VPSRLD $16, Y%d, Y%d", x, d)
	b.i("VPAND %s, Y%d, Y%d", bitsOf(1), d, d)
	b.i("VPADDD %s, Y%d, Y%d", bitsOf(0x7fff), d, d)
	b.i("VPADDD Y%d, Y%d, Y%d", x, d, d)
	b.i("VPAND %s, Y%d, Y%d", bitsOf(0xffff0000), d, d)
	b.i("VCMPPS $3, Y%d, Y%d, Y%d", x, x, tmp)
	b.i("VBLENDVPS Y%d, Y%d, Y%d, Y%d", tmp, x, d, d)
}

// addDoubles adds the eight numbers of Y[x] to two accumulators of float64.
func (b *body) addDoubles(x, tmp, acc int) {
	b.i("VCVTPS2PD X%d, Y%d", x, tmp)
	b.i("VADDPD Y%d, Y%d, Y%d", tmp, acc, acc)
	b.i("VEXTRACTF128 $1, Y%d, X%d", x, tmp)
	b.i("VCVTPS2PD X%d, Y%d", tmp, tmp)
	b.i("VADDPD Y%d, Y%d, Y%d", tmp, acc+1, acc+1)
}

func reduceMax(f *file) {
	f.i("VEXTRACTF128 $1, Y8, X0")
	f.i("VMAXPS X0, X8, X0")
	f.i("VPERMILPS $0x4e, X0, X1")
	f.i("VMAXPS X1, X0, X0")
	f.i("VPERMILPS $0xb1, X0, X1")
	f.i("VMAXPS X1, X0, X0")
	f.i("VMOVMSKPS Y9, AX")
	f.i("TESTL AX, AX")
	f.i("JZ number")
	f.i("VPCMPEQD X0, X0, X0") // a NaN
	f.p("number:")
}

func reduceMaxSize(f *file) {
	f.i("VPMAXSD Y9, Y8, Y8")
	f.i("VEXTRACTI128 $1, Y8, X0")
	f.i("VPMAXSD X0, X8, X0")
	f.i("VPSHUFD $0x4e, X0, X1")
	f.i("VPMAXSD X1, X0, X0")
	f.i("VPSHUFD $0xb1, X0, X1")
	f.i("VPMAXSD X1, X0, X0")
}

// conversions writes the loops between storage types: 16 numbers at a time, n a multiple of 16.
func conversions(f *file) {
	for _, l := range []struct {
		name, from, to string
		body           func()
	}{
		{"bf16ToF32Loop", "uint16", "float32", func() {
			f.i("PREFETCHT0 1024(SI)") // the processor does not look beyond a page by itself; tensors of merges come from far
			for i := range 2 {
				f.widen("bf16", []string{"(SI)", "16(SI)"}[i], ymm.r(i))
				f.i("VMOVUPS Y%d, %d(DI)", i, 32*i)
			}
		}},
		{"f16ToF32Loop", "uint16", "float32", func() {
			for i := range 2 {
				f.widen("f16", []string{"(SI)", "16(SI)"}[i], ymm.r(i))
				f.i("VMOVUPS Y%d, %d(DI)", i, 32*i)
			}
		}},
		{"f32ToBF16Loop", "float32", "uint16", func() {
			b := &body{file: f}
			for i := range 2 {
				f.i("VMOVUPS %d(SI), Y%d", 32*i, 2*i)
				b.i("VPSRLD $16, Y%d, Y%d", 2*i, 2*i+1)
				b.i("VPAND %s, Y%d, Y4", bitsOf(1), 2*i+1)
				b.i("VPOR %s, Y%d, Y%d", bitsOf(0x40), 2*i+1, 2*i+1) // what a NaN becomes
				b.i("VPADDD %s, Y4, Y4", bitsOf(0x7fff))
				b.i("VPADDD Y%d, Y4, Y4", 2*i)
				b.i("VPSRLD $16, Y4, Y4")
				b.i("VCMPPS $3, Y%d, Y%d, Y5", 2*i, 2*i)
				b.i("VBLENDVPS Y5, Y%d, Y4, Y%d", 2*i+1, 2*i)
			}
			f.i("VPACKUSDW Y2, Y0, Y0")
			f.i("VPERMQ $0xd8, Y0, Y0")
			f.i("VMOVDQU Y0, (DI)")
		}},
		{"f32ToF16Loop", "float32", "uint16", func() {
			for i := range 2 {
				f.i("VMOVUPS %d(SI), Y%d", 32*i, i)
				f.i("VCVTPS2PH $0, Y%d, %d(DI)", i, 16*i)
			}
		}},
	} {
		f.p("\n// func %s(dst *%s, src *%s, n int)", l.name, l.to, l.from)
		f.p("TEXT ·%s(SB), NOSPLIT, $0-24", l.name)
		f.i("MOVQ dst+0(FP), DI")
		f.i("MOVQ src+8(FP), SI")
		f.i("MOVQ n+16(FP), CX")
		f.p("loop:")
		l.body()
		bytes := map[string]int{"float32": 64, "uint16": 32}
		f.i("ADDQ $%d, SI", bytes[l.from])
		f.i("ADDQ $%d, DI", bytes[l.to])
		f.i("SUBQ $16, CX")
		f.i("JNZ loop")
		f.i("VZEROUPPER")
		f.i("RET")
	}
}
