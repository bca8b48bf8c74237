package main

// byteRows are the most rows of x of a kernel of bytes: each has two registers, of its upper and of its lower bytes.
const byteRows = 4

// bytesFile writes the products of weights of 8 bits with activations of 16.
func bytesFile(f *file) {
	splitBytes(f)
	byteDots(f)
}

// splitBytes writes the loop that brings float32 to 16 bits.
func splitBytes(f *file) {
	f.text("splitBytes", "16·j.steps numbers times j.scale, rounded, plus 2^15: their upper and lower bytes", "splitJob", 0)
	for _, l := range [][2]string{{"src", "SI"}, {"hi", "R8"}, {"lo", "R9"}, {"steps", "CX"}} {
		f.i("MOVQ splitJob_%s(DI), %s", l[0], l[1])
	}
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

// byteCols are the columns that m rows meet at a time: their sums are in 2·m·byteCols registers, which VPHADDD can reach.
func byteCols(m int) int {
	if m > 2 {
		return 2
	}
	return 4
}

// Registers: R8 x, R9 its row stride, R10 a, R11 its row stride, R12 and R13 three times those, SI x's row 4, R14 what to prefetch, CX the steps
// left.
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
	cols := byteCols(m)
	f.p("rows%d:", m)
	for _, l := range [][2]string{{"x", "R8"}, {"xRow", "R9"}, {"a", "R10"}, {"aRow", "R11"}, {"steps", "CX"}, {"ahead", "R14"}} {
		f.i("MOVQ byteJob_%s(DI), %s", l[0], l[1])
	}
	f.i("ADDQ R10, R14")
	dotStrides(f, 2*m)
	f.zero(zmm, 2*m*cols)
	f.i("TESTQ CX, CX")
	f.i("JZ lanes%d", m)
	f.p("step%d:", m)
	for l := range cols {
		f.i("PREFETCHT1 %s", index("R14", "R11", "R12", l))
	}
	byteStep(f, m, false)
	f.i("ADDQ $64, R14")
	dotAdvance(f, dotKernel{w: zmm}, 2*m, 4)
	f.i("DECQ CX")
	f.i("JNZ step%d", m)
	f.p("lanes%d:", m)
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
	cols := byteCols(m)
	x, a := dotLoadX(f, zmm, 2*m, cols)
	for l := range cols {
		load := "VMOVDQU8 %s, %s"
		if lanes {
			load = "VMOVDQU8.Z %s, K1, %s"
		}
		f.i(load, index("R10", "R11", "R12", l), zmm.r(a+l%2))
		for i := range 2 * m {
			f.i("VPDPBUSD Z%d, Z%d, Z%d", a+l%2, x+i, cols*i+l)
		}
	}
}

// byteSums adds the lanes and writes the results of each row.
func byteSums(f *file, m int) {
	cols := byteCols(m)
	for i := range 2 * m * cols {
		f.i("VEXTRACTI64X4 $1, Z%d, Y31", i)
		f.i("VPADDD Y31, Y%d, Y%d", i, i)
		f.i("VEXTRACTI32X4 $1, Y%d, X31", i)
		f.i("VPADDD X31, X%d, X%d", i, i)
	}
	for i := range 2 * m {
		r := cols * i
		f.i("VPHADDD X%d, X%d, X%d", r+1, r, r)
		if cols == 4 {
			f.i("VPHADDD X%d, X%d, X%d", r+3, r+2, r+2)
			f.i("VPHADDD X%d, X%d, X%d", r+2, r, r)
		} else {
			f.i("VPHADDD X%d, X%d, X%d", r, r, r)
		}
	}
	load := "VMOVUPS"
	if cols == 2 {
		load = "VMOVSD"
	}
	for i, name := range []string{"sums", "scales"} {
		f.i("MOVQ byteJob_%s(DI), AX", name)
		f.i("%s (AX), X%d", load, 24+i)
	}
	f.i("VBROADCASTSS byteJob_step(DI), X26")
	for i, name := range []string{"src", "y", "xScales"} {
		f.i("MOVQ byteJob_%s(DI), R%d", name, 8+i)
	}
	for i := range m {
		hi, lo := 2*i*cols, (2*i+1)*cols
		f.i("VPSUBD X24, X%d, X%d", hi, hi)
		f.i("VCVTDQ2PS X%d, X%d", hi, hi)
		f.i("VCVTDQ2PS X%d, X%d", lo, lo)
		f.i("VFMADD231PS X%d, X26, X%d", hi, lo)
		f.i("VMULPS X25, X%d, X%d", lo, lo)
		f.i("VBROADCASTSS %d(R10), X27", 4*i)
		f.i("%s (R8), X28", load)
		f.i("VFMADD213PS X28, X27, X%d", lo)
		f.i("%s X%d, (R9)", load, lo)
		if i < m-1 {
			f.i("ADDQ byteJob_srcRow(DI), R8")
			f.i("ADDQ byteJob_yRow(DI), R9")
		}
	}
}

// byteNext goes on to the next group of columns.
func byteNext(f *file, m int) {
	cols := byteCols(m)
	f.i("DECQ byteJob_groups(DI)")
	f.i("JZ end%d", m)
	f.i("MOVQ byteJob_aRow(DI), AX")
	f.i("SHLQ $%d, AX", cols/2)
	f.i("ADDQ AX, byteJob_a(DI)")
	for _, name := range []string{"y", "sums", "scales"} {
		f.i("ADDQ $%d, byteJob_%s(DI)", 4*cols, name)
	}
	f.i("MOVQ byteJob_srcStep(DI), AX")
	f.i("ADDQ AX, byteJob_src(DI)")
	f.i("JMP rows%d", m)
	f.p("end%d:", m)
}
