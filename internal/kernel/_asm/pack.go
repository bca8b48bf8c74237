package main

import "fmt"

// packs writes the loops that bring operands into the order of the micro-kernels, widening them on the way.
func packs(f *file) {
	f.p("#include \"tile_amd64.h\"")
	for _, nr := range []int{16, 32} {
		spread(f, nr)
	}
	for _, mr := range []int{6, 12} {
		spreadLeft(f, mr)
	}
	spreadPairs(f)
	roundRows(f)
	transpose(f)
	for _, rows := range []int{12, 16} {
		transposeWide(f, rows)
	}
}

// spread copies rows of panels·nr numbers to panels of nr columns.
func spread(f *file, nr int) {
	f.text(fmt.Sprintf("spread%d", nr), fmt.Sprintf("j.rows rows of j.panels·%d numbers of j.src -> panels of %d float32 columns", nr, nr), "spreadJob", 0)
	f.load("spreadJob", "dst", "R8", "src", "SI", "panelStep", "R9", "rows", "DX")
	f.byType("spreadJob", "BX")
	for _, dtype := range dtypes {
		f.p("%s:", dtype)
		f.i("MOVQ R8, R10")
		f.i("MOVQ SI, R11")
		f.i("MOVQ spreadJob_panels(DI), CX")
		f.p("%sPanel:", dtype)
		for i := range nr / 8 {
			f.widen(dtype, fmt.Sprintf("%d(R11)", 8*i*size(dtype)), ymm.r(i))
		}
		for i := range nr / 8 {
			f.i("VMOVUPS %s, %d(R10)", ymm.r(i), 32*i)
		}
		f.i("ADDQ $%d, R11", nr*size(dtype))
		f.i("ADDQ R9, R10")
		f.i("DECQ CX")
		f.i("JNZ %sPanel", dtype)
		f.i("ADDQ $%d, R8", nr*4)
		f.i("ADDQ spreadJob_srcRow(DI), SI")
		f.i("DECQ DX")
		f.i("JNZ %s", dtype)
		f.i("VZEROUPPER")
		f.i("RET")
	}
}

// spreadLeft is spread for the left operand: panels of mr float32 numbers per row.
func spreadLeft(f *file, mr int) {
	f.text(fmt.Sprintf("spread%d", mr), fmt.Sprintf("j.rows rows of j.panels·%d float32 -> panels of %d columns", mr, mr), "spreadJob", 0)
	f.load("spreadJob", "dst", "R8", "src", "SI", "panelStep", "R9", "rows", "DX")
	f.p("row:")
	f.i("MOVQ R8, R10")
	f.i("MOVQ SI, R11")
	f.i("MOVQ spreadJob_panels(DI), CX")
	f.p("panel:")
	n := 0
	for ; n+4 <= mr; n += 4 {
		f.i("VMOVUPS %d(R11), X%d", 4*n, n)
		f.i("VMOVUPS X%d, %d(R10)", n, 4*n)
	}
	if n < mr { // two left
		f.i("MOVQ %d(R11), AX", 4*n)
		f.i("MOVQ AX, %d(R10)", 4*n)
	}
	f.i("ADDQ $%d, R11", mr*4)
	f.i("ADDQ R9, R10")
	f.i("DECQ CX")
	f.i("JNZ panel")
	f.i("ADDQ $%d, R8", mr*4)
	f.i("ADDQ spreadJob_srcRow(DI), SI")
	f.i("DECQ DX")
	f.i("JNZ row")
	f.i("RET")
}

