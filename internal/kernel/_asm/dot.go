package main

import "fmt"

// A dotKernel is a kernel of few rows: m rows of x times 4 rows of a, both contiguous in the summed dimension.
type dotKernel struct {
	name   string
	w      width
	rows   int
	dtypes []string // that a may have
	mul    product
}

// dotPairs has two bf16 for every float32 of the others.
var dotKernels = []dotKernel{
	{"dot256", ymm, 3, dtypes, fma(ymm)},
	{"dot512", zmm, 4, dtypes, fma(zmm)},
	{"dotPairs", zmm, 4, dtypes[:1], pairs},
}

func dots(f *file) {
	f.p("#include \"tile_amd64.h\"")
	for _, k := range dotKernels {
		dot(f, k)
	}
}

// Registers: R8 x, R9 its row stride, R10 a, R11 its row stride, R12 and R13 three times those, R14 what to prefetch and R15 how
// far that goes on with each step, CX the steps left.
func dot(f *file, k dotKernel) {
	w := k.w
	f.text(k.name, "j.m rows of x times 4 rows of a: y = alpha·Σ_k x·a + src", "dotJob", 0)
	for _, l := range [][2]string{{"x", "R8"}, {"xRow", "R9"}, {"a", "R10"}, {"aRow", "R11"}, {"steps", "CX"}} {
		f.i("MOVQ dotJob_%s(DI), %s", l[0], l[1])
	}
	f.i("MOVQ R10, R14")
	f.i("ADDQ dotJob_ahead(DI), R14")
	f.i("MOVQ dotJob_aheadStep(DI), R15")
	f.i("LEAQ (R11)(R11*2), R12")
	f.i("LEAQ (R9)(R9*2), R13")
	f.i("MOVQ dotJob_m(DI), AX")
	f.i("MOVQ dotJob_dtype(DI), BX")
	for m := k.rows; m > 1; m-- {
		f.i("CMPQ AX, $%d", m)
		f.i("JEQ rows%d", m)
	}
	for m := 1; m <= k.rows; m++ {
		f.p("rows%d:", m)
		f.zero(w, 4*m)
		f.i("TESTQ CX, CX")
		f.i("JZ tail%d", m)
		for d := 1; d < len(k.dtypes); d++ {
			f.i("CMPQ BX, $%d", d)
			f.i("JEQ %s%d", dtypes[d], m)
		}
		for d, dtype := range k.dtypes {
			f.p("%s%d:", dtype, m)
			for l := range 4 {
				f.i("PREFETCHT1 %s", index("R14", "R11", "R12", l))
			}
			dotStep(f, k, m, dtype)
			f.i("ADDQ R15, R14")
			f.i("ADDQ $%d, R8", w.bytes)
			f.i("ADDQ $%d, R10", size(dtype)*w.floats)
			f.i("DECQ CX")
			f.i("JNZ %s%d", dtype, m)
			if d < len(k.dtypes)-1 {
				f.i("JMP tail%d", m)
			}
		}
		// The last, partial step lies padded with zeros in the job.
		f.p("tail%d:", m)
		f.i("CMPQ dotJob_tail(DI), $0")
		f.i("JEQ sum%d", m)
		f.i("LEAQ dotJob_xTail(DI), R8")
		f.i("LEAQ dotJob_aTail(DI), R10")
		f.i("MOVQ $64, R9")
		f.i("MOVQ $192, R13")
		f.i("MOVQ $64, R11")
		f.i("MOVQ $192, R12")
		dotStep(f, k, m, "f32")
		f.p("sum%d:", m)
		dotSums(f, w, m)
		f.i("VZEROUPPER")
		f.i("RET")
	}
}

// dotStep adds one register's worth of products to the accumulators 0 … 4m-1.
func dotStep(f *file, k dotKernel, m int, dtype string) {
	w := k.w
	for i := range m {
		f.i("VMOVUPS %s, %s", index("R8", "R9", "R13", i), w.r(4*m+i))
	}
	for l := range 4 {
		a := 5 * m
		if w == zmm {
			a += l
		}
		f.widen(dtype, index("R10", "R11", "R12", l), w.r(a))
		for i := range m {
			f.i("%s", k.mul(4*m+i, a, 4*i+l))
		}
	}
}

// index is row i of four from base on; one is the register of a row's length, three that of three.
func index(base, one, three string, i int) string {
	return []string{"(" + base + ")", fmt.Sprintf("(%s)(%s*1)", base, one), fmt.Sprintf("(%s)(%s*2)", base, one), fmt.Sprintf("(%s)(%s*1)", base, three)}[i]
}

// dotSums adds the lanes and writes four results per row.
func dotSums(f *file, w width, m int) {
	if w == zmm {
		for i := range 4 * m {
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
	f.i("MOVQ dotJob_src(DI), R8")
	f.i("MOVQ dotJob_y(DI), R9")
	for i := range m {
		r := func(l int) string { return fmt.Sprintf("%s%d", reg, 4*i+l) }
		f.i("VHADDPS %s, %s, %s", r(1), r(0), r(0))
		f.i("VHADDPS %s, %s, %s", r(3), r(2), r(2))
		f.i("VHADDPS %s, %s, %s", r(2), r(0), r(0))
		if w == ymm {
			f.i("VEXTRACTF128 $1, Y%d, X%d", 4*i, 4*i+1)
			f.i("VADDPS X%d, X%d, X%d", 4*i+1, 4*i, 4*i)
		}
	}
	// Register 1 is free now.
	f.i("VBROADCASTSS dotJob_alpha(DI), X1")
	for i := range m {
		f.i("VFMADD213PS (R8), X1, X%d", 4*i)
		f.i("VMOVUPS X%d, (R9)", 4*i)
		if i < m-1 {
			f.i("ADDQ dotJob_srcRow(DI), R8")
			f.i("ADDQ dotJob_yRow(DI), R9")
		}
	}
}
