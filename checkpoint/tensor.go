package checkpoint

import (
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	// gorgonia.org/tensor refuses to start on a runtime it does not know unless this module vouches for it.
	_ "go4.org/unsafe/assume-no-moving-gc"
	"gorgonia.org/tensor"
)

// Frozen is a matrix for products, in place in the file's dtype: F32, F16 or BF16. A vector of n is a matrix [1, n]. The
// shape is the file's.
func (c *Checkpoint) Frozen(name string) (*kernel.Frozen, []int, error) {
	t, err := c.at(name)
	if err != nil {
		return nil, nil, err
	}
	rows, cols := 1, 1
	switch len(t.Shape) {
	case 0:
	case 1:
		cols = t.Shape[0]
	case 2:
		rows, cols = t.Shape[0], t.Shape[1]
	default:
		return nil, nil, c.errorf(t, "%v, want one or two dimensions", t.Shape)
	}
	shape := slices.Clone(t.Shape)
	switch t.DType {
	case F32:
		return kernel.FrozenF32(view[float32](t.data), rows, cols), shape, nil
	case F16:
		return kernel.FrozenU16(view[uint16](t.data), kernel.F16, rows, cols), shape, nil
	case BF16:
		return kernel.FrozenU16(view[uint16](t.data), kernel.BF16, rows, cols), shape, nil
	}
	return nil, nil, c.errorf(t, "%s, want F32, F16 or BF16", t.DType)
}

// Floats is a converted copy of a tensor of real numbers.
func (c *Checkpoint) Floats(name string) ([]float32, error) {
	t, err := c.at(name)
	if err != nil {
		return nil, err
	}
	if !IsFloat(t.DType) {
		return nil, c.errorf(t, "%s, want F32, F16, BF16 or F64", t.DType)
	}
	out := make([]float32, t.Len())
	Decode(out, t.data, t.DType)
	return out, nil
}

// Ints is a converted copy of a tensor of whole numbers or truth values.
func (c *Checkpoint) Ints(name string) ([]int, error) {
	t, err := c.at(name)
	if err != nil {
		return nil, err
	}
	switch t.DType {
	case Bool, U8:
		return ints[uint8](t.data), nil
	case I8:
		return ints[int8](t.data), nil
	case I16:
		return ints[int16](t.data), nil
	case U16:
		return ints[uint16](t.data), nil
	case I32:
		return ints[int32](t.data), nil
	case U32:
		return ints[uint32](t.data), nil
	case I64:
		return ints[int64](t.data), nil
	case U64:
		return ints[uint64](t.data), nil
	}
	return nil, c.errorf(t, "%s, want whole numbers", t.DType)
}

func ints[T number](b []byte) []int {
	v := view[T](b)
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out
}

// Tensor is the tensor at rest: any rank, in place. F16 and BF16 come as the uint16 of their bits, truth values as bytes.
// It aliases the mapping: read it, never write to it.
func (c *Checkpoint) Tensor(name string) (*tensor.Dense, error) {
	t, err := c.at(name)
	if err != nil {
		return nil, err
	}
	if t.Size == 0 {
		return nil, c.errorf(t, "%v, want at least one element", t.Shape)
	}
	var data any
	switch t.DType {
	case Bool, U8:
		data = view[uint8](t.data)
	case I8:
		data = view[int8](t.data)
	case I16:
		data = view[int16](t.data)
	case U16, F16, BF16:
		data = view[uint16](t.data)
	case I32:
		data = view[int32](t.data)
	case U32:
		data = view[uint32](t.data)
	case F32:
		data = view[float32](t.data)
	case F64:
		data = view[float64](t.data)
	case I64:
		data = view[int64](t.data)
	case U64:
		data = view[uint64](t.data)
	}
	return tensor.New(tensor.WithShape(t.Shape...), tensor.WithBacking(data)), nil
}