// spreadPairs rounds two rows of panels·32 float32 at a time to bf16 and puts what is below each other side by side.
func spreadPairs(f *file) {
	f.text("spreadPairs", "2·j.rows rows of j.panels·32 float32 -> rows of pairs of bf16, 32 in each of j.panels panels", "pairsJob", 0)
	f.load("pairsJob", "dst", "R8", "src", "SI", "srcRow", "R9", "dstRow", "R10", "panelStep", "R11", "rows", "DX")
	f.i("VMOVDQU64 pairLanes<>(SB), Z8")
	f.p("row:")
	f.i("MOVQ R8, R12")
	f.i("MOVQ SI, R13")
	f.i("MOVQ pairsJob_panels(DI), CX")
	f.p("panel:")
	for i := range 2 {
		f.i("VMOVUPS %d(R13), Z%d", 64*i, 4*i)
		f.i("VMOVUPS %d(R13)(R9*1), Z%d", 64*i, 4*i+1)
		f.i("VCVTNE2PS2BF16(%d, %d, %d)", 4*i, 4*i+1, 4*i+2)
		f.i("VPERMW Z%d, Z8, Z%d", 4*i+2, 4*i+2)
		f.i("VMOVDQU64 Z%d, %d(R12)", 4*i+2, 64*i)
	}
	f.i("ADDQ $128, R13")
	f.i("ADDQ R11, R12")
	f.i("DECQ CX")
	f.i("JNZ panel")
	f.i("LEAQ (SI)(R9*2), SI")
	f.i("ADDQ R10, R8")
	f.i("DECQ DX")
	f.i("JNZ row")
	f.i("VZEROUPPER")
	f.i("RET")
	f.p("\n// Words 0, 16, 1, 17 and so on.")
	for i := range 8 {
		lo := uint64(2 * i)
		f.p("DATA pairLanes<>+%d(SB)/8, $0x%016x", 8*i, lo|(lo+16)<<16|(lo+1)<<32|(lo+17)<<48)
	}
	f.p("GLOBL pairLanes<>(SB), RODATA|NOPTR, $64")
}

// roundRows rounds rows to bf16. Rows are short and far apart: the processor does not see where they lead, so the one after the next
// three is fetched meanwhile.
func roundRows(f *file) {
	f.text("roundRows", "j.rows rows of j.blocks·32 float32 -> as many of bf16", "rowsJob", 0)
	f.load("rowsJob", "dst", "R8", "src", "SI", "srcRow", "R9", "dstRow", "R10", "rows", "DX")
	f.p("row:")
	f.i("MOVQ R8, R12")
	f.i("MOVQ SI, R13")
	f.i("LEAQ (SI)(R9*4), R11")
	f.i("MOVQ rowsJob_blocks(DI), CX")
	f.p("block:")
	f.i("PREFETCHT0 (R11)")
	f.i("PREFETCHT0 64(R11)")
	f.i("VMOVUPS (R13), Z0")
	f.i("VMOVUPS 64(R13), Z1")
	f.i("VCVTNE2PS2BF16(0, 1, 2)")
	f.i("VMOVDQU64 Z2, (R12)")
	f.i("ADDQ $128, R13")
	f.i("ADDQ $128, R11")
	f.i("ADDQ $64, R12")
	f.i("DECQ CX")
	f.i("JNZ block")
	f.i("ADDQ R9, SI")
	f.i("ADDQ R10, R8")
	f.i("DECQ DX")
	f.i("JNZ row")
	f.i("VZEROUPPER")
	f.i("RET")
}

// transpose turns 8 rows of blocks·8 numbers into columns; of each column it stores the first 8, 6 or 4.
func transpose(f *file) {
	f.text("transpose8", "8 rows of j.blocks·8 numbers -> j.blocks·8 rows of the first j.width (8, 6, 4) as float32", "transposeJob", 0)
	f.load("transposeJob", "dst", "R8", "dstRow", "R9", "src", "SI", "srcRow", "DX", "blocks", "CX")
	f.i("LEAQ (DX)(DX*2), BX")
	f.i("LEAQ (SI)(DX*4), R10")
	f.i("LEAQ (R10)(DX*4), R14")
	f.i("LEAQ (R9)(R9*2), R12")
	f.i("MOVQ transposeJob_width(DI), R13")
	f.byType("transposeJob", "AX")
	for _, dtype := range dtypes {
		f.p("%s:", dtype)
		for i := range 8 {
			base := []string{"SI", "R10"}[i/4]
			addr := []string{"(%s)", "(%s)(DX*1)", "(%s)(DX*2)", "(%s)(BX*1)"}[i%4]
			f.widen(dtype, fmt.Sprintf(addr, base), ymm.r(i))
		}
		if size(dtype) == 2 {
			prefetchRows(f)
		}
		f.i("ADDQ $%d, SI", 8*size(dtype))
		f.i("ADDQ $%d, R10", 8*size(dtype))
		f.i("ADDQ $%d, R14", 8*size(dtype))
		transposeRegs(f)
		f.i("LEAQ (R8)(R9*4), R11")
		f.i("CMPQ R13, $6")
		f.i("JEQ %sSix", dtype)
		f.i("JLT %sFour", dtype)
		storeRows(f, 8)
		f.i("JMP %sNext", dtype)
		f.p("%sSix:", dtype)
		storeRows(f, 6)
		f.i("JMP %sNext", dtype)
		f.p("%sFour:", dtype)
		storeRows(f, 4)
		f.p("%sNext:", dtype)
		f.i("LEAQ (R8)(R9*8), R8")
		f.i("DECQ CX")
		f.i("JNZ %s", dtype)
		f.i("VZEROUPPER")
		f.i("RET")
	}
}

