package checkpoint

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// maxRank is the most dimensions that torch gives a tensor.
const maxRank = 64

// strided is a tensor as torch pickles it, a view of a storage: element [i, j, …] is number offset + i·strides[0] +
// j·strides[1] + … of the storage. Offset and strides count elements.
type strided struct {
	storage        *storage
	dtype          DType
	offset         uint64
	shape, strides []uint64
}

// check compares the view with its storage and returns its size in bytes.
func (t *strided) check() (uint64, error) {
	if len(t.shape) != len(t.strides) {
		return 0, fmt.Errorf("shape %v and strides %v, want as many strides as dimensions", t.shape, t.strides)
	}
	size, ok := byteSize(t.dtype, t.shape)
	if !ok {
		return 0, fmt.Errorf("shape %v of %s is more than any memory holds", t.shape, t.dtype)
	}
	room := uint64(t.storage.size()) / t.dtype.Size()
	end, ok := t.end(size)
	if !ok || end > room {
		return 0, fmt.Errorf("shape %v with strides %v from %d leads out of its storage of %d", t.shape, t.strides, t.offset, room)
	}
	return size, nil
}

// end is one past the last element that the view visits; false if no number holds it.
func (t *strided) end(size uint64) (uint64, bool) {
	end := t.offset
	if size == 0 {
		return end, true
	}
	for i, n := range t.shape {
		hi, step := bits.Mul64(n-1, t.strides[i])
		sum, carry := bits.Add64(end, step, 0)
		if hi != 0 || carry != 0 {
			return 0, false
		}
		end = sum
	}
	end, carry := bits.Add64(end, 1, 0)
	return end, carry == 0
}

// contiguous tells whether the elements lie one after the other, the last dimension first. The stride of a dimension of one does not
// matter.
func (t *strided) contiguous() bool {
	want := uint64(1)
	for i := len(t.shape) - 1; i >= 0; i-- {
		if t.shape[i] > 1 && t.strides[i] != want {
			return false
		}
		want *= t.shape[i]
	}
	return true
}

// distinct checks that the view visits no element twice, which would let a small file stand for a large tensor: from the smallest
// stride upwards, each is larger than all that the smaller ones reach.
func (t *strided) distinct() error {
	order := make([]int, len(t.shape))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(t.strides[a], t.strides[b]) })
	reach := uint64(0)
	for _, i := range order {
		if t.shape[i] <= 1 {
			continue
		}
		if t.strides[i] <= reach {
			return fmt.Errorf("shape %v with strides %v has elements at the same place, want each at its own", t.shape, t.strides)
		}
		reach += (t.shape[i] - 1) * t.strides[i]
	}
	return nil
}

// gather copies the elements in their order. The view has been checked; it has elements and is not contiguous.
func (t *strided) gather(data []byte) []byte {
	size, dims := int(t.dtype.Size()), len(t.shape)
	piece := size
	if t.strides[dims-1] == 1 { // whole rows
		dims--
		piece *= int(t.shape[dims])
	}
	total, _ := byteSize(t.dtype, t.shape)
	out := make([]byte, 0, total)
	at := int(t.storage.at) + int(t.offset)*size
	index := make([]uint64, dims)
	for {
		out = append(out, data[at:at+piece]...)
		d := dims - 1
		for ; d >= 0; d-- { // the next index, as an odometer counts
			index[d]++
			at += int(t.strides[d]) * size
			if index[d] < t.shape[d] {
				break
			}
			at -= int(t.shape[d]*t.strides[d]) * size
			index[d] = 0
		}
		if d < 0 {
			return out
		}
	}
}
