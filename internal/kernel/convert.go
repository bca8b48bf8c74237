package kernel

import "math"

// BF16ToF32 widens src exactly.
//
//	for i, h := range src { dst[i] = float32 with the upper bits h }
func BF16ToF32(dst []float32, src []uint16) {
	sameLen("BF16ToF32", len(dst), len(src))
	n := bf16ToF32Vec(dst, src)
	for i := n; i < len(src); i++ {
		dst[i] = wideBF16(src[i])
	}
}

// F32ToBF16 rounds to nearest, ties to even. Values beyond the largest bf16 become infinite; NaNs stay NaNs.
func F32ToBF16(dst []uint16, src []float32) {
	sameLen("F32ToBF16", len(dst), len(src))
	n := f32ToBF16Vec(dst, src)
	for i := n; i < len(src); i++ {
		dst[i] = roundBF16(src[i])
	}
}

// F16ToF32 widens src exactly.
func F16ToF32(dst []float32, src []uint16) {
	sameLen("F16ToF32", len(dst), len(src))
	n := f16ToF32Vec(dst, src)
	for i := n; i < len(src); i++ {
		dst[i] = halfToFloat(src[i])
	}
}

// F32ToF16 rounds to nearest, ties to even. Values beyond the largest f16 become infinite; NaNs stay NaNs.
func F32ToF16(dst []uint16, src []float32) {
	sameLen("F32ToF16", len(dst), len(src))
	n := f32ToF16Vec(dst, src)
	for i := n; i < len(src); i++ {
		dst[i] = floatToHalf(src[i])
	}
}

// wideBF16 is the value of a bf16.
func wideBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// roundBF16 is the nearest bf16, ties to even. A NaN keeps its upper bits and becomes quiet.
func roundBF16(x float32) uint16 {
	u := math.Float32bits(x)
	if x != x {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// halfToFloat is the value of an f16.
func halfToFloat(h uint16) float32 {
	sign, exp, man := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exp {
	case 31:
		if man != 0 {
			man |= 1 << 9 // quiet, as the processor's own conversion does
		}
		return math.Float32frombits(sign | 0xff<<23 | man<<13)
	case 0:
		f := float32(man) / (1 << 24)
		return math.Float32frombits(sign | math.Float32bits(f))
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}

// floatToHalf is the nearest f16, ties to even.
func floatToHalf(x float32) uint16 {
	u := math.Float32bits(x)
	sign := uint16(u >> 16 & 0x8000)
	abs := u &^ (1 << 31)
	switch {
	case abs > 0x7f800000: // NaN: keeps its upper bits, quiet
		return sign | 0x7e00 | uint16(abs>>13&0x3ff)
	case abs >= 0x477ff000: // rounds to 65536 or more
		return sign | 0x7c00
	case abs >= 0x38800000: // normal
		return sign | uint16((abs-112<<23+0xfff+abs>>13&1)>>13)
	}
	// Subnormal: adding 0.5 leaves the multiple of 2^-24 in the lowest bits, rounded by the addition itself.
	f := math.Float32frombits(abs) + 0.5
	return sign | uint16(math.Float32bits(f)-0x3f000000)
}
