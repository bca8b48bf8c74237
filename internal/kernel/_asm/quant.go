package main

import "fmt"

// quants writes the loops that widen quantised numbers, to float32 or to bf16. They also ask for what lies ahead in memory, for a
// weight is often read once.
func quants(f *file) {
	f.p("#include \"tile_amd64.h\"")
	eightBits(f, "i8ToF32", ymm, false)
	eightBits(f, "i8ToBF16", zmm, true)
	fourBits(f, "nf4ToF32", false)
	fourBits(f, "nf4ToBF16", true)
	twelveBits(f)
}

// signsAndMantissas are the bits of two bf16 numbers that are not exponents.
const signsAndMantissas = 0x807f807f

// unpackBegin loads what unpackBlock wants: into Z30 the exponents at an address, into Z29 a mask, by way of a register.
func unpackBegin(f *file, exponents, by string) {
	f.i("VMOVUPS (%s), Z30", exponents)
	f.i("MOVL $%d, %s", signsAndMantissas, by)
	f.i("VPBROADCASTD %s, Z29", by)
}

// unpackBlock makes registers to and to+1 the block of 64 numbers at an address. Z28 is used.
func unpackBlock(f *file, addr string, to int) {
	f.i("VPMOVZXBW 64%s, Z%d", addr, to)
	f.i("VPSRLW $4, Z%d, Z%d", to, to+1)
	for i := range 2 {
		f.i("VPERMW Z30, Z%d, Z%d", to+i, to+i)
		f.i("VPMOVSXBW %d%s, Z28", 32*i, addr)
		f.i("VPTERNLOGD $0xf8, Z29, Z28, Z%d", to+i) // exponent | number & signs and mantissas
	}
}

// twelveBits writes a loop over blocks of 64 numbers whose exponents are looked up. Of an index VPERMW reads the lowest five bits, of which the table
// ignores the fifth.
func twelveBits(f *file) {
	f.text("unpackBF16", "j.blocks blocks of 64 numbers of 12 bits as bf16", "unpackJob", 0)
	f.load("unpackJob", "dst", "R8", "src", "SI", "exponents", "R10", "blocks", "CX")
	unpackBegin(f, "R10", "AX")
	f.p("loop:")
	f.i("PREFETCHT0 1024(SI)")
	unpackBlock(f, "(SI)", 0)
	for i := range 2 {
		f.i("VMOVUPS Z%d, %d(R8)", i, 64*i)
	}
	f.i("ADDQ $96, SI")
	f.i("ADDQ $128, R8")
	f.i("DECQ CX")
	f.i("JNZ loop")
	f.i("VZEROUPPER")
	f.i("RET")
}

// eightBits writes a loop over rows of numbers of 8 bits, two registers' worth at a time.
func eightBits(f *file, name string, w width, half bool) {
	f.text(name, fmt.Sprintf("j.rows rows of %d·j.steps numbers of 8 bits times the row's scale", 2*w.floats), "i8Job", 0)
	f.load("i8Job", "dst", "R8", "src", "R9", "scales", "R10", "rows", "DX")
	f.p("row:")
	f.i("VBROADCASTSS (R10), %s", w.r(7))
	f.i("MOVQ R9, SI")
	f.i("MOVQ R8, R11")
	f.i("MOVQ i8Job_steps(DI), CX")
	f.p("loop:")
	f.i("PREFETCHT0 1024(SI)")
	for i := range 2 {
		f.i("VPMOVSXBD %d(SI), %s", w.floats*i, w.r(i))
		f.i("VCVTDQ2PS %s, %s", w.r(i), w.r(i))
		f.i("VMULPS %s, %s, %s", w.r(7), w.r(i), w.r(i))
	}
	storePair(f, w, half, 0, "R11")
	f.i("ADDQ $%d, SI", 2*w.floats)
	f.i("ADDQ $%d, R11", pairBytes(w, half))
	f.i("DECQ CX")
	f.i("JNZ loop")
	f.i("ADDQ i8Job_srcRow(DI), R9")
	f.i("ADDQ i8Job_dstRow(DI), R8")
	f.i("ADDQ $4, R10")
	f.i("DECQ DX")
	f.i("JNZ row")
	f.i("VZEROUPPER")
	f.i("RET")
}

// fourBits writes a loop over blocks of 64 numbers of 4 bits.
func fourBits(f *file, name string, half bool) {
	f.text(name, "j.blocks blocks of 64 numbers of 4 bits: their values times the block's scale", "nf4Job", 0)
	f.load("nf4Job", "dst", "R8", "src", "SI", "scales", "R9", "tables", "R10", "blocks", "CX")
	for i := range 4 { // values, double words 0 and 1, double words 2 and 3, shifts
		f.i("VMOVUPS %d(R10), Z%d", 64*i, 16+i)
	}
	f.p("loop:")
	f.i("PREFETCHT0 1024(SI)")
	f.i("VBROADCASTSS (R9), Z7")
	if half {
		fourBitWords(f)
	} else {
		fourBitFloats(f)
	}
	f.i("ADDQ $32, SI")
	f.i("ADDQ $%d, R8", 2*pairBytes(zmm, half))
	f.i("ADDQ $4, R9")
	f.i("DECQ CX")
	f.i("JNZ loop")
	f.i("VZEROUPPER")
	f.i("RET")
}

// fourBitFloats widens a block to float32. 16 bytes are 32 numbers. Each of their four double words is copied to 8 lanes (two of them to a
// register) and shifted so that a lane's number comes to lie in its lowest four bits, which is all that VPERMPS reads of an index.
func fourBitFloats(f *file) {
	for i := range 2 {
		f.i("VBROADCASTI32X4 %d(SI), Z2", 16*i)
		for h := range 2 {
			f.i("VPERMD Z2, Z%d, Z%d", 17+h, h)
			f.i("VPSRLVD Z19, Z%d, Z%d", h, h)
			f.i("VPERMPS Z16, Z%d, Z%d", h, h)
			f.i("VMULPS Z7, Z%d, Z%d", h, h)
		}
		storePair(f, zmm, false, 128*i, "R8")
	}
}

// fourBitWords widens a block to bf16: its sixteen values are scaled and rounded first, and then looked up. Each byte comes to a double
// word of its own, whose lower word is to look up its upper half and the upper word the lower half; the values are there twice, so
// that what else is in the upper word does not matter.
func fourBitWords(f *file) {
	f.i("VMULPS Z16, Z7, Z0")
	f.i("VCVTNE2PS2BF16(0, 0, 3)")
	for i := range 2 {
		f.i("VPMOVZXBD %d(SI), Z1", 16*i)
		f.i("VPSRLD $4, Z1, Z2")
		f.i("VPSLLD $16, Z1, Z1")
		f.i("VPORD Z1, Z2, Z1")
		f.i("VPERMW Z3, Z1, Z1")
		f.i("VMOVUPS Z1, %d(R8)", 64*i)
	}
}

// pairBytes is what storePair writes.
func pairBytes(w width, half bool) int {
	if half {
		return w.bytes
	}
	return 2 * w.bytes
}

// storePair stores registers 0 and 1.
func storePair(f *file, w width, half bool, off int, to string) {
	if half {
		f.i("VCVTNE2PS2BF16(0, 1, 0)")
		f.i("VMOVUPS %s, %d(%s)", w.r(0), off, to)
		return
	}
	f.i("VMOVUPS %s, %d(%s)", w.r(0), off, to)
	f.i("VMOVUPS %s, %d(%s)", w.r(1), off+w.bytes, to)
}
