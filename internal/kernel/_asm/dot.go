package main

import (
	"fmt"
	"slices"
)

// A dotKernel is a kernel of few rows: m rows of x times groups of columns, rows of a, both contiguous in the summed dimension. Up to
// half of its rows it takes four columns at a time, above that two.
type dotKernel struct {
	name   string
	w      width
	rows   int
	dtypes []string // that a may have
	mul    product
}

// lossless is the weight that is read in blocks of 64 numbers, several steps of the others.
const lossless = "lossless"

// dotPairs has two bf16 for every float32 of the others.
var dotKernels = []dotKernel{
	{"dot256", ymm, 3, dtypes, fma(ymm)},
	{"dot512", zmm, 8, append(slices.Clone(dtypes), lossless), fma(zmm)},
	{"dotPairs", zmm, 8, []string{"f32", lossless}, pairs},
}

func dots(f *file) {
	f.p("#include \"tile_amd64.h\"")
	for _, k := range dotKernels {
		dot(f, k)
	}
}

// dotCols are the columns that m rows meet at a time: their sums are in m·dotCols registers.
func dotCols(m int) int {
	if m > 4 {
		return 2
	}
	return 4
}

// Registers: R8 x, R9 its row stride, R10 a, R11 its row stride, R12 and R13 three times those, SI x's row 4, R14 what to prefetch and R15
// how far that goes on with each step, AX how far apart its lines are and DX three times that, CX the steps left.
func dot(f *file, k dotKernel) {
	f.text(k.name, "j.m rows of x times j.groups groups of rows of a: y = alpha·(Σ_k x·a + Σ_k s·b) + src", "dotJob", 0)
	f.i("MOVQ dotJob_m(DI), AX")
	f.i("MOVQ dotJob_dtype(DI), BX")
	if k.w == zmm {
		f.i("KMOVW dotJob_lowLanes(DI), K1")
	}
	if slices.Contains(k.dtypes, lossless) {
		f.i("MOVQ dotJob_exponents(DI), CX")
		f.i("TESTQ CX, CX")
		f.i("JZ start")
		unpackBegin(f, "CX", "CX")
		f.p("start:")
	}
	for m := k.rows; m > 1; m-- {
		f.i("CMPQ AX, $%d", m)
		f.i("JEQ rows%d", m)
	}
	for m := 1; m <= k.rows; m++ {
		dotRows(f, k, m)
	}
}

// dotRows is the kernel for m rows.
func dotRows(f *file, k dotKernel, m int) {
	f.p("rows%d:", m)
	dotOperands(f, m, "x", "xRow", "a", "aRow", "steps")
	f.i("MOVQ dotJob_ahead(DI), R14")
	f.i("MOVQ dotJob_aheadStep(DI), R15")
	f.i("MOVQ dotJob_aheadLine(DI), AX")
	f.i("LEAQ (AX)(AX*2), DX")
	f.zero(k.w, dotCols(m)*m)
	f.i("TESTQ CX, CX")
	f.i("JZ tail%d", m)
	for d := 1; d < len(k.dtypes); d++ {
		f.i("CMPQ BX, $%d", dtypeNumber(k.dtypes[d]))
		f.i("JEQ %s%d", k.dtypes[d], m)
	}
	for d, dtype := range k.dtypes {
		f.p("%s%d:", dtype, m)
		for l := range dotCols(m) {
			f.i("PREFETCHT1 %s", index("R14", "AX", "DX", l))
			if dtype == lossless { // 96 bytes a step
				f.i("PREFETCHT1 64%s", index("R14", "AX", "DX", l))
			}
		}
		f.i("ADDQ R15, R14")
		switch {
		case dtype == lossless && k.name == "dotPairs":
			dotBlock(f, k, m)
		case dtype == lossless:
			dotBlockFloats(f, k, m)
		default:
			dotStep(f, k, m, dtype, k.mul)
			dotAdvance(f, k, m, k.w.bytes, size(dtype)*k.w.floats)
		}
		f.i("DECQ CX")
		f.i("JNZ %s%d", dtype, m)
		if d < len(k.dtypes)-1 {
			f.i("JMP tail%d", m)
		}
	}
	// The last, partial step lies padded with zeros in the job.
	f.p("tail%d:", m)
	f.i("ADDQ dotJob_aheadGroup(DI), R14")
	f.i("MOVQ R14, dotJob_ahead(DI)")
	f.i("CMPQ dotJob_tail(DI), $0")
	f.i("JEQ low%d", m)
	f.i("LEAQ dotJob_xTail(DI), R8")
	f.i("LEAQ dotJob_aTail(DI), R10")
	f.i("MOVQ $64, R9")
	f.i("MOVQ $64, R11")
	dotStrides(f, m)
	dotStep(f, k, m, "f32", k.mul)
	dotLow(f, k, m)
	f.p("sum%d:", m)
	dotSums(f, k.w, m)
	dotNext(f, m)
	f.i("VZEROUPPER")
	f.i("RET")
}

