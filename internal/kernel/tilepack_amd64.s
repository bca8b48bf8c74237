//go:build !purego

#include "textflag.h"
#include "tile_amd64.h"

// func cvtRow(dst *uint16, src *float32, blocks, step, lo int)
// 32 floats a block -> 32 bf16 at dst, the remainders x - bf16(x) as bf16 at dst+lo when lo > 0; dst moves by step bytes a block.
TEXT ·cvtRow(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	MOVQ step+24(FP), DX
	MOVQ lo+32(FP), BX
	TESTQ BX, BX
	JNZ  split
hi:
	VMOVUPS (SI), Z0
	VMOVUPS 64(SI), Z1
	VCVTNE2PS2BF16(0, 1, 2)
	VMOVDQU64 Z2, (DI)
	ADDQ $128, SI
	ADDQ DX, DI
	DECQ CX
	JNZ  hi
	VZEROUPPER
	RET
split:
	VMOVUPS (SI), Z0
	VMOVUPS 64(SI), Z1
	VCVTNE2PS2BF16(0, 1, 2)
	VMOVDQU64 Z2, (DI)
	VPMOVZXWD Y2, Z3
	VEXTRACTI64X4 $1, Z2, Y4
	VPMOVZXWD Y4, Z4
	VPSLLD $16, Z3, Z3
	VPSLLD $16, Z4, Z4
	VSUBPS Z3, Z0, Z3
	VSUBPS Z4, Z1, Z4
	VCVTNE2PS2BF16(3, 4, 5)
	VMOVDQU64 Z5, (DI)(BX*1)
	ADDQ $128, SI
	ADDQ DX, DI
	DECQ CX
	JNZ  split
	VZEROUPPER
	RET

// func f16Row(dst *float32, src *uint16, blocks int): 32 halves a block -> 32 floats.
// Meanwhile the row's next 512 numbers are fetched, which are converted after those of other rows.
TEXT ·f16Row(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
f16:
	PREFETCHT0 1024(SI)
	VCVTPH2PS (SI), Z0
	VCVTPH2PS 32(SI), Z1
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	ADDQ $64, SI
	ADDQ $128, DI
	DECQ CX
	JNZ  f16
	VZEROUPPER
	RET

// Z0..Z3 = the 16 bytes at off of rows i, i+4, i+8, i+12 for i = 0..3: the 128-bit half of a 16x16 dword transpose, done by loads.
#define GATHER4(off) \
	VMOVDQU off(R8), X0; \
	VINSERTI32X4 $1, off(R9), Z0, Z0; \
	VINSERTI32X4 $2, off(R10), Z0, Z0; \
	VINSERTI32X4 $3, off(R11), Z0, Z0; \
	VMOVDQU off(R8)(DX*1), X1; \
	VINSERTI32X4 $1, off(R9)(DX*1), Z1, Z1; \
	VINSERTI32X4 $2, off(R10)(DX*1), Z1, Z1; \
	VINSERTI32X4 $3, off(R11)(DX*1), Z1, Z1; \
	VMOVDQU off(R8)(DX*2), X2; \
	VINSERTI32X4 $1, off(R9)(DX*2), Z2, Z2; \
	VINSERTI32X4 $2, off(R10)(DX*2), Z2, Z2; \
	VINSERTI32X4 $3, off(R11)(DX*2), Z2, Z2; \
	VMOVDQU off(R8)(BX*1), X3; \
	VINSERTI32X4 $1, off(R9)(BX*1), Z3, Z3; \
	VINSERTI32X4 $2, off(R10)(BX*1), Z3, Z3; \
	VINSERTI32X4 $3, off(R11)(BX*1), Z3, Z3; \
	VPUNPCKLDQ Z1, Z0, Z4; \
	VPUNPCKHDQ Z1, Z0, Z5; \
	VPUNPCKLDQ Z3, Z2, Z6; \
	VPUNPCKHDQ Z3, Z2, Z7; \
	VPUNPCKLQDQ Z6, Z4, Z0; \
	VPUNPCKHQDQ Z6, Z4, Z1; \
	VPUNPCKLQDQ Z7, Z5, Z2; \
	VPUNPCKHQDQ Z7, Z5, Z3

// Four rows of 64 bytes, R12 bytes apart, R13 = 3*R12.
#define PUT4 \
	VMOVDQU64 Z0, (AX); \
	VMOVDQU64 Z1, (AX)(R12*1); \
	VMOVDQU64 Z2, (AX)(R12*2); \
	VMOVDQU64 Z3, (AX)(R13*1); \
	LEAQ (AX)(R12*4), AX

// func transposePairs(dst, src *uint16, row, blocks, step, pairRow int)
// src: 16 rows of blocks*32 bf16, row bytes apart -> per block [16 pairs of k][16 rows][2] bf16, pairs of k pairRow bytes
// apart (64 in a B tile), blocks step bytes apart.
TEXT ·transposePairs(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), R8
	MOVQ row+16(FP), DX
	MOVQ blocks+24(FP), CX
	MOVQ step+32(FP), SI
	MOVQ pairRow+40(FP), R12
	LEAQ (R12)(R12*2), R13
	LEAQ (DX)(DX*2), BX
	LEAQ (R8)(DX*4), R9
	LEAQ (R9)(DX*4), R10
	LEAQ (R10)(DX*4), R11
pairs:
	MOVQ DI, AX
	GATHER4(0)
	PUT4
	GATHER4(16)
	PUT4
	GATHER4(32)
	PUT4
	GATHER4(48)
	PUT4
	ADDQ $64, R8
	ADDQ $64, R9
	ADDQ $64, R10
	ADDQ $64, R11
	ADDQ SI, DI
	DECQ CX
	JNZ  pairs
	VZEROUPPER
	RET

// 4 rows of y: plain store, or y += .
#define OUT4 \
	TESTQ SI, SI; \
	JZ   5(PC); \
	VADDPS (DI), Z0, Z0; \
	VADDPS (DI)(AX*1), Z1, Z1; \
	VADDPS (DI)(AX*2), Z2, Z2; \
	VADDPS (DI)(R12*1), Z3, Z3; \
	VADDPS Z8, Z0, Z0; \
	VADDPS Z8, Z1, Z1; \
	VADDPS Z8, Z2, Z2; \
	VADDPS Z8, Z3, Z3; \
	VMOVUPS Z0, (DI); \
	VMOVUPS Z1, (DI)(AX*1); \
	VMOVUPS Z2, (DI)(AX*2); \
	VMOVUPS Z3, (DI)(R12*1); \
	LEAQ (DI)(AX*4), DI

// func transposeOut(y *float32, yRow int, c *float32, cStep, tiles, add int, bias *float32)
// c: tiles of [16 n][16 t] f32, cStep bytes apart -> y[t][16 n], y rows yRow bytes apart; y += when add; bias: 16 floats, or nil.
TEXT ·transposeOut(SB), NOSPLIT, $0-56
	MOVQ y+0(FP), DI
	MOVQ yRow+8(FP), AX
	MOVQ c+16(FP), R8
	MOVQ cStep+24(FP), R13
	MOVQ tiles+32(FP), CX
	MOVQ add+40(FP), SI
	MOVQ bias+48(FP), R9
	VPXORD Z8, Z8, Z8
	TESTQ R9, R9
	JZ   nobias
	VMOVUPS (R9), Z8
nobias:
	LEAQ (AX)(AX*2), R12
	MOVQ $64, DX
	MOVQ $192, BX
outloop:
	LEAQ 256(R8), R9
	LEAQ 512(R8), R10
	LEAQ 768(R8), R11
	GATHER4(0)
	OUT4
	GATHER4(16)
	OUT4
	GATHER4(32)
	OUT4
	GATHER4(48)
	OUT4
	ADDQ R13, R8
	DECQ CX
	JNZ  outloop
	VZEROUPPER
	RET

DATA even<>+0(SB)/8, $0x0021000100200000
DATA even<>+8(SB)/8, $0x0023000300220002
DATA even<>+16(SB)/8, $0x0025000500240004
DATA even<>+24(SB)/8, $0x0027000700260006
DATA even<>+32(SB)/8, $0x0029000900280008
DATA even<>+40(SB)/8, $0x002b000b002a000a
DATA even<>+48(SB)/8, $0x002d000d002c000c
DATA even<>+56(SB)/8, $0x002f000f002e000e
GLOBL even<>(SB), RODATA|NOPTR, $64
DATA sixteen<>+0(SB)/8, $0x0010001000100010
GLOBL sixteen<>(SB), RODATA|NOPTR, $8

// func interleaveRows(dst, src *uint16, row, panels, panelStep, pairRow, half int)
// src: 32 rows (n) of panels*32 bf16 (k), row bytes apart -> for every panel of 32 k, two halves [16 pairs of n][16 k][2],
// half bytes apart, pairs of n pairRow bytes apart (1024 and 64 in B tiles).
TEXT ·interleaveRows(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ row+16(FP), DX
	MOVQ panelStep+32(FP), R8
	MOVQ half+48(FP), BX
	VMOVDQU64 even<>(SB), Z4
	VPBROADCASTQ sixteen<>(SB), Z5
	VPADDW Z4, Z5, Z5
	MOVQ $16, R9
pair:
	MOVQ panels+24(FP), CX
	MOVQ DI, R10
	MOVQ SI, R11
	LEAQ (SI)(DX*1), R12
panel:
	VMOVDQU64 (R11), Z0
	VMOVDQU64 (R12), Z1
	VMOVDQA64 Z4, Z2
	VMOVDQA64 Z5, Z3
	VPERMI2W Z1, Z0, Z2
	VPERMI2W Z1, Z0, Z3
	VMOVDQU64 Z2, (R10)
	VMOVDQU64 Z3, (R10)(BX*1)
	ADDQ $64, R11
	ADDQ $64, R12
	ADDQ R8, R10
	DECQ CX
	JNZ  panel
	LEAQ (SI)(DX*2), SI
	ADDQ pairRow+40(FP), DI
	DECQ R9
	JNZ  pair
	VZEROUPPER
	RET