// transposeWide turns 12 or 16 rows into columns of as many, 16 steps at a time.
func transposeWide(f *file, rows int) {
	f.text(fmt.Sprintf("transpose%d", rows), fmt.Sprintf("%d rows of j.blocks·16 numbers -> j.blocks·16 rows of %d as float32", rows, rows), "transposeJob", 0)
	f.load("transposeJob", "dst", "R8", "dstRow", "R9", "src", "SI", "srcRow", "DX", "blocks", "CX")
	f.i("LEAQ (DX)(DX*2), BX")
	f.i("LEAQ (R9)(R9*2), R12")
	bases := []string{"SI", "R10", "R11", "R13"} // of rows 0, 4, 8, 12
	for i := 1; 4*i < rows; i++ {
		f.i("LEAQ (%s)(DX*4), %s", bases[i-1], bases[i])
	}
	f.i("MOVQ $%d, AX", 1<<rows-1)
	f.i("KMOVW AX, K1")
	f.byType("transposeJob", "AX")
	for _, dtype := range dtypes {
		f.p("%s:", dtype)
		for i := range rows {
			f.widen(dtype, index(bases[i/4], "DX", "BX", i%4), zmm.r(i))
		}
		for i := rows; i < 16; i++ {
			f.i("VPXORD Z%d, Z%d, Z%d", i, i, i)
		}
		for i := 0; 4*i < rows; i++ {
			f.i("ADDQ $%d, %s", 16*size(dtype), bases[i])
		}
		transposeWideRegs(f)
		for i := range 16 {
			if i%4 == 0 && i > 0 {
				f.i("LEAQ (R8)(R9*4), R8")
			}
			addr := index("R8", "R9", "R12", i%4)
			if rows == 16 {
				f.i("VMOVUPS Z%d, %s", i, addr)
			} else {
				f.i("VMOVUPS Z%d, K1, %s", i, addr)
			}
		}
		f.i("LEAQ (R8)(R9*4), R8")
		f.i("DECQ CX")
		f.i("JNZ %s", dtype)
		f.i("VZEROUPPER")
		f.i("RET")
	}
}

