package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/x448/float16"
)

// Type says how the numbers of a tensor are packed: ggml_type.
type Type uint32

// The types whose numbers graft reads and writes. The table has the sizes of the others, so that files which hold them are checked
// and written again as they are.
const (
	F32  Type = 0
	F16  Type = 1
	Q40  Type = 2
	Q50  Type = 6
	Q80  Type = 8
	Q4K  Type = 12
	Q5K  Type = 13
	Q6K  Type = 14
	BF16 Type = 30
)

// typeRow is one type: block numbers take size bytes.
type typeRow struct {
	typ         Type
	name        string
	block, size int
	// decode and encode convert whole blocks; nil for types that are only carried.
	decode func(dst []float32, src []byte)
	encode func(dst []byte, src []float32)
	limit  float32 // numbers of this size and beyond may become infinite; 0 = only what is infinite
}

// maxHalf is the largest number in half precision. The limits of types with several scales stay well below what would overflow one.
const maxHalf = 65504

var types = []typeRow{
	{typ: F32, name: "F32", block: 1, size: 4, decode: decode32, encode: encode32},
	{typ: F16, name: "F16", block: 1, size: 2, decode: decode16, encode: encode16, limit: 65520},
	{typ: Q40, name: "Q4_0", block: blockLen, size: sizeQ4, decode: decodeQ4, encode: encodeQ4, limit: 8 * maxHalf},
	{typ: 3, name: "Q4_1", block: 32, size: 20},
	{typ: Q50, name: "Q5_0", block: blockLen, size: sizeQ5, decode: decodeQ5, encode: encodeQ5, limit: 16 * maxHalf},
	{typ: 7, name: "Q5_1", block: 32, size: 24},
	{typ: Q80, name: "Q8_0", block: blockLen, size: sizeQ8, decode: decodeQ8, encode: encodeQ8, limit: 127 * maxHalf},
	{typ: 9, name: "Q8_1", block: 32, size: 36},
	{typ: 10, name: "Q2_K", block: 256, size: 84},
	{typ: 11, name: "Q3_K", block: 256, size: 110},
	{typ: Q4K, name: "Q4_K", block: superLen, size: 144, decode: typeQ4K.decode, encode: typeQ4K.encode, limit: 32 * maxHalf},
	{typ: Q5K, name: "Q5_K", block: superLen, size: 176, decode: typeQ5K.decode, encode: typeQ5K.encode, limit: 32 * maxHalf},
	{typ: Q6K, name: "Q6_K", block: superLen, size: sizeQ6K, decode: decodeQ6K, encode: encodeQ6K, limit: 32 * maxHalf},
	{typ: 15, name: "Q8_K", block: 256, size: 292},
	{typ: 24, name: "I8", block: 1, size: 1},
	{typ: 25, name: "I16", block: 1, size: 2},
	{typ: 26, name: "I32", block: 1, size: 4},
	{typ: 27, name: "I64", block: 1, size: 8},
	{typ: 28, name: "F64", block: 1, size: 8},
	{typ: BF16, name: "BF16", block: 1, size: 2, decode: decodeBF16, encode: encodeBF16, limit: 0x1.ffp127},
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

// Block is how many numbers a block has: rows are made of whole ones.
func (t Type) Block() int { return t.row().block }

// Size is the number of bytes of a tensor.
func (t Type) Size(shape []int) (int, error) {
	n, err := t.size(shape)
	if err != nil {
		return 0, fmt.Errorf("gguf: %w", err)
	}
	return n, nil
}

// Encode packs numbers, whole blocks of them. Numbers that are not finite are refused, and so are those that the type has no room for.
func (t Type) Encode(dst []byte, src []float32) error {
	r := t.row()
	if r.encode == nil {
		return fmt.Errorf("%s cannot be written, want %s", t, written())
	}
	if len(src)%r.block != 0 || len(dst) != len(src)/r.block*r.size {
		return fmt.Errorf("%d numbers of %s into %d bytes", len(src), t, len(dst))
	}
	for i, v := range src {
		switch {
		case v-v != 0:
			return fmt.Errorf("the number at %d is %g, want finite numbers", i, v)
		case r.limit > 0 && abs(v) >= r.limit:
			return fmt.Errorf("the number %g at %d is beyond %s, which goes to %g", v, i, t, r.limit)
		}
	}
	r.encode(dst, src)
	return nil
}

// Decode unpacks whole blocks of numbers.
func (t Type) Decode(dst []float32, src []byte) error {
	r := t.row()
	if r.decode == nil {
		return fmt.Errorf("%s is not read, want one of %s", t, written())
	}
	if len(dst)%r.block != 0 || len(src) != len(dst)/r.block*r.size {
		return fmt.Errorf("%d bytes of %s into %d numbers", len(src), t, len(dst))
	}
	r.decode(dst, src)
	return nil
}

// written are the names of the types that graft reads and writes.
func written() string {
	var names []string
	for _, r := range types {
		if r.encode != nil {
			names = append(names, r.name)
		}
	}
	return strings.Join(names, ", ")
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
