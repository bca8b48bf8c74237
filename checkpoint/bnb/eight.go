package bnb

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
)

// inverse is what bitsandbytes multiplies by to divide by 127.
const inverse = float32(7.874015718698502e-3)

// eight finds a matrix of eight bits.
func (w *Weights) eight(module string, dtype checkpoint.DType) (*matrix, error) {
	name := module + ".weight"
	info, ok := w.c.Info(name)
	switch {
	case !ok:
		return nil, fmt.Errorf("%q is missing", name)
	case info.DType != checkpoint.I8 || len(info.Shape) != 2:
		return nil, fmt.Errorf("%q is %s %v, want a matrix of I8", name, info.DType, info.Shape)
	}
	if b, err := w.c.Bytes(module + format); err == nil {
		if len(b) != 1 || b[0] != 0 {
			return nil, fmt.Errorf("%q is %v, want 0: only rows are read", module+format, b)
		}
		w.parts[module+format] = true
	}
	most, err := w.floats(module+scales, info.Shape[0])
	if err != nil {
		return nil, err
	}
	q, err := w.c.Bytes(name)
	if err != nil {
		return nil, err
	}
	cols := info.Shape[1]
	return &matrix{name: name, kind: Int8, shape: info.Shape, dtype: dtype, read: func(dst []float32, lo int) {
		for i := range dst {
			dst[i] = float32(int8(q[lo+i])) * most[(lo+i)/cols] * inverse
		}
	}}, nil
}

// Rows reads rows lo to hi of a matrix into dst [hi-lo, cols].
type Rows func(lo, hi int, dst []float32) error

// Pack are the entries of a matrix [rows, cols] packed in eight bits: each row divided by its largest size. The rows are read twice.
//
//	q_ij = round(127·W_ij / SCB_i), halves to even     SCB_i = max_j |W_ij|
func Pack(module string, rows, cols int, read Rows) []checkpoint.Entry {
	step := max(1, 1<<16/max(1, cols))
	each := func(f func(lo int, x []float32) error) error {
		x := make([]float32, step*cols)
		for lo := 0; lo < rows; lo += step {
			hi := min(rows, lo+step)
			if err := read(lo, hi, x[:(hi-lo)*cols]); err != nil {
				return err
			}
			if err := f(lo, x[:(hi-lo)*cols]); err != nil {
				return err
			}
		}
		return nil
	}
	sizes := func(to checkpoint.Section) error {
		return each(func(lo int, x []float32) error {
			most := make([]float32, len(x)/max(1, cols))
			for i := range most {
				most[i] = math.Float32frombits(kernel.MaxSize(x[i*cols : (i+1)*cols]))
				if most[i]-most[i] != 0 {
					return fmt.Errorf("bnb: %q: row %d is not finite", module, lo+i)
				}
			}
			b := make([]byte, 4*len(most))
			checkpoint.Encode(b, most, checkpoint.F32)
			_, err := to.Write(b)
			return err
		})
	}
	numbers := func(to checkpoint.Section) error {
		return each(func(_ int, x []float32) error {
			b := make([]byte, len(x))
			for at := 0; at < len(x); at += cols {
				packRow(b[at:at+cols], x[at:at+cols])
			}
			_, err := to.Write(b)
			return err
		})
	}
	return []checkpoint.Entry{
		{Name: module + ".weight", DType: checkpoint.I8, Shape: []int{rows, cols}, Fill: numbers},
		{Name: module + scales, DType: checkpoint.F32, Shape: []int{rows}, Fill: sizes},
		checkpoint.FromBytes(module+format, checkpoint.U8, []int{}, []byte{0}),
	}
}

// packRow packs one row.
func packRow(q []byte, x []float32) {
	most := math.Float32frombits(kernel.MaxSize(x))
	if most == 0 {
		clear(q)
		return
	}
	for i, v := range x {
		q[i] = byte(int8(math.RoundToEven(float64(v) * (127 / float64(most)))))
	}
}
