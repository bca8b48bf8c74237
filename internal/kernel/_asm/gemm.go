package main

import "fmt"

// A micro is a micro-kernel: m rows times two registers of columns, m from the largest that the registers hold down to 1.
type micro struct {
	name string
	w    width
	rows int
	mul  product
}

// gemmPairs has two bf16 for every float32 of the others; all else is the same.
var micros = []micro{
	{"gemm256", ymm, 6, fma(ymm)},
	{"gemm512", zmm, 12, fma(zmm)},
	{"gemmPairs", zmm, 12, pairs},
}

func gemms(f *file) {
	f.p("#include \"tile_amd64.h\"")
	for _, k := range micros {
		gemm(f, k)
	}
}

// Registers: R8 c, R10 src, R11 its row stride, R12 the row stride of a, R15 its step, DX the row stride of b, AX, BX, CX, R14
// the addresses of a's rows 0, 3, 6, 9, SI b, R13 the steps left. R9 is the distance to the next block of a, which is
// brought into the first cache meanwhile, then the row stride of c. While steps are left, R11 is after how many the next line comes of what lies ahead.
func gemm(f *file, k micro) {
	f.text(k.name, "blocks of j.m rows and two registers of columns: c = alpha·Σ_k a·b + src", "blockJob", 16)
	f.load("blockJob", "c", "R8", "src", "R10", "srcRow", "R11", "aRow", "R12", "aStep", "R15", "bRow", "DX")
	f.i("MOVQ blockJob_a(DI), AX")
	f.i("MOVQ AX, a-8(SP)")
	f.i("MOVQ blockJob_blocks(DI), AX")
	f.i("MOVQ AX, left-16(SP)")
	f.i("MOVQ blockJob_m(DI), AX")
	for m := k.rows; m > 1; m-- {
		f.i("CMPQ AX, $%d", m)
		f.i("JEQ rows%d", m)
	}
	for m := 1; m <= k.rows; m++ {
		gemmRows(f, k, m)
	}
}

func gemmRows(f *file, k micro, m int) {
	w := k.w
	bases := []string{"AX", "BX", "CX", "R14"}
	b0, b1, x := 2*m, 2*m+1, 2*m+2 // after the accumulators: two registers of b, then the broadcast numbers of a
	f.p("rows%d:", m)
	f.i("MOVQ a-8(SP), AX")
	if m > 3 {
		f.i("LEAQ (R12)(R12*2), R13")
	}
	for i := 1; 3*i < m; i++ {
		f.i("LEAQ (%s)(R13*1), %s", bases[i-1], bases[i])
	}
	f.i("MOVQ blockJob_b(DI), SI")
	f.i("MOVQ R10, R13")
	for i := range m {
		f.i("PREFETCHT0 (R13)")
		if i < m-1 {
			f.i("ADDQ R11, R13")
		}
	}
	f.i("MOVQ blockJob_k(DI), R13")
	f.zero(w, 2*m)
	f.i("MOVQ blockJob_aM(DI), R9")
	f.i("MOVQ (blockJob_ahead+ahead_left)(DI), R11")
	f.p("step%d:", m)
	f.i("DECQ R11")
	f.i("JZ ahead%d", m)
	f.p("on%d:", m)
	f.i("PREFETCHT0 (AX)(R9*1)")
	f.i("VMOVUPS (SI), %s", w.r(b0))
	f.i("VMOVUPS %d(SI), %s", w.bytes, w.r(b1))
	for i := range m {
		addr := "(" + bases[i/3] + ")"
		if i%3 > 0 {
			addr += fmt.Sprintf("(R12*%d)", i%3)
		}
		a := x + i%2
		f.i("VBROADCASTSS %s, %s", addr, w.r(a))
		f.i("%s", k.mul(b0, a, 2*i))
		f.i("%s", k.mul(b1, a, 2*i+1))
	}
	for i := 0; 3*i < m; i++ {
		f.i("ADDQ R15, %s", bases[i])
	}
	f.i("ADDQ DX, SI")
	f.i("DECQ R13")
	f.i("JNZ step%d", m)
	f.i("MOVQ R11, (blockJob_ahead+ahead_left)(DI)")
	f.i("MOVQ blockJob_srcRow(DI), R11")
	alpha := w.r(x)
	f.i("VBROADCASTSS blockJob_alpha(DI), %s", alpha)
	f.i("MOVQ R10, SI")
	f.i("MOVQ blockJob_cRow(DI), R9")
	f.i("MOVQ R8, AX")
	for i := range m {
		f.i("VFMADD213PS (SI), %s, %s", alpha, w.r(2*i))
		f.i("VFMADD213PS %d(SI), %s, %s", w.bytes, alpha, w.r(2*i+1))
		f.i("VMOVUPS %s, (AX)", w.r(2*i))
		f.i("VMOVUPS %s, %d(AX)", w.r(2*i+1), w.bytes)
		if i < m-1 {
			f.i("ADDQ R11, SI")
			f.i("ADDQ R9, AX")
		}
	}
	f.i("ADDQ blockJob_cM(DI), R8")
	f.i("ADDQ blockJob_srcM(DI), R10")
	f.i("MOVQ blockJob_aM(DI), AX")
	f.i("ADDQ AX, a-8(SP)")
	f.i("DECQ left-16(SP)")
	f.i("JNZ rows%d", m)
	f.i("VZEROUPPER")
	f.i("RET")
	gemmAhead(f, m)
}

// gemmAhead brings in the next line of what lies ahead, R11 the only register that is free.
func gemmAhead(f *file, m int) {
	field := func(name string) string { return "(blockJob_ahead+ahead_" + name + ")(DI)" }
	f.p("ahead%d:", m)
	f.i("MOVQ %s, R11", field("at"))
	f.i("PREFETCHT1 (R11)")
	f.i("ADDQ $64, R11")
	f.i("CMPQ R11, %s", field("end"))
	f.i("JCS same%d", m)
	f.i("MOVQ %s, R11", field("row"))
	f.i("ADDQ R11, %s", field("end"))
	f.i("ADDQ R11, %s", field("start"))
	f.i("MOVQ %s, R11", field("start"))
	f.i("DECQ %s", field("rows"))
	f.i("JNZ same%d", m)
	f.i("MOVQ $0, %s", field("every"))
	f.p("same%d:", m)
	f.i("MOVQ R11, %s", field("at"))
	f.i("MOVQ %s, R11", field("every"))
	f.i("JMP on%d", m)
}
