package main

import (
	"fmt"
	"math"
	"strings"
)

// A loop is an element-wise function over arrays of n float32: eight numbers at a time, the last ones under a mask.
type loop struct {
	name   string
	doc    string
	ptrs   []string      // arrays, held in SI, DI, R8, R9, R10
	alpha  bool          // a float32 argument, broadcast to Y14
	result string        // "", "float32" or "float64": lanes of the accumulators are reduced to it
	accs   int           // accumulators Y8 …: zero at the start
	wide   int           // the body is repeated for this many accumulators in the main loop
	begin  func(f *file) // sets accumulators that do not start at zero
	body   func(b *body)
	reduce func(f *file) // leaves the result in X0
}

// body writes the work on eight numbers.
type body struct {
	*file
	l    *loop
	off  int  // bytes from the pointers
	acc  int  // which accumulator
	tail bool // under the mask in Y15
}

var pointerRegs = []string{"SI", "DI", "R8", "R9", "R10"}

func (b *body) addr(ptr string) string {
	for i, p := range b.l.ptrs {
		if p == ptr {
			return fmt.Sprintf("%d(%s)", b.off, pointerRegs[i])
		}
	}
	panic(ptr)
}

// load reads eight numbers; beyond the last they are 0.
func (b *body) load(ptr string, reg int) {
	if b.tail {
		b.i("VMASKMOVPS %s, Y15, Y%d", b.addr(ptr), reg)
	} else {
		b.i("VMOVUPS %s, Y%d", b.addr(ptr), reg)
	}
}

func (b *body) store(reg int, ptr string) {
	if b.tail {
		b.i("VMASKMOVPS Y%d, Y15, %s", reg, b.addr(ptr))
	} else {
		b.i("VMOVUPS Y%d, %s", reg, b.addr(ptr))
	}
}

// accReg is the accumulator of this repetition.
func (b *body) accReg() int { return 8 + b.acc }

// constants are broadcast to 32 bytes.
type constants struct {
	names []string
	bits  map[string]uint32
}

var consts = constants{bits: map[string]uint32{}}

// c is the operand of a constant.
func c(v float64) string { return bitsOf(math.Float32bits(float32(v))) }

func bitsOf(u uint32) string {
	name := fmt.Sprintf("c%08x<>", u)
	if _, ok := consts.bits[name]; !ok {
		consts.bits[name] = u
		consts.names = append(consts.names, name)
	}
	return name + "(SB)"
}

// vectors writes all loops and their constants.
func vectors(f *file) {
	for i := range loops {
		vector(f, &loops[i])
	}
	conversions(f)
	between(f)
	f.p("")
	for _, name := range consts.names {
		u := consts.bits[name]
		for i := range 4 {
			f.p("DATA %s+%d(SB)/8, $0x%08x%08x", name, 8*i, u, u)
		}
		f.p("GLOBL %s(SB), RODATA|NOPTR, $32", name)
	}
	f.p("\n// Eight words of ones and eight of zeros: the mask of n numbers begins 4·(8-n) bytes in.")
	for i := range 8 {
		u := "0x0000000000000000"
		if i < 4 {
			u = "0xffffffffffffffff"
		}
		f.p("DATA tailMask<>+%d(SB)/8, $%s", 8*i, u)
	}
	f.p("GLOBL tailMask<>(SB), RODATA|NOPTR, $64")
}

// signature of the assembly function.
func (l *loop) signature() string {
	args := strings.Join(l.ptrs, ", ") + " *float32, n int"
	if l.alpha {
		args += ", alpha float32"
	}
	return fmt.Sprintf("func %s(%s) %s", l.name, args, l.result)
}

