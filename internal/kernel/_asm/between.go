package main

// between writes the loop of kernel.Between: eight numbers at a time, n a multiple of 8. Those between are moved to the front of a
// register by a table of permutations and written, eight always, but the pointer goes on only by as many as there are.
func between(f *file) {
	f.p("\n// func betweenLoop(out *uint32, x *float32, n int, low, high uint32, counts *[3]uint32) int")
	f.p("TEXT ·betweenLoop(SB), NOSPLIT, $0-48")
	f.i("MOVQ out+0(FP), DI")
	f.i("MOVQ x+8(FP), SI")
	f.i("MOVQ n+16(FP), CX")
	f.i("MOVL low+24(FP), AX")
	f.i("MOVL high+28(FP), DX")
	f.i("VMOVD AX, X14")
	f.i("VMOVD DX, X15")
	f.i("VPBROADCASTD X14, Y14")
	f.i("VPBROADCASTD X15, Y15")
	f.i("MOVQ counts+32(FP), R8")
	f.i("LEAQ packLanes<>(SB), R9")
	f.i("MOVQ DI, R10")
	for i := range 3 {
		f.i("VPXOR Y%d, Y%d, Y%d", 8+i, 8+i, 8+i)
	}
	f.p("loop:")
	f.i("VMOVDQU (SI), Y0")
	f.i("VPAND %s, Y0, Y0", bitsOf(1<<31-1))
	f.i("VPCMPGTD Y0, Y14, Y1") // below low
	f.i("VPSUBD Y1, Y8, Y8")
	f.i("VPCMPGTD Y14, Y0, Y2") // above low
	f.i("VPSUBD Y2, Y9, Y9")
	f.i("VPCMPGTD Y15, Y0, Y3") // above high
	f.i("VPSUBD Y3, Y10, Y10")
	f.i("VPCMPGTD Y0, Y15, Y4") // below high
	f.i("VPAND Y2, Y4, Y4")
	f.i("VMOVMSKPS Y4, AX")
	f.i("POPCNTL AX, DX")
	f.i("VPMOVZXBD (R9)(AX*8), Y5")
	f.i("VPERMD Y0, Y5, Y5")
	f.i("VMOVDQU Y5, (DI)")
	f.i("LEAQ (DI)(DX*4), DI")
	f.i("ADDQ $32, SI")
	f.i("SUBQ $8, CX")
	f.i("JNZ loop")
	for i := range 3 {
		f.i("VEXTRACTI128 $1, Y%d, X0", 8+i)
		f.i("VPADDD X%d, X0, X0", 8+i)
		f.i("VPHADDD X0, X0, X0")
		f.i("VPHADDD X0, X0, X0")
		f.i("VMOVD X0, %d(R8)", 4*i)
	}
	f.i("SUBQ R10, DI")
	f.i("SHRQ $2, DI")
	f.i("MOVQ DI, ret+40(FP)")
	f.i("VZEROUPPER")
	f.i("RET")
	f.p("\n// For every mask of eight lanes, the lanes that are in it, as bytes.")
	for mask := range 256 {
		lanes, n := uint64(0), 0
		for lane := range 8 {
			if mask>>lane&1 == 1 {
				lanes |= uint64(lane) << (8 * n)
				n++
			}
		}
		f.p("DATA packLanes<>+%d(SB)/8, $0x%016x", 8*mask, lanes)
	}
	f.p("GLOBL packLanes<>(SB), RODATA|NOPTR, $2048")
}
