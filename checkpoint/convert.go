package checkpoint

import (
	"fmt"
	"math"

	"github.com/x448/float16"
)

// IsFloat tells whether tensors of the dtype hold real numbers, of whatever width.
func IsFloat(d DType) bool { return d == F32 || d == F16 || d == BF16 || d == F64 }

// Decode widens src, numbers of a float dtype as files hold them, to float32.
//
//	for i := range dst { dst[i] = float32(src[i]) }
func Decode(dst []float32, src []byte, d DType) {
	if !IsFloat(d) || len(src) != len(dst)*int(d.Size()) {
		panic(fmt.Sprintf("checkpoint: Decode: %d bytes of %s into %d numbers", len(src), d, len(dst)))
	}
	switch d {
	case F32:
		copy(dst, view[float32](src))
	case BF16:
		for i, h := range view[uint16](src) {
			dst[i] = math.Float32frombits(uint32(h) << 16)
		}
	case F16:
		for i, h := range view[uint16](src) {
			dst[i] = halfToFloat(h)
		}
	case F64:
		for i, x := range view[float64](src) {
			dst[i] = float32(x)
		}
	}
}

// halfToFloat widens by giving f16's bits f32's exponent: exact for subnormal numbers too, since 2^112 only moves it.
func halfToFloat(h uint16) float32 {
	f := math.Float32bits(math.Float32frombits(uint32(h&0x7fff)<<13) * 0x1p112)
	if h&0x7c00 == 0x7c00 {
		f = uint32(h&0x7fff)<<13 | 0xff<<23
	}
	return math.Float32frombits(f | uint32(h&0x8000)<<16)
}

// Encode rounds src, to nearest and ties to even, to numbers of a float dtype as files hold them.
//
//	for i := range src { dst[i] = dtype(src[i]) }
func Encode(dst []byte, src []float32, d DType) {
	if !IsFloat(d) || len(dst) != len(src)*int(d.Size()) {
		panic(fmt.Sprintf("checkpoint: Encode: %d numbers into %d bytes of %s", len(src), len(dst), d))
	}
	switch d {
	case F32:
		copy(dst, bytesOf(src))
	case BF16:
		put(dst, src, bfloat)
	case F16:
		put(dst, src, func(x float32) uint16 { return float16.Fromfloat32(x).Bits() })
	case F64:
		put(dst, src, func(x float32) float64 { return float64(x) })
	}
}

// bfloat rounds to bf16; NaN stays NaN.
func bfloat(x float32) uint16 {
	b := math.Float32bits(x)
	if b&0x7fffffff > 0x7f800000 {
		return 0x7fc0
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// put converts src into dst a block at a time, so that a misaligned dst costs only a small copy.
func put[T number](dst []byte, src []float32, round func(float32) T) {
	var block [256]T
	for len(src) > 0 {
		n := min(len(src), len(block))
		for i, x := range src[:n] {
			block[i] = round(x)
		}
		k := copy(dst, bytesOf(block[:n]))
		dst, src = dst[k:], src[n:]
	}
}
