package bnb

import (
	"encoding/json"
	"fmt"
	"math/bits"

	"github.com/graft-ml/graft/checkpoint"
)

// state is the JSON object beside a matrix of four bits.
type state struct {
	QuantType       string   `json:"quant_type"`
	BlockSize       int      `json:"blocksize"`
	DType           string   `json:"dtype"`
	Shape           []int    `json:"shape"`
	NestedBlockSize int      `json:"nested_blocksize"`
	NestedOffset    *float64 `json:"nested_offset"`
}

var dtypes = map[string]checkpoint.DType{"float32": checkpoint.F32, "float16": checkpoint.F16, "bfloat16": checkpoint.BF16}

// parseState reads and checks it; n is the number of numbers.
func parseState(b []byte, kind string) (s state, n int, err error) {
	if err := json.Unmarshal(b, &s); err != nil {
		return s, 0, fmt.Errorf("no JSON object: %w", err)
	}
	const most = 1 << 20 // of a block: bitsandbytes itself goes to 4096
	switch _, known := dtypes[s.DType]; {
	case kind != NF4 && kind != FP4:
		return s, 0, fmt.Errorf("kind is %q, want %s or %s", kind, NF4, FP4)
	case s.QuantType != kind:
		return s, 0, fmt.Errorf("quant_type is %q, want %q as in the name", s.QuantType, kind)
	case s.BlockSize < 1 || s.BlockSize > most:
		return s, 0, fmt.Errorf("blocksize is %d, want 1 to %d", s.BlockSize, most)
	case !known:
		return s, 0, fmt.Errorf("dtype is %q, want float32, float16 or bfloat16", s.DType)
	case len(s.Shape) == 0:
		return s, 0, fmt.Errorf("shape is missing")
	case s.NestedOffset != nil && (s.NestedBlockSize < 1 || s.NestedBlockSize > most):
		return s, 0, fmt.Errorf("nested_blocksize is %d, want 1 to %d", s.NestedBlockSize, most)
	}
	size := uint64(1)
	for _, d := range s.Shape {
		hi, lo := bits.Mul64(size, uint64(d))
		if d < 0 || hi != 0 || lo > 1<<48 {
			return s, 0, fmt.Errorf("shape %v is more than any memory holds", s.Shape)
		}
		size = lo
	}
	return s, int(size), nil
}

// four finds a matrix of four bits.
func (w *Weights) four(name, kind string) (*matrix, error) {
	mark := name + stateMark + kind
	text, err := w.c.Bytes(mark)
	if err != nil {
		return nil, err
	}
	w.parts[mark] = true
	s, n, err := parseState(text, kind)
	if err != nil {
		return nil, err
	}
	q, err := w.bytes(name, (n+1)/2)
	if err != nil {
		return nil, err
	}
	table, err := w.floats(name+".quant_map", 16)
	if err != nil {
		return nil, err
	}
	most, err := w.absmax(name, s, (n+s.BlockSize-1)/s.BlockSize)
	if err != nil {
		return nil, err
	}
	return &matrix{name: name, kind: kind, shape: s.Shape, dtype: dtypes[s.DType], read: func(dst []float32, lo int) { unpackFour(dst, q, table, most, lo, s.BlockSize) }}, nil
}

// absmax are the factors of the blocks.
func (w *Weights) absmax(name string, s state, blocks int) ([]float32, error) {
	if s.NestedOffset == nil {
		return w.floats(name+".absmax", blocks)
	}
	q, err := w.bytes(name+".absmax", blocks)
	if err != nil {
		return nil, err
	}
	w.parts[name+".absmax"] = true
	table, err := w.floats(name+".nested_quant_map", 256)
	if err != nil {
		return nil, err
	}
	outer, err := w.floats(name+".nested_absmax", (blocks+s.NestedBlockSize-1)/s.NestedBlockSize)
	if err != nil {
		return nil, err
	}
	x := make([]float32, blocks)
	for i := range x {
		product := table[q[i]] * outer[i/s.NestedBlockSize] // a variable of its own: each step is rounded
		x[i] = float32(product) + float32(*s.NestedOffset)
	}
	return x, nil
}

// unpackFour unpacks numbers lo and on.
func unpackFour(dst []float32, q []byte, table, most []float32, lo, block int) {
	for i := range dst {
		at := lo + i
		half := q[at/2] >> 4
		if at%2 == 1 {
			half = q[at/2] & 15
		}
		dst[i] = table[half] * most[at/block]
	}
}