// dotOperands loads what a loop over steps needs.
func dotOperands(f *file, m int, x, xRow, a, aRow, steps string) {
	f.load("dotJob", x, "R8", xRow, "R9", a, "R10", aRow, "R11", steps, "CX")
	dotStrides(f, m)
}

// dotStrides makes the addresses that follow from x, a and their row strides.
func dotStrides(f *file, m int) {
	f.i("LEAQ (R11)(R11*2), R12")
	f.i("LEAQ (R9)(R9*2), R13")
	if m > 4 {
		f.i("LEAQ (R8)(R9*4), SI")
	}
}

// dotAdvance goes on by so many bytes of x and of a.
func dotAdvance(f *file, k dotKernel, m, x, a int) {
	f.i("ADDQ $%d, R8", x)
	if m > 4 {
		f.i("ADDQ $%d, SI", x)
	}
	f.i("ADDQ $%d, R10", a)
}

// dotBlock adds two registers' worth of products with a lossless weight.
func dotBlock(f *file, k dotKernel, m int) {
	cols := dotCols(m)
	a := cols*m + m
	for l := range cols {
		unpackBlock(f, index("R10", "R11", "R12", l), a+2*l)
	}
	for half := range 2 {
		x, _ := dotLoadX(f, k.w, m, cols)
		for l := range cols {
			for i := range m {
				f.i("%s", k.mul(x+i, a+2*l+half, cols*i+l))
			}
		}
		dotAdvance(f, k, m, k.w.bytes, 48)
	}
}

// dotStep adds one register's worth of products to the accumulators.
func dotStep(f *file, k dotKernel, m int, dtype string, mul product) {
	x, a := dotLoadX(f, k.w, m, dotCols(m))
	for l := range dotCols(m) {
		r := a
		if k.w == zmm {
			r += l
		}
		f.widen(dtype, index("R10", "R11", "R12", l), k.w.r(r))
		for i := range m {
			f.i("%s", mul(x+i, r, dotCols(m)*i+l))
		}
	}
}

// dotBlockFloats is dotBlock for float32: each half of a register of bf16 becomes one of float32, and meets x in memory.
func dotBlockFloats(f *file, k dotKernel, m int) {
	const w, half = 27, 25 // half and the next: a block
	for l := range dotCols(m) {
		unpackBlock(f, index("R10", "R11", "R12", l), half)
		for q := range 4 {
			if q%2 == 1 {
				f.i("VEXTRACTI64X4 $1, Z%d, Y%d", half+q/2, half+q/2)
			}
			f.i("VPMOVZXWD Y%d, Z%d", half+q/2, w)
			f.i("VPSLLD $16, Z%d, Z%d", w, w)
			for i := range m {
				base := []string{"R8", "SI"}[i/4]
				f.i("VFMADD231PS %d%s, Z%d, Z%d", 64*q, index(base, "R9", "R13", i%4), w, dotCols(m)*i+l)
			}
		}
	}
	dotAdvance(f, k, m, 4*k.w.bytes, 96)
}

// dotLoadX loads m rows of x behind the accumulators of so many columns, and says from where on they lie and which registers are free.
func dotLoadX(f *file, w width, m, cols int) (x, free int) {
	x = cols * m
	for i := range m {
		base := []string{"R8", "SI"}[i/4]
		f.i("VMOVUPS %s, %s", index(base, "R9", "R13", i%4), w.r(x+i))
	}
	return x, x + m
}

