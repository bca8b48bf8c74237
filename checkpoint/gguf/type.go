package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/x448/float16"
)

// Type says how the numbers of a tensor are packed: ggml_type.
type Type uint32

// The types whose numbers graft reads and writes. The table has the sizes of the others, so that files which hold them are checked
// and written again as they are.
const (
	F32  Type = 0
	F16  Type = 1
	BF16 Type = 30
)

// typeRow is one type: block numbers take size bytes.
type typeRow struct {
	typ         Type
	name        string
	block, size int
	// decode and encode convert whole tensors; nil for types that are only carried. A quantised type gets its functions here.
	decode func(dst []float32, src []byte)
	encode func(dst []byte, src []float32)
}

var types = []typeRow{
	{typ: F32, name: "F32", block: 1, size: 4, decode: decode32, encode: encode32},
	{typ: F16, name: "F16", block: 1, size: 2, decode: decode16, encode: encode16},
	{typ: 2, name: "Q4_0", block: 32, size: 18},
	{typ: 3, name: "Q4_1", block: 32, size: 20},
	{typ: 6, name: "Q5_0", block: 32, size: 22},
	{typ: 7, name: "Q5_1", block: 32, size: 24},
	{typ: 8, name: "Q8_0", block: 32, size: 34},
	{typ: 9, name: "Q8_1", block: 32, size: 36},
	{typ: 10, name: "Q2_K", block: 256, size: 84},
	{typ: 11, name: "Q3_K", block: 256, size: 110},
	{typ: 12, name: "Q4_K", block: 256, size: 144},
	{typ: 13, name: "Q5_K", block: 256, size: 176},
	{typ: 14, name: "Q6_K", block: 256, size: 210},
	{typ: 15, name: "Q8_K", block: 256, size: 292},
	{typ: 24, name: "I8", block: 1, size: 1},
	{typ: 25, name: "I16", block: 1, size: 2},
	{typ: 26, name: "I32", block: 1, size: 4},
	{typ: 27, name: "I64", block: 1, size: 8},
	{typ: 28, name: "F64", block: 1, size: 8},
	{typ: BF16, name: "BF16", block: 1, size: 2, decode: decodeBF16, encode: encodeBF16},
}

func (t Type) row() typeRow {
	for _, r := range types {
		if r.typ == t {
			return r
		}
	}
	return typeRow{}
}

func (t Type) String() string {
	if r := t.row(); r.block > 0 {
		return r.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// size is the number of bytes that a tensor takes: rows are made of whole blocks.
func (t Type) size(shape []int) (int, error) {
	r := t.row()
	if r.block == 0 {
		return 0, fmt.Errorf("%s is unknown", t)
	}
	n := uint64(1)
	for _, d := range shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if d < 0 || hi != 0 || lo > math.MaxInt64/512 {
			return 0, fmt.Errorf("shape %v is more than any memory holds", shape)
		}
		n = lo
	}
	if len(shape) > 0 && shape[len(shape)-1]%r.block != 0 {
		return 0, fmt.Errorf("shape %v: rows of %s want a multiple of %d numbers", shape, t, r.block)
	}
	return int(n) / r.block * r.size, nil
}

func decode32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func encode32(dst []byte, src []float32) {
	for i, v := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
}

func decode16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float16.Frombits(binary.LittleEndian.Uint16(src[2*i:])).Float32()
	}
}

func encode16(dst []byte, src []float32) {
	for i, v := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], float16.Fromfloat32(v).Bits())
	}
}

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

// encodeBF16 rounds to the nearest, halves to even.
func encodeBF16(dst []byte, src []float32) {
	for i, v := range src {
		b := math.Float32bits(v)
		switch {
		case v != v:
			b |= 1 << 22 // stays NaN
		default:
			b += 0x7fff + b>>16&1
		}
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(b>>16))
	}
}
