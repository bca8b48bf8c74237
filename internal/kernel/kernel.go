// Package kernel holds the loops that everything else waits for: matrix products with frozen weights, f32 products,
// and the element-wise loops of a transformer, each with a plain Go form that is its documentation and its oracle.
// It is the only package with assembly. It chooses the fastest variant that the machine has at run time.
//
// Words: T rows of activations, N outputs, K inputs; a weight W is [N, K] as the checkpoint stores it.
// Every result is summed in one order whatever the number of threads, so results do not depend on GOMAXPROCS.
package kernel

import "fmt"

// Mat is a row-major view: row i is Data[i*Stride : i*Stride+Cols].
type Mat struct {
	Data               []float32
	Rows, Cols, Stride int
}

// NewMat views data as a dense rows x cols matrix.
func NewMat(data []float32, rows, cols int) Mat {
	if len(data) < rows*cols {
		panic(fmt.Sprintf("kernel: NewMat: %d numbers for [%d, %d]", len(data), rows, cols))
	}
	return Mat{Data: data[:rows*cols], Rows: rows, Cols: cols, Stride: cols}
}

// Row returns row i.
func (m Mat) Row(i int) []float32 { return m.Data[i*m.Stride : i*m.Stride+m.Cols] }

// RowRange views rows lo to hi.
func (m Mat) RowRange(lo, hi int) Mat {
	if lo == hi {
		return Mat{Cols: m.Cols, Stride: m.Stride}
	}
	return Mat{Data: m.Data[lo*m.Stride : (hi-1)*m.Stride+m.Cols], Rows: hi - lo, Cols: m.Cols, Stride: m.Stride}
}

// ColRange views columns lo to hi.
func (m Mat) ColRange(lo, hi int) Mat {
	if m.Rows == 0 {
		return Mat{Cols: hi - lo, Stride: m.Stride}
	}
	return Mat{Data: m.Data[lo : (m.Rows-1)*m.Stride+hi], Rows: m.Rows, Cols: hi - lo, Stride: m.Stride}
}

// DType is how a frozen weight is stored.
type DType uint8

// The storage types. Products read those of whole numbers in place and widen blocks of the quantised ones (see quant.go).
const (
	F32 DType = iota
	F16
	BF16
	I8
	NF4
	Lossless // bf16 in 12 bits
)

// Mode is how a product with a frozen weight is computed; activations between products are always float32.
type Mode uint8

// The modes of architecture.md §6.
const (
	ModeF32   Mode = iota // FMA in float32
	ModeBF16              // operands rounded to bf16, sums in float32; denormals may count as zeros
	ModeSplit             // activations as the sum of two bf16 numbers: float32 grade at tile speed
)

// Frozen is a weight W [Rows, Cols] that nothing trains, in the checkpoint's own storage or quantised. It aliases the memory it was
// made from (usually the file's mapping), which must stay mapped. Safe for concurrent use.
type Frozen struct {
	Rows, Cols int
	DType      DType
	f32        []float32
	u16        []uint16 // f16 or bf16
	q          *quant   // I8, NF4 or Lossless
	rounded    *Frozen  // see Round
}

// FrozenF32 views data [rows, cols].
func FrozenF32(data []float32, rows, cols int) *Frozen {
	mustHold(len(data), rows, cols)
	return &Frozen{Rows: rows, Cols: cols, DType: F32, f32: data[:rows*cols]}
}

// FrozenU16 views data [rows, cols] of f16 or bf16 numbers.
func FrozenU16(data []uint16, dtype DType, rows, cols int) *Frozen {
	mustHold(len(data), rows, cols)
	return &Frozen{Rows: rows, Cols: cols, DType: dtype, u16: data[:rows*cols]}
}

func mustHold(n, rows, cols int) {
	if n < rows*cols {
		panic(fmt.Sprintf("kernel: Frozen: %d numbers for [%d, %d]", n, rows, cols))
	}
}
