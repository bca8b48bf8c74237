package main

// quants writes the loops that widen quantised numbers. They also ask for what lies ahead in memory, for a weight is often read once.
func quants(f *file) {
	f.text("i8ToF32Loop", "16·j.steps numbers of 8 bits times j.scale", "i8Job", 0)
	f.i("MOVQ i8Job_dst(DI), R8")
	f.i("MOVQ i8Job_src(DI), SI")
	f.i("MOVQ i8Job_steps(DI), CX")
	f.i("VBROADCASTSS i8Job_scale(DI), Y7")
	f.p("loop:")
	f.i("PREFETCHT0 1024(SI)")
	for i := range 2 {
		f.i("VPMOVSXBD %d(SI), Y%d", 8*i, i)
		f.i("VCVTDQ2PS Y%d, Y%d", i, i)
		f.i("VMULPS Y7, Y%d, Y%d", i, i)
		f.i("VMOVUPS Y%d, %d(R8)", i, 32*i)
	}
	f.i("ADDQ $16, SI")
	f.i("ADDQ $64, R8")
	f.i("DECQ CX")
	f.i("JNZ loop")
	f.i("VZEROUPPER")
	f.i("RET")

	// 16 bytes are 32 numbers. Each of their four double words is copied to 8 lanes (two of them to a register) and shifted so that
	// a lane's number comes to lie in its lowest four bits, which is all that VPERMPS reads of an index.
	f.text("nf4ToF32Loop", "j.blocks blocks of 64 numbers of 4 bits: their values times the block's scale", "nf4Job", 0)
	f.i("MOVQ nf4Job_dst(DI), R8")
	f.i("MOVQ nf4Job_src(DI), SI")
	f.i("MOVQ nf4Job_scales(DI), R9")
	f.i("MOVQ nf4Job_tables(DI), R10")
	f.i("MOVQ nf4Job_blocks(DI), CX")
	for i := range 4 { // values, double words 0 and 1, double words 2 and 3, shifts
		f.i("VMOVUPS %d(R10), Z%d", 64*i, 16+i)
	}
	f.p("loop:")
	f.i("PREFETCHT0 1024(SI)")
	f.i("VBROADCASTSS (R9), Z7")
	for i := range 2 {
		f.i("VBROADCASTI32X4 %d(SI), Z0", 16*i)
		for h := range 2 {
			r := 1 + h
			f.i("VPERMD Z0, Z%d, Z%d", 17+h, r)
			f.i("VPSRLVD Z19, Z%d, Z%d", r, r)
			f.i("VPERMPS Z16, Z%d, Z%d", r, r)
			f.i("VMULPS Z7, Z%d, Z%d", r, r)
			f.i("VMOVUPS Z%d, %d(R8)", r, 128*i+64*h)
		}
	}
	f.i("ADDQ $32, SI")
	f.i("ADDQ $256, R8")
	f.i("ADDQ $4, R9")
	f.i("DECQ CX")
	f.i("JNZ loop")
	f.i("VZEROUPPER")
	f.i("RET")
}
