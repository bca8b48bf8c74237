//go:build !purego

#include "textflag.h"
#include "go_asm.h"
#include "tile_amd64.h"

// One step of 32 in the contracted dimension.  Accumulators 0..3 = C blocks (0,0) (0,1) (1,0) (1,1); A tiles 4, 5; B tiles 6, 7.
// AX, BX: A tiles for rows 0..15 and 16..31, row stride CX.  SI: B tiles, 1 KB each, row stride R9 = 64.
#define STEP \
	TILELOADD(4, rAX, rCX, 0); \
	TILELOADD(6, rSI, rR9, 0); \
	TDPBF16PS(0, 4, 6); \
	TILELOADD(7, rSI, rR9, 1024); \
	TDPBF16PS(1, 4, 7); \
	TILELOADD(5, rBX, rCX, 0); \
	TDPBF16PS(2, 5, 6); \
	TDPBF16PS(3, 5, 7)

// A's low parts (2 KB behind the high ones) with the B tiles already loaded.
#define STEP_ALO \
	TILELOADD(4, rAX, rCX, 2048); \
	TDPBF16PS(0, 4, 6); \
	TDPBF16PS(1, 4, 7); \
	TILELOADD(5, rBX, rCX, 2048); \
	TDPBF16PS(2, 5, 6); \
	TDPBF16PS(3, 5, 7)

// B's low parts with the A tiles already loaded.
#define STEP_BLO \
	TILELOADD(6, rSI, rR9, 2048); \
	TDPBF16PS(0, 4, 6); \
	TDPBF16PS(2, 5, 6); \
	TILELOADD(7, rSI, rR9, 3072); \
	TDPBF16PS(1, 4, 7); \
	TDPBF16PS(3, 5, 7)

// A.hi*B.lo first, then B.hi replaces B.lo, then A.lo replaces A.hi: 8 tile loads for 12 products.
#define STEP_3 \
	TILELOADD(4, rAX, rCX, 0); \
	TILELOADD(6, rSI, rR9, 2048); \
	TDPBF16PS(0, 4, 6); \
	TILELOADD(7, rSI, rR9, 3072); \
	TDPBF16PS(1, 4, 7); \
	TILELOADD(5, rBX, rCX, 0); \
	TDPBF16PS(2, 5, 6); \
	TDPBF16PS(3, 5, 7); \
	TILELOADD(6, rSI, rR9, 0); \
	TDPBF16PS(0, 4, 6); \
	TDPBF16PS(2, 5, 6); \
	TILELOADD(7, rSI, rR9, 1024); \
	TDPBF16PS(1, 4, 7); \
	TDPBF16PS(3, 5, 7); \
	STEP_ALO

#define NEXT \
	ADDQ tileJob_aStep(DI), AX; \
	ADDQ tileJob_aStep(DI), BX; \
	ADDQ tileJob_bStep(DI), SI; \
	DECQ R8

// func tileBlocks(j *tileJob)
TEXT ·tileBlocks(SB), NOSPLIT, $16-8
	MOVQ j+0(FP), DI
	MOVQ tileJob_cfg(DI), AX
	LDTILECFG_AX
	MOVQ tileJob_aRow(DI), CX
	MOVQ tileJob_cRow(DI), DX
	MOVQ $64, R9
	MOVQ tileJob_n(DI), R14
	MOVQ tileJob_b(DI), R15
	MOVQ tileJob_c(DI), AX
	MOVQ AX, col-8(SP)
	MOVQ tileJob_bias(DI), AX
	MOVQ AX, bias-16(SP) // the job keeps what the collector may look at: beyond its end a slice is not ours
nloop:
	MOVQ tileJob_m(DI), R13
	MOVQ tileJob_a(DI), R12
	MOVQ col-8(SP), R10
mloop:
	MOVQ R12, AX
	MOVQ tileJob_a1(DI), BX
	ADDQ AX, BX
	MOVQ R15, SI
	CMPQ tileJob_init(DI), $1
	JEQ  fromc
	JGT  frombias
	TILEZERO(0)
	TILEZERO(1)
	TILEZERO(2)
	TILEZERO(3)
	JMP  start
fromc:
	MOVQ R10, R11
	ADDQ tileJob_c1(DI), R11
	TILELOADD(0, rR10, rDX, 0)
	TILELOADD(1, rR11, rDX, 0)
	MOVQ R10, R8
	ADDQ tileJob_c2(DI), R8
	ADDQ tileJob_c2(DI), R11
	TILELOADD(2, rR8, rDX, 0)
	TILELOADD(3, rR11, rDX, 0)
	JMP  start
frombias:
	// every row of the block starts as the same 32 biases: a row stride of zero
	MOVQ bias-16(SP), R11
	XORQ R8, R8
	TILELOADD(0, rR11, rR8, 0)
	TILELOADD(1, rR11, rR8, 64)
	TILELOADD(2, rR11, rR8, 0)
	TILELOADD(3, rR11, rR8, 64)
start:
	MOVQ tileJob_k(DI), R8
	CMPQ tileJob_mode(DI), $2
	JEQ  blo
	JGT  three
	CMPQ tileJob_mode(DI), $1
	JEQ  alo
hi:
	STEP
	NEXT
	JNZ  hi
	JMP  store
alo:
	STEP
	STEP_ALO
	NEXT
	JNZ  alo
	JMP  store
blo:
	STEP
	STEP_BLO
	NEXT
	JNZ  blo
	JMP  store
three:
	STEP_3
	NEXT
	JNZ  three
store:
	MOVQ R10, R11
	ADDQ tileJob_c1(DI), R11
	MOVQ R10, R8
	ADDQ tileJob_c2(DI), R8
	TILESTORED(0, rR10, rDX, 0)
	TILESTORED(1, rR11, rDX, 0)
	ADDQ tileJob_c2(DI), R11
	TILESTORED(2, rR8, rDX, 0)
	TILESTORED(3, rR11, rDX, 0)
	ADDQ tileJob_cM(DI), R10
	ADDQ tileJob_aM(DI), R12
	DECQ R13
	JNZ  mloop
	ADDQ tileJob_bN(DI), R15
	MOVQ tileJob_cN(DI), AX
	ADDQ AX, col-8(SP)
	ADDQ $128, bias-16(SP)
	DECQ R14
	JNZ  nloop
	TILERELEASE
	RET

