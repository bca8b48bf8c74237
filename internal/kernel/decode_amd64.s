//go:build !purego

#include "textflag.h"
#include "tile_amd64.h"

// Sums the 16 lanes of four registers into the four lanes of X d0.
#define SUM4(d0, y0, z0, d1, y1, z1, d2, y2, z2, d3, y3, z3) \
	VEXTRACTF64X4 $1, z0, Y28; \
	VEXTRACTF64X4 $1, z1, Y29; \
	VEXTRACTF64X4 $1, z2, Y30; \
	VEXTRACTF64X4 $1, z3, Y31; \
	VADDPS Y28, y0, y0; \
	VADDPS Y29, y1, y1; \
	VADDPS Y30, y2, y2; \
	VADDPS Y31, y3, y3; \
	VEXTRACTF32X4 $1, y0, X28; \
	VEXTRACTF32X4 $1, y1, X29; \
	VEXTRACTF32X4 $1, y2, X30; \
	VEXTRACTF32X4 $1, y3, X31; \
	VADDPS X28, d0, d0; \
	VADDPS X29, d1, d1; \
	VADDPS X30, d2, d2; \
	VADDPS X31, d3, d3; \
	VHADDPS d1, d0, d0; \
	VHADDPS d3, d2, d2; \
	VHADDPS d2, d0, d0

// func gemv4(y *float32, w *uint16, row int, hi, lo *uint16, blocks int, tail uint32)
// y[0..3] = four rows of w (row bytes apart) times hi + lo, blocks of 32 and a last one under the mask.
TEXT ·gemv4(SB), NOSPLIT, $0-52
	MOVQ y+0(FP), DI
	MOVQ w+8(FP), R8
	MOVQ row+16(FP), DX
	MOVQ hi+24(FP), SI
	MOVQ lo+32(FP), BX
	MOVQ blocks+40(FP), CX
	LEAQ (R8)(DX*1), R9
	LEAQ (R8)(DX*2), R10
	LEAQ (R9)(DX*2), R11
	XORQ AX, AX
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	VPXORD Z2, Z2, Z2
	VPXORD Z3, Z3, Z3
	VPXORD Z4, Z4, Z4
	VPXORD Z5, Z5, Z5
	VPXORD Z6, Z6, Z6
	VPXORD Z7, Z7, Z7
	TESTQ CX, CX
	JZ   gtail
gloop:
	VMOVDQU64 (SI)(AX*1), Z8
	VMOVDQU64 (BX)(AX*1), Z9
	VMOVDQU64 (R8)(AX*1), Z10
	VMOVDQU64 (R9)(AX*1), Z11
	VMOVDQU64 (R10)(AX*1), Z12
	VMOVDQU64 (R11)(AX*1), Z13
	VDPBF16PS(8, 10, 0)
	VDPBF16PS(8, 11, 1)
	VDPBF16PS(8, 12, 2)
	VDPBF16PS(8, 13, 3)
	VDPBF16PS(9, 10, 4)
	VDPBF16PS(9, 11, 5)
	VDPBF16PS(9, 12, 6)
	VDPBF16PS(9, 13, 7)
	ADDQ $64, AX
	DECQ CX
	JNZ  gloop
gtail:
	MOVL tail+48(FP), CX
	TESTL CX, CX
	JZ   gsum
	KMOVD CX, K1
	VMOVDQU16.Z (SI)(AX*1), K1, Z8
	VMOVDQU16.Z (BX)(AX*1), K1, Z9
	VMOVDQU16.Z (R8)(AX*1), K1, Z10
	VMOVDQU16.Z (R9)(AX*1), K1, Z11
	VMOVDQU16.Z (R10)(AX*1), K1, Z12
	VMOVDQU16.Z (R11)(AX*1), K1, Z13
	VDPBF16PS(8, 10, 0)
	VDPBF16PS(8, 11, 1)
	VDPBF16PS(8, 12, 2)
	VDPBF16PS(8, 13, 3)
	VDPBF16PS(9, 10, 4)
	VDPBF16PS(9, 11, 5)
	VDPBF16PS(9, 12, 6)
	VDPBF16PS(9, 13, 7)
gsum:
	VADDPS Z4, Z0, Z0
	VADDPS Z5, Z1, Z1
	VADDPS Z6, Z2, Z2
	VADDPS Z7, Z3, Z3
	SUM4(X0, Y0, Z0, X1, Y1, Z1, X2, Y2, Z2, X3, Y3, Z3)
	VMOVUPS X0, (DI)
	VZEROUPPER
	RET

