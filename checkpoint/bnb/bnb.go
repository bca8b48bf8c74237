// Package bnb reads weights that bitsandbytes packed, and packs weights as its eight-bit layers do.
//
//	p, err := bnb.Find(c, checkpoint.BF16) // c is an open checkpoint
//	if err != nil {
//		return err
//	}
//	if p.Packed() > 0 {
//		err = checkpoint.Write(path, p.Entries(ctx), nil) // the same weights, of ordinary numbers
//	}
//
// # Four bits
//
// A matrix W [out, in] is cut, row after row, into blocks of blocksize numbers. W_i = quant_map[q_i]·absmax[i/blocksize], with
//
//	NAME                                   bytes, of whatever dtype and shape: q_0 in the upper half of the first one, q_1 in the lower
//	NAME.quant_map                         F32 [16]
//	NAME.absmax                            F32 [blocks]
//	NAME.quant_state.bitsandbytes__KIND    U8, a JSON object: quant_type, blocksize, dtype, shape, …; KIND is nf4 or fp4
//
// With double quantisation absmax is U8, and a block's is
//
//	nested_quant_map[absmax_b]·nested_absmax[b/nested_blocksize] + nested_offset
//
//	NAME.nested_quant_map                  F32 [256]
//	NAME.nested_absmax                     F32 [blocks/nested_blocksize]
//
// The products are float32 and rounded to the dtype of the state, which is what a model that was trained over them has seen.
//
// # Eight bits
//
// W_ij = NAME_ij·SCB_i·(1/127), in this order and float32:
//
//	MODULE.weight          I8 [out, in]
//	MODULE.SCB             F32 [out], the largest sizes of rows
//	MODULE.weight_format   U8 []: 0, rows; it may be missing
//
// References: bitsandbytes 0.50.2, functional.py (QuantState), nn/modules.py, backends/default/ops.py.
package bnb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
)

// Kinds of packing.
const (
	NF4  = "nf4"
	FP4  = "fp4"
	Int8 = "int8"
)

const (
	stateMark = ".quant_state.bitsandbytes__"
	scales    = ".SCB"
	format    = ".weight_format"
)

// Weights are those of a checkpoint, some of them packed.
type Weights struct {
	c      *checkpoint.Checkpoint
	packed map[string]*matrix
	parts  map[string]bool // tensors that belong to packed ones
}

// matrix is a packed one.
type matrix struct {
	name  string
	kind  string
	shape []int
	dtype checkpoint.DType
	read  func(dst []float32, lo int) // numbers lo and on
}

func (m *matrix) len() int {
	n := 1
	for _, d := range m.shape {
		n *= d
	}
	return n
}

// Find looks for packed weights and checks them. Those of eight bits, which do not say what they were, become of the dtype other.
func Find(c *checkpoint.Checkpoint, other checkpoint.DType) (*Weights, error) {
	w := &Weights{c: c, packed: map[string]*matrix{}, parts: map[string]bool{}}
	var errs []error
	for _, name := range c.Names() {
		var m *matrix
		var err error
		if of, kind, ok := strings.Cut(name, stateMark); ok {
			m, err = w.four(of, kind)
		} else if module, ok := strings.CutSuffix(name, scales); ok {
			m, err = w.eight(module, other)
		} else {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("bnb: %s: tensor %q: %w", c.Path(), name, err))
			continue
		}
		w.packed[m.name] = m
	}
	return w, errors.Join(errs...)
}

// Packed is the number of packed matrices.
func (w *Weights) Packed() int { return len(w.packed) }

// Kinds are those of the packed matrices, sorted.
func (w *Weights) Kinds() []string {
	kinds := map[string]bool{}
	for _, m := range w.packed {
		kinds[m.kind] = true
	}
	return slices.Sorted(maps.Keys(kinds))
}

// DTypes are those that packed matrices become, sorted.
func (w *Weights) DTypes() (list []checkpoint.DType) {
	seen := map[checkpoint.DType]bool{}
	for _, m := range w.packed {
		seen[m.dtype] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// Entries are all weights, unpacked when they are written, in the order in which they are stored.
func (w *Weights) Entries(ctx context.Context) (list []checkpoint.Entry) {
	for _, info := range w.c.Stored() {
		m := w.packed[info.Name]
		switch {
		case w.parts[info.Name]:
		case m == nil:
			e, _ := w.c.Entry(info.Name) // it is stored
			list = append(list, e)
		default:
			list = append(list, checkpoint.Entry{Name: m.name, DType: m.dtype, Shape: m.shape, Fill: func(to checkpoint.Section) error { return m.fill(ctx, to) }})
		}
	}
	return list
}

// fill unpacks block by block, several at a time.
func (m *matrix) fill(ctx context.Context, to checkpoint.Section) error {
	const block = 1 << 16
	n, size := m.len(), int(m.dtype.Size())
	return kernel.ParallelErr(ctx, (n+block-1)/block, func(i int) error {
		lo, hi := i*block, min(n, (i+1)*block)
		x, b := make([]float32, hi-lo), make([]byte, (hi-lo)*size)
		m.read(x, lo)
		checkpoint.Encode(b, x, m.dtype)
		_, err := to.WriteAt(b, int64(lo)*int64(size))
		return err
	})
}

// floats is a tensor of n numbers that belongs to a packed one; n < 0 means any number.
func (w *Weights) floats(name string, n int) ([]float32, error) {
	info, ok := w.c.Info(name)
	switch {
	case !ok:
		return nil, fmt.Errorf("%q is missing", name)
	case info.DType != checkpoint.F32:
		return nil, fmt.Errorf("%q is %s, want F32", name, info.DType)
	case n >= 0 && info.Len() != n:
		return nil, fmt.Errorf("%q has %d numbers, want %d", name, info.Len(), n)
	}
	w.parts[name] = true
	return w.c.Floats(name)
}

// bytes are those of a tensor, n of them.
func (w *Weights) bytes(name string, n int) ([]byte, error) {
	b, err := w.c.Bytes(name)
	if err != nil {
		return nil, fmt.Errorf("%q is missing", name)
	}
	if len(b) != n {
		return nil, fmt.Errorf("%q has %d bytes, want %d", name, len(b), n)
	}
	return b, nil
}