// transposeWideRegs transposes the 16x16 numbers in Z0 … Z15.
func transposeWideRegs(f *file) {
	for i := range 8 { // rows 2i, 2i+1: pairs of one column
		f.i("VUNPCKLPS Z%d, Z%d, Z%d", 2*i+1, 2*i, 16+2*i)
		f.i("VUNPCKHPS Z%d, Z%d, Z%d", 2*i+1, 2*i, 17+2*i)
	}
	for g := range 4 { // rows 4g … 4g+3: columns c, c+4, c+8, c+12 of register 4g+c
		lo, hi := 16+4*g, 18+4*g
		f.i("VUNPCKLPD Z%d, Z%d, Z%d", hi, lo, 4*g)
		f.i("VUNPCKHPD Z%d, Z%d, Z%d", hi, lo, 4*g+1)
		f.i("VUNPCKLPD Z%d, Z%d, Z%d", hi+1, lo+1, 4*g+2)
		f.i("VUNPCKHPD Z%d, Z%d, Z%d", hi+1, lo+1, 4*g+3)
	}
	for c := range 4 { // the quarters of registers c, 4+c, 8+c, 12+c
		v := []int{16 + c, 20 + c, 24 + c, 28 + c}
		f.i("VSHUFF64X2 $0x44, Z%d, Z%d, Z%d", 4+c, c, v[0])
		f.i("VSHUFF64X2 $0xEE, Z%d, Z%d, Z%d", 4+c, c, v[1])
		f.i("VSHUFF64X2 $0x44, Z%d, Z%d, Z%d", 12+c, 8+c, v[2])
		f.i("VSHUFF64X2 $0xEE, Z%d, Z%d, Z%d", 12+c, 8+c, v[3])
		f.i("VSHUFF64X2 $0x88, Z%d, Z%d, Z%d", v[2], v[0], c)
		f.i("VSHUFF64X2 $0xDD, Z%d, Z%d, Z%d", v[2], v[0], 4+c)
		f.i("VSHUFF64X2 $0x88, Z%d, Z%d, Z%d", v[3], v[1], 8+c)
		f.i("VSHUFF64X2 $0xDD, Z%d, Z%d, Z%d", v[3], v[1], 12+c)
	}
}

// prefetchRows brings the same columns of the next 8 rows, which are likely to be next, into the first cache. Pieces of rows
// are too short for the processor to see where they lead: without this, transposing weights of 16 bits from memory takes 1.3
// to 1.8 times as long; those of 32 bits it does not change.
func prefetchRows(f *file) {
	f.i("LEAQ (R14)(DX*4), AX")
	for i := range 8 {
		f.i("PREFETCHT0 "+[]string{"(%s)", "(%s)(DX*1)", "(%s)(DX*2)", "(%s)(BX*1)"}[i%4], []string{"R14", "AX"}[i/4])
	}
}

// transposeRegs transposes the 8x8 numbers in Y0 … Y7.
func transposeRegs(f *file) {
	for i := range 4 { // rows 2i, 2i+1: pairs of one column
		f.i("VUNPCKLPS Y%d, Y%d, Y%d", 2*i+1, 2*i, 8+2*i)
		f.i("VUNPCKHPS Y%d, Y%d, Y%d", 2*i+1, 2*i, 9+2*i)
	}
	for h := range 2 { // four rows: 4h … 4h+3, columns 0, 1, 2, 3 (and 4 to 7 in the upper half)
		lo, hi := 8+4*h, 10+4*h
		f.i("VUNPCKLPD Y%d, Y%d, Y%d", hi, lo, 4*h)
		f.i("VUNPCKHPD Y%d, Y%d, Y%d", hi, lo, 4*h+1)
		f.i("VUNPCKLPD Y%d, Y%d, Y%d", hi+1, lo+1, 4*h+2)
		f.i("VUNPCKHPD Y%d, Y%d, Y%d", hi+1, lo+1, 4*h+3)
	}
	for c := range 4 {
		f.i("VPERM2F128 $0x20, Y%d, Y%d, Y%d", 4+c, c, 8+c)
		f.i("VPERM2F128 $0x31, Y%d, Y%d, Y%d", 4+c, c, 12+c)
	}
}

// storeRows stores the first n numbers of Y8 … Y15.
func storeRows(f *file, n int) {
	for i := range 8 {
		base := []string{"R8", "R11"}[i/4]
		addr := fmt.Sprintf([]string{"0(%s)", "0(%s)(R9*1)", "0(%s)(R9*2)", "0(%s)(R12*1)"}[i%4], base)
		switch n {
		case 8:
			f.i("VMOVUPS Y%d, %s", 8+i, addr)
		case 6:
			f.i("VMOVUPS X%d, %s", 8+i, addr)
			f.i("VEXTRACTF128 $1, Y%d, X0", 8+i)
			f.i("VMOVLPS X0, 16%s", addr[1:])
		case 4:
			f.i("VMOVUPS X%d, %s", 8+i, addr)
		}
	}
}