func vector(f *file, l *loop) {
	n := 8 * len(l.ptrs)
	alpha := n + 8
	total := alpha
	if l.alpha {
		total += 4
	}
	ret := (total + 7) &^ 7
	if l.result != "" {
		total = ret + map[string]int{"float32": 4, "float64": 8}[l.result]
	}
	f.p("\n// %s", strings.TrimSpace(l.signature()))
	f.p("// %s", l.doc)
	f.p("TEXT ·%s(SB), NOSPLIT, $0-%d", l.name, total)
	for i, p := range l.ptrs {
		f.i("MOVQ %s+%d(FP), %s", p, 8*i, pointerRegs[i])
	}
	f.i("MOVQ n+%d(FP), CX", n)
	if l.alpha {
		f.i("VBROADCASTSS alpha+%d(FP), Y14", alpha)
	}
	for i := range l.accs {
		f.i("VXORPS Y%d, Y%d, Y%d", 8+i, 8+i, 8+i)
	}
	if l.begin != nil {
		l.begin(f)
	}
	advance := func(bytes int) {
		for i := range l.ptrs {
			f.i("ADDQ $%d, %s", bytes, pointerRegs[i])
		}
	}
	if l.wide > 1 {
		f.i("CMPQ CX, $%d", 8*l.wide)
		f.i("JLT eight")
		f.p("wide:")
		for i := range l.wide {
			l.body(&body{file: f, l: l, off: 32 * i, acc: i})
		}
		advance(32 * l.wide)
		f.i("SUBQ $%d, CX", 8*l.wide)
		f.i("CMPQ CX, $%d", 8*l.wide)
		f.i("JGE wide")
		f.p("eight:")
	}
	f.i("CMPQ CX, $8")
	f.i("JLT tail")
	f.p("loop:")
	l.body(&body{file: f, l: l})
	advance(32)
	f.i("SUBQ $8, CX")
	f.i("CMPQ CX, $8")
	f.i("JGE loop")
	f.p("tail:")
	f.i("TESTQ CX, CX")
	f.i("JZ done")
	f.i("LEAQ tailMask<>+32(SB), AX")
	f.i("SHLQ $2, CX")
	f.i("SUBQ CX, AX")
	f.i("VMOVUPS (AX), Y15")
	l.body(&body{file: f, l: l, tail: true})
	f.p("done:")
	if l.result != "" {
		l.reduce(f)
		op := map[string]string{"float32": "VMOVSS", "float64": "VMOVSD"}[l.result]
		f.i("%s X0, ret+%d(FP)", op, ret)
	}
	f.i("VZEROUPPER")
	f.i("RET")
}

// sum32 adds the lanes of n accumulators of float32.
func sum32(n int) func(f *file) {
	return func(f *file) {
		for ; n > 1; n /= 2 {
			for i := range n / 2 {
				f.i("VADDPS Y%d, Y%d, Y%d", 8+i+n/2, 8+i, 8+i)
			}
		}
		f.i("VEXTRACTF128 $1, Y8, X0")
		f.i("VADDPS X0, X8, X0")
		f.i("VHADDPS X0, X0, X0")
		f.i("VHADDPS X0, X0, X0")
	}
}

// sum64 adds the lanes of n accumulators of float64.
func sum64(n int) func(f *file) {
	return func(f *file) {
		for ; n > 1; n /= 2 {
			for i := range n / 2 {
				f.i("VADDPD Y%d, Y%d, Y%d", 8+i+n/2, 8+i, 8+i)
			}
		}
		f.i("VEXTRACTF128 $1, Y8, X0")
		f.i("VADDPD X0, X8, X0")
		f.i("VHADDPD X0, X0, X0")
	}
}

// exp replaces Y[x] by its exponential: x = n·ln 2 + r, exp(x) = 2ⁿ·(1 + r + r²/2 + … + r⁷/5040). It uses three more registers.
func (b *body) exp(x, n, p, t int) {
	b.i("VMOVUPS %s, Y%d", c(89), t)
	b.i("VMINPS Y%d, Y%d, Y%d", x, t, x) // the second source is the one that survives if either is NaN
	b.i("VMOVUPS %s, Y%d", c(-104.5), t)
	b.i("VMAXPS Y%d, Y%d, Y%d", x, t, x)
	b.i("VMULPS %s, Y%d, Y%d", c(math.Log2E), x, n)
	b.i("VROUNDPS $8, Y%d, Y%d", n, n)
	b.i("VFNMADD231PS %s, Y%d, Y%d", c(0.693359375), n, x)
	b.i("VFNMADD231PS %s, Y%d, Y%d", c(-2.12194440054690583e-4), n, x)
	b.i("VMOVUPS %s, Y%d", c(1.0/5040), p)
	for _, v := range []float64{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1} {
		b.i("VFMADD213PS %s, Y%d, Y%d", c(v), x, p)
	}
	b.i("VCVTPS2DQ Y%d, Y%d", n, n) // 2ⁿ in two factors: n runs from -151 to 128
	b.i("VPSRAD $1, Y%d, Y%d", n, t)
	b.i("VPSUBD Y%d, Y%d, Y%d", t, n, n)
	b.i("VPSLLD $23, Y%d, Y%d", t, t)
	b.i("VPSLLD $23, Y%d, Y%d", n, n)
	b.i("VPADDD %s, Y%d, Y%d", c(1), t, t)
	b.i("VPADDD %s, Y%d, Y%d", c(1), n, n)
	b.i("VMULPS Y%d, Y%d, Y%d", t, p, x)
	b.i("VMULPS Y%d, Y%d, Y%d", n, x, x)
}