// dotLow adds s·b, in float32: whole registers, then the lanes that are left.
func dotLow(f *file, k dotKernel, m int) {
	f.p("low%d:", m)
	f.i("CMPQ dotJob_b(DI), $0")
	f.i("JEQ sum%d", m)
	dotOperands(f, m, "s", "sRow", "b", "bRow", "low")
	f.i("TESTQ CX, CX")
	f.i("JZ lanes%d", m)
	f.p("whole%d:", m)
	dotStep(f, k, m, "f32", fma(k.w))
	dotAdvance(f, k, m, k.w.bytes, k.w.bytes)
	f.i("DECQ CX")
	f.i("JNZ whole%d", m)
	f.p("lanes%d:", m)
	f.i("CMPQ dotJob_lowLanes(DI), $0")
	f.i("JEQ sum%d", m)
	x, a := dotLoadX(f, k.w, m, dotCols(m))
	for l := range dotCols(m) {
		addr := index("R10", "R11", "R12", l)
		if k.w == zmm {
			f.i("VMOVUPS.Z %s, K1, %s", addr, k.w.r(a))
		} else {
			f.i("VMOVUPS dotJob_lowMask(DI), %s", k.w.r(a))
			f.i("VMASKMOVPS %s, %s, %s", addr, k.w.r(a), k.w.r(a))
		}
		for i := range m {
			f.i("%s", fma(k.w)(x+i, a, dotCols(m)*i+l))
		}
	}
}

// dotNext goes on to the next group of columns.
func dotNext(f *file, m int) {
	f.i("DECQ dotJob_groups(DI)")
	f.i("JZ end%d", m)
	f.i("MOVQ dotJob_aRow(DI), AX")
	f.i("SHLQ $%d, AX", dotCols(m)/2)
	f.i("ADDQ AX, dotJob_a(DI)")
	f.i("ADDQ $%d, dotJob_y(DI)", 4*dotCols(m))
	f.i("MOVQ dotJob_srcStep(DI), AX")
	f.i("ADDQ AX, dotJob_src(DI)")
	f.i("MOVQ dotJob_b(DI), DX")
	f.i("TESTQ DX, DX")
	f.i("JZ rows%d", m)
	f.i("MOVQ dotJob_bRow(DI), AX")
	f.i("SHLQ $%d, AX", dotCols(m)/2)
	f.i("ADDQ AX, DX")
	f.i("MOVQ DX, dotJob_b(DI)")
	f.i("JMP rows%d", m)
	f.p("end%d:", m)
}

// index is row i of four from base on; one is the register of a row's length, three that of three.
func index(base, one, three string, i int) string {
	return []string{"(" + base + ")", fmt.Sprintf("(%s)(%s*1)", base, one), fmt.Sprintf("(%s)(%s*2)", base, one), fmt.Sprintf("(%s)(%s*1)", base, three)}[i]
}

// dotSums adds the lanes and writes the results of each row.
func dotSums(f *file, w width, m int) {
	cols := dotCols(m)
	if w == zmm {
		for i := range cols * m {
			f.i("VEXTRACTF64X4 $1, Z%d, Y31", i)
			f.i("VADDPS Y31, Y%d, Y%d", i, i)
			f.i("VEXTRACTF32X4 $1, Y%d, X31", i)
			f.i("VADDPS X31, X%d, X%d", i, i)
		}
	}
	reg := "Y"
	if w == zmm {
		reg = "X" // the halves are added already
	}
	for i := range m {
		r := func(l int) string { return fmt.Sprintf("%s%d", reg, cols*i+l) }
		f.i("VHADDPS %s, %s, %s", r(1), r(0), r(0))
		if cols == 4 {
			f.i("VHADDPS %s, %s, %s", r(3), r(2), r(2))
			f.i("VHADDPS %s, %s, %s", r(2), r(0), r(0))
		} else {
			f.i("VHADDPS %s, %s, %s", r(0), r(0), r(0))
		}
		if w == ymm {
			f.i("VEXTRACTF128 $1, Y%d, X%d", 4*i, 4*i+1)
			f.i("VADDPS X%d, X%d, X%d", 4*i+1, 4*i, 4*i)
		}
	}
	f.i("MOVQ dotJob_src(DI), R8")
	f.i("MOVQ dotJob_y(DI), R9")
	// Registers 1 and 3 are free now.
	f.i("VBROADCASTSS dotJob_alpha(DI), X1")
	for i := range m {
		if cols == 4 {
			f.i("VFMADD213PS (R8), X1, X%d", 4*i)
			f.i("VMOVUPS X%d, (R9)", 4*i)
		} else {
			f.i("VMOVSD (R8), X3")
			f.i("VFMADD213PS X3, X1, X%d", 2*i)
			f.i("VMOVSD X%d, (R9)", 2*i)
		}
		if i < m-1 {
			f.i("ADDQ dotJob_srcRow(DI), R8")
			f.i("ADDQ dotJob_yRow(DI), R9")
		}
	}
}
