package checkpoint

import (
	"fmt"

	"github.com/graft-ml/graft/internal/pickle"
)

// torchDType is a dtype that a tensor states because its storage does not.
type torchDType DType

// torchGlobals are all names that the pickle of a state dict may refer to, besides OrderedDict.
var torchGlobals = map[string]any{
	"torch._utils._rebuild_tensor_v2": pickle.Func(rebuildTensor),
	"torch._utils._rebuild_tensor_v3": pickle.Func(rebuildUntyped),
	"torch._utils._rebuild_parameter": pickle.Func(rebuildParameter),

	"torch.FloatStorage":    storageType{dtype: F32},
	"torch.HalfStorage":     storageType{dtype: F16},
	"torch.BFloat16Storage": storageType{dtype: BF16},
	"torch.DoubleStorage":   storageType{dtype: F64},
	"torch.LongStorage":     storageType{dtype: I64},
	"torch.IntStorage":      storageType{dtype: I32},
	"torch.ShortStorage":    storageType{dtype: I16},
	"torch.CharStorage":     storageType{dtype: I8},
	"torch.ByteStorage":     storageType{dtype: U8},
	"torch.BoolStorage":     storageType{dtype: Bool},

	"torch.storage.UntypedStorage": storageType{dtype: U8, untyped: true},
	"torch.uint16":                 torchDType(U16),
	"torch.uint32":                 torchDType(U32),
	"torch.uint64":                 torchDType(U64),
}

// rebuildTensor is
//
//	_rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks[, metadata])
func rebuildTensor(args pickle.Tuple) (any, error) {
	if len(args) < 6 || len(args) > 7 {
		return nil, fmt.Errorf("tensor of %d arguments, want 6 or 7", len(args))
	}
	s, ok := args[0].(*storage)
	if !ok || s.untyped {
		return nil, fmt.Errorf("tensor in %s, want a storage with a dtype", pickle.Describe(args[0]))
	}
	return newStrided(s, s.dtype, args[1:4], args[5:])
}

// rebuildUntyped is, for the dtypes that have no class of storages,
//
//	_rebuild_tensor_v3(storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype[, metadata])
func rebuildUntyped(args pickle.Tuple) (any, error) {
	if len(args) < 7 || len(args) > 8 {
		return nil, fmt.Errorf("tensor of %d arguments, want 7 or 8", len(args))
	}
	s, ok1 := args[0].(*storage)
	d, ok2 := args[6].(torchDType)
	if !ok1 || !ok2 || !s.untyped {
		return nil, fmt.Errorf("tensor of %s in %s, want a dtype and a storage without", pickle.Describe(args[6]), pickle.Describe(args[0]))
	}
	return newStrided(s, DType(d), args[1:4], append(pickle.Tuple{args[5]}, args[7:]...))
}

// rebuildParameter is _rebuild_parameter(data, requires_grad, backward_hooks).
func rebuildParameter(args pickle.Tuple) (any, error) {
	if len(args) != 3 {
		return nil, fmt.Errorf("parameter of %d arguments, want 3", len(args))
	}
	t, ok := args[0].(*strided)
	if !ok {
		return nil, fmt.Errorf("parameter is %s, want a tensor", pickle.Describe(args[0]))
	}
	return t, empty(args[2:])
}

// newStrided makes a tensor of offset, size and stride. What comes with it, hooks and metadata, must be empty: metadata is how
// torch says that the numbers are not to be taken as they are.
func newStrided(s *storage, d DType, place, extra pickle.Tuple) (any, error) {
	t := &strided{storage: s, dtype: d}
	offset, err := wholes("storage_offset", pickle.Tuple{place[0]})
	if err != nil {
		return nil, err
	}
	t.offset = offset[0]
	if t.shape, err = wholes("size", place[1]); err != nil {
		return nil, err
	}
	if t.strides, err = wholes("stride", place[2]); err != nil {
		return nil, err
	}
	return t, empty(extra)
}

// empty checks that dicts have nothing in them.
func empty(extra pickle.Tuple) error {
	for _, v := range extra {
		if d, ok := v.(*pickle.Dict); v != nil && (!ok || len(d.Keys) > 0) {
			return fmt.Errorf("tensor with %s beside its numbers, want hooks and metadata empty", pickle.Describe(v))
		}
	}
	return nil
}

// wholes is a tuple of whole numbers that are not negative.
func wholes(what string, v any) ([]uint64, error) {
	t, ok := v.(pickle.Tuple)
	if !ok {
		return nil, fmt.Errorf("%s is %s, want a tuple", what, pickle.Describe(v))
	}
	if len(t) > maxRank {
		return nil, fmt.Errorf("%s has %d numbers, want at most %d", what, len(t), maxRank)
	}
	out := make([]uint64, len(t))
	for i, x := range t {
		n, ok := x.(int64)
		if !ok {
			return nil, fmt.Errorf("%s has %s, want whole numbers", what, pickle.Describe(x))
		}
		if n < 0 {
			return nil, fmt.Errorf("%s has %d, want at least 0", what, n)
		}
		out[i] = uint64(n)
	}
	return out, nil
}