// sigmoid is Y[s] = 1/(1 + exp(-Y[x])).
func (b *body) sigmoid(s, x int, tmp ...int) {
	b.i("VXORPS %s, Y%d, Y%d", bitsOf(1<<31), x, s)
	b.exp(s, tmp[0], tmp[1], tmp[2])
	b.i("VADDPS %s, Y%d, Y%d", c(1), s, s)
	b.i("VMOVUPS %s, Y%d", c(1), tmp[0])
	b.i("VDIVPS Y%d, Y%d, Y%d", s, tmp[0], s)
}

// normal sets Y[phi] = exp(-x²/2) and Y[cdf] = Φ(x) = x < 0 ? h : 1-h with h = t·Q(t)·exp(-x²/2)/2, t = 1/(1 + 0.3·|x|).
// Q is the polynomial that equals 2·Φ(-x)·exp(x²/2)/t at ten Chebyshev nodes of t for x in [0, 14.4]: within 1e-7 of it.
func (b *body) normal(cdf, phi, x int, tmp ...int) {
	t, p := tmp[0], tmp[1]
	b.i("VMULPS Y%d, Y%d, Y%d", x, x, phi)
	b.i("VMULPS %s, Y%d, Y%d", c(-0.5), phi, phi)
	b.exp(phi, t, p, tmp[2])
	b.i("VANDPS %s, Y%d, Y%d", bitsOf(1<<31-1), x, t)
	b.i("VMOVUPS %s, Y%d", c(1), p)
	b.i("VFMADD132PS %s, Y%d, Y%d", c(0.3), p, t) // t = t·0.3 + 1
	b.i("VDIVPS Y%d, Y%d, Y%d", t, p, t)
	q := []float64{-0.041897592703424975, 0.2284403812423366, -0.46488431670620856, 0.3948981712507485, -0.16827358578161133,
		0.19734976204841098, 0.15505746711884882, 0.22083301149580464, 0.23910121546646246, 0.23937548285347}
	b.i("VMOVUPS %s, Y%d", c(q[0]), p)
	for _, v := range q[1:] {
		b.i("VFMADD213PS %s, Y%d, Y%d", c(v), t, p)
	}
	b.i("VMULPS Y%d, Y%d, Y%d", t, p, p)
	b.i("VMULPS %s, Y%d, Y%d", c(0.5), p, p)
	b.i("VMULPS Y%d, Y%d, Y%d", phi, p, p)
	b.i("VMOVUPS %s, Y%d", c(1), t)
	b.i("VSUBPS Y%d, Y%d, Y%d", p, t, t)
	b.i("VBLENDVPS Y%d, Y%d, Y%d, Y%d", x, p, t, cdf) // by x's sign
}

// declarations writes the Go side of the loops: on amd64 the assembly unless the variant is plain Go, elsewhere plain Go.
func declarations(amd64 bool) func(f *file) {
	return func(f *file) {
		f.p("package kernel")
		if amd64 {
			f.p("\nimport \"unsafe\"")
		}
		for _, l := range loops {
			name := strings.TrimSuffix(l.name, "Vec")
			params, args := strings.Join(l.ptrs, ", ")+" []float32", strings.Join(l.ptrs, ", ")
			if l.alpha {
				params, args = params+", alpha float32", args+", alpha"
			}
			ret := ""
			if l.result != "" {
				ret = "return "
			}
			if !amd64 {
				f.p("\nfunc %sRow(%s) %s { %s%sGo(%s) }", name, params, l.result, ret, name, args)
				continue
			}
			f.p("\n//go:noescape\n%s\n", l.signature())
			f.p("func %sRow(%s) %s {", name, params, l.result)
			f.i("if current().vec == vecGo {")
			if ret == "" {
				f.i("%sGo(%s)\nreturn", name, args)
			} else {
				f.i("%s%sGo(%s)", ret, name, args)
			}
			f.i("}")
			call := ""
			for _, p := range l.ptrs {
				call += fmt.Sprintf("unsafe.SliceData(%s), ", p)
			}
			call += fmt.Sprintf("len(%s)", l.ptrs[0])
			if l.alpha {
				call += ", alpha"
			}
			f.i("%s%s(%s)", ret, l.name, call)
			f.p("}")
		}
	}
}
