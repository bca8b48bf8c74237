package checkpoint

import (
	"encoding/binary"
	"unsafe"
)

// number is an element type that a view may have.
type number interface {
	int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64 | float32 | float64
}

// nativeOrder tells that memory holds numbers as the files do, little-endian.
var nativeOrder = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// view is b as numbers: in place where the memory allows it, which is nearly always, else a copy. A view of the mapping
// must not be written to.
func view[T number](b []byte) []T {
	size := int(unsafe.Sizeof(T(0)))
	n := len(b) / size
	if n == 0 {
		return nil
	}
	if inPlace[T](b) {
		return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
	}
	out := make([]T, n)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(out))), n*size)
	copy(raw, b)
	if !nativeOrder {
		swap(raw, size)
	}
	return out
}

// inPlace tells whether a view of b is b's own memory.
func inPlace[T number](b []byte) bool {
	return nativeOrder && uintptr(unsafe.Pointer(unsafe.SliceData(b)))%unsafe.Alignof(T(0)) == 0
}

// bytesOf is the memory of s as the files hold it: in place, or a copy on a machine of the other byte order.
func bytesOf[T number](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	size := int(unsafe.Sizeof(T(0)))
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*size)
	if nativeOrder {
		return b
	}
	b = append([]byte(nil), b...)
	swap(b, size)
	return b
}

// swap reverses the bytes of each number.
func swap(b []byte, size int) {
	for ; len(b) >= size; b = b[size:] {
		for i, j := 0, size-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
	}
}
