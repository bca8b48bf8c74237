package gguf

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// The quantised types of blocks of 32 numbers: a scale d in half precision, then the numbers as whole multiples of it.
//
//	Q8_0  d, 32 × int8            x = d·q          −127 ≤ q ≤ 127
//	Q5_0  d, 32 bits, 32 × 4 bit  x = d·(q − 16)   the bits are the fifth ones of q
//	Q4_0  d, 32 × 4 bit           x = d·(q − 8)    byte j has number j in its lower half and number j + 16 in its upper one
//
// Of the last two the number of largest size has the lowest q, so its sign is d's and it is met exactly; the other end is cut at the
// highest q. Scales, roundings and the order of sums are those of ggml's reference, so that equal numbers have equal bytes here and there.
//
// References: ggml-quants.c and ggml-common.h of github.com/ggml-org/llama.cpp.

const blockLen = 32 // numbers in a block of these types

// Bytes of a block.
const (
	sizeQ8 = 2 + blockLen
	sizeQ5 = 2 + 4 + blockLen/2
	sizeQ4 = 2 + blockLen/2
)

// putHalf and half are the scales in files.
func putHalf(dst []byte, v float32) {
	binary.LittleEndian.PutUint16(dst, float16.Fromfloat32(v).Bits())
}

func half(src []byte) float32 {
	return float16.Frombits(binary.LittleEndian.Uint16(src)).Float32()
}

// inverse is 1/d, or 0 of 0.
func inverse(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// largestOf is the number of largest size, the first of several.
func largestOf(x []float32) (largest float32) {
	size := float32(0)
	for _, v := range x {
		if a := abs(v); a > size {
			size, largest = a, v
		}
	}
	return largest
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

func encodeQ8(dst []byte, src []float32) {
	for ; len(src) > 0; dst, src = dst[sizeQ8:], src[blockLen:] {
		d := abs(largestOf(src[:blockLen])) / 127
		putHalf(dst, d)
		id := inverse(d)
		for i, v := range src[:blockLen] {
			dst[2+i] = byte(int8(clamp(math.Round(float64(v*id)), -127, 127)))
		}
	}
}

// clamp is v between lo and hi; what is no number is lo.
func clamp(v, lo, hi float64) float64 {
	if !(v > lo) {
		return lo
	}
	return min(v, hi)
}

func decodeQ8(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[blockLen:], src[sizeQ8:] {
		d := half(src)
		for i := range dst[:blockLen] {
			dst[i] = float32(int8(src[2+i])) * d
		}
	}
}

// level is the multiple 0 to 2·middle − 1 that a number of a type with an offset gets.
func level(v, id float32, middle int) byte {
	return byte(clamp(float64(float32(v*id)+(float32(middle)+0.5)), 0, float64(2*middle-1)))
}

func encodeQ4(dst []byte, src []float32) {
	const middle = 8
	for ; len(src) > 0; dst, src = dst[sizeQ4:], src[blockLen:] {
		d := largestOf(src[:blockLen]) / -middle
		putHalf(dst, d)
		id := inverse(d)
		for i := range blockLen / 2 {
			dst[2+i] = level(src[i], id, middle) | level(src[i+blockLen/2], id, middle)<<4
		}
	}
}

func decodeQ4(dst []float32, src []byte) {
	const middle = 8
	for ; len(dst) > 0; dst, src = dst[blockLen:], src[sizeQ4:] {
		d := half(src)
		for i := range blockLen / 2 {
			dst[i] = float32(int(src[2+i]&15)-middle) * d
			dst[i+blockLen/2] = float32(int(src[2+i]>>4)-middle) * d
		}
	}
}

func encodeQ5(dst []byte, src []float32) {
	const middle = 16
	for ; len(src) > 0; dst, src = dst[sizeQ5:], src[blockLen:] {
		d := largestOf(src[:blockLen]) / -middle
		putHalf(dst, d)
		id, fifth := inverse(d), uint32(0)
		for i := range blockLen / 2 {
			lo, hi := level(src[i], id, middle), level(src[i+blockLen/2], id, middle)
			dst[6+i] = lo&15 | hi<<4
			fifth |= uint32(lo>>4)<<i | uint32(hi>>4)<<(i+blockLen/2)
		}
		binary.LittleEndian.PutUint32(dst[2:], fifth)
	}
}

func decodeQ5(dst []float32, src []byte) {
	const middle = 16
	for ; len(dst) > 0; dst, src = dst[blockLen:], src[sizeQ5:] {
		d, fifth := half(src), binary.LittleEndian.Uint32(src[2:])
		for i := range blockLen / 2 {
			lo := int(src[6+i]&15) | int(fifth>>i&1)<<4
			hi := int(src[6+i]>>4) | int(fifth>>(i+blockLen/2)&1)<<4
			dst[i], dst[i+blockLen/2] = float32(lo-middle)*d, float32(hi-middle)*d
		}
	}
}
