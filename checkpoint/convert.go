package checkpoint

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
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
		kernel.BF16ToF32(dst, view[uint16](src))
	case F16:
		kernel.F16ToF32(dst, view[uint16](src))
	case F64:
		for i, x := range view[float64](src) {
			dst[i] = float32(x)
		}
	}
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
		halves := view[uint16](dst)
		kernel.F32ToBF16(halves, src)
		settle(dst, halves)
	case F16:
		halves := view[uint16](dst)
		kernel.F32ToF16(halves, src)
		settle(dst, halves)
	case F64:
		doubles := view[float64](dst)
		for i, x := range src {
			doubles[i] = float64(x)
		}
		settle(dst, doubles)
	}
}

// settle puts into dst what was written to a view of it, if the view had to be a copy.
func settle[T number](dst []byte, v []T) {
	if !inPlace[T](dst) {
		copy(dst, bytesOf(v))
	}
}
