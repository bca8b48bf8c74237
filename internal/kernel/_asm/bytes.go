package main

// byteRows are the most rows of x of a kernel of bytes: each has two registers, of its upper and of its lower bytes. They meet byteCols columns at a
// time: their sums are in registers that VPHADDD can reach.
const byteRows, byteCols = 2, 4

// bytesFile writes the products of weights of 8 bits with activations of 16.
func bytesFile(f *file) {
	splitBytes(f)
	byteDots(f)
}

// splitBytes writes the loop that brings float32 to 16 bits.
func splitBytes(f *file) {
	f.text("splitBytes", "16·j.steps numbers times j.scale, rounded, plus 2^15: their upper and lower bytes", "splitJob", 0)
	f.load("splitJob", "src", "SI", "hi", "R8", "lo", "R9", "steps", "CX")
	f.i("VBROADCASTSS splitJob_scale(DI), Z1")
	f.i("MOVL $32768, AX")
	f.i("VPBROADCASTD AX, Z2")
	f.p("loop:")
	f.i("VMULPS (SI), Z1, Z0")
	f.i("VCVTPS2DQ Z0, Z0")
	f.i("VPADDD Z2, Z0, Z0")
	f.i("VPMOVDB Z0, (R9)")
	f.i("VPSRLD $8, Z0, Z0")
	f.i("VPMOVDB Z0, (R8)")
	f.i("ADDQ $64, SI")
	f.i("ADDQ $16, R8")
	f.i("ADDQ $16, R9")
	f.i("DECQ CX")
	f.i("JNZ loop")
	f.i("VZEROUPPER")
	f.i("RET")
}

// Registers: R8 x, R9 its row stride, R10 a, R11 its row stride, R12 and R13 three times those, R14 what to prefetch and R15 how
// far that goes on with each step, AX how far apart its lines are and DX three times that, CX the steps left.
func byteDots(f *file) {
	f.text("byteDots", "j.m rows of x times j.groups groups of rows of a: y = xScale·scale·(256·(Σ_k hi·a − sum) + Σ_k lo·a) + src", "byteJob", 0)
	f.i("MOVQ byteJob_m(DI), AX")
	f.i("KMOVQ byteJob_lanes(DI), K1")
	for m := byteRows; m > 1; m-- {
		f.i("CMPQ AX, $%d", m)
		f.i("JEQ rows%d", m)
	}
	for m := 1; m <= byteRows; m++ {
		byteDotRows(f, m)
	}
}

// byteDotRows is the kernel for m rows.
func byteDotRows(f *file, m int) {
	f.p("rows%d:", m)
	f.load("byteJob", "x", "R8", "xRow", "R9", "a", "R10", "aRow", "R11", "steps", "CX", "ahead", "R14", "aheadStep", "R15", "aheadLine", "AX")
	f.i("LEAQ (AX)(AX*2), DX")
	dotStrides(f, 2*m)
	f.zero(zmm, 2*m*byteCols)
	f.i("TESTQ CX, CX")
	f.i("JZ lanes%d", m)
	f.p("step%d:", m)
	for l := range byteCols {
		f.i("PREFETCHT1 %s", index("R14", "AX", "DX", l))
	}
	byteStep(f, m, false)
	f.i("ADDQ R15, R14")
	dotAdvance(f, dotKernel{w: zmm}, 2*m, 64, 64)
	f.i("DECQ CX")
	f.i("JNZ step%d", m)
	f.p("lanes%d:", m)
	f.i("ADDQ byteJob_aheadGroup(DI), R14")
	f.i("MOVQ R14, byteJob_ahead(DI)")
	f.i("CMPQ byteJob_lanes(DI), $0")
	f.i("JEQ sum%d", m)
	byteStep(f, m, true)
	f.p("sum%d:", m)
	byteSums(f, m)
	byteNext(f, m)
	f.i("VZEROUPPER")
	f.i("RET")
}

// byteStep adds 64 products to each sum, or those of some lanes.
func byteStep(f *file, m int, lanes bool) {
	x, a := dotLoadX(f, zmm, 2*m, byteCols)
	for l := range byteCols {
		load := "VMOVDQU8 %s, %s"
		if lanes {
			load = "VMOVDQU8.Z %s, K1, %s"
		}
		f.i(load, index("R10", "R11", "R12", l), zmm.r(a+l%2))
		for i := range 2 * m {
			f.i("VPDPBUSD Z%d, Z%d, Z%d", a+l%2, x+i, byteCols*i+l)
		}
	}
}

// byteSums adds the lanes and writes the results of each row.
func byteSums(f *file, m int) {
	for i := range 2 * m * byteCols {
		f.i("VEXTRACTI64X4 $1, Z%d, Y31", i)
		f.i("VPADDD Y31, Y%d, Y%d", i, i)
		f.i("VEXTRACTI32X4 $1, Y%d, X31", i)
		f.i("VPADDD X31, X%d, X%d", i, i)
	}
	for i := range 2 * m {
		r := byteCols * i
		f.i("VPHADDD X%d, X%d, X%d", r+1, r, r)
		f.i("VPHADDD X%d, X%d, X%d", r+3, r+2, r+2)
		f.i("VPHADDD X%d, X%d, X%d", r+2, r, r)
	}
	for i, name := range []string{"sums", "scales"} {
		f.i("MOVQ byteJob_%s(DI), AX", name)
		f.i("VMOVUPS (AX), X%d", 24+i)
	}
	f.i("VBROADCASTSS byteJob_step(DI), X26")
	for i, name := range []string{"src", "y", "xScales"} {
		f.i("MOVQ byteJob_%s(DI), R%d", name, 8+i)
	}
	for i := range m {
		hi, lo := 2*i*byteCols, (2*i+1)*byteCols
		f.i("VPSUBD X24, X%d, X%d", hi, hi)
		f.i("VCVTDQ2PS X%d, X%d", hi, hi)
		f.i("VCVTDQ2PS X%d, X%d", lo, lo)
		f.i("VFMADD231PS X%d, X26, X%d", hi, lo)
		f.i("VMULPS X25, X%d, X%d", lo, lo)
		f.i("VBROADCASTSS %d(R10), X27", 4*i)
		f.i("VFMADD213PS (R8), X27, X%d", lo)
		f.i("VMOVUPS X%d, (R9)", lo)
		if i < m-1 {
			f.i("ADDQ byteJob_srcRow(DI), R8")
			f.i("ADDQ byteJob_yRow(DI), R9")
		}
	}
}

// byteNext goes on to the next group of columns.
func byteNext(f *file, m int) {
	f.i("DECQ byteJob_groups(DI)")
	f.i("JZ end%d", m)
	f.i("MOVQ byteJob_aRow(DI), AX")
	f.i("SHLQ $2, AX")
	f.i("ADDQ AX, byteJob_a(DI)")
	for _, name := range []string{"y", "sums", "scales"} {
		f.i("ADDQ $%d, byteJob_%s(DI)", 4*byteCols, name)
	}
	f.i("MOVQ byteJob_srcStep(DI), AX")
	f.i("ADDQ AX, byteJob_src(DI)")
	f.i("JMP rows%d", m)
	f.p("end%d:", m)
}
