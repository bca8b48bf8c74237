package peft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model/layer"
)

// Extra is a tensor that an adapter's file holds or may hold beside the parameters, and whose numbers are known: the weight of
// an adapted base layer, a second name of a shared parameter. A file in which it has other numbers is of another base.
type Extra struct {
	Name    string // with Prefix
	Of      string // whose numbers it has, for errors
	DType   checkpoint.DType
	Shape   []int
	Row     func(dst []float32, i int) // row i; a vector is one row
	Written bool                       // PEFT writes it; else it is only read
}

// Extended is an adapter with such tensors.
type Extended interface {
	Extras() []Extra
}

// dtypes of frozen weights as files have them. What is quantised in memory is not in files.
var dtypes = map[kernel.DType]checkpoint.DType{kernel.F32: checkpoint.F32, kernel.F16: checkpoint.F16, kernel.BF16: checkpoint.BF16,
	kernel.I8: checkpoint.F32, kernel.NF4: checkpoint.F32, kernel.Lossless: checkpoint.BF16}

// BaseWeight is the weight of an adapted slot, which PEFT calls "base_layer".
func BaseWeight(slot *layer.Slot, written bool) Extra {
	w := slot.Base.W
	return Extra{Name: Prefix + slot.Name + ".base_layer.weight", Of: "the base's " + slot.Name + ".weight", DType: dtypes[w.DType],
		Shape: []int{w.Rows, w.Cols}, Row: w.Row, Written: written}
}

// vectorExtra is a vector in float32.
func vectorExtra(name, of string, v []float32) Extra {
	return Extra{Name: name, Of: of, DType: checkpoint.F32, Shape: []int{len(v)}, Row: func(dst []float32, _ int) { copy(dst, v) }, Written: true}
}

// rowsOf reads the rows of a matrix.
func rowsOf(m kernel.Mat) func(dst []float32, i int) {
	return func(dst []float32, i int) { copy(dst, m.Row(i)) }
}

// dims are rows and columns; a vector is one row.
func (e Extra) dims() (rows, cols int) {
	if len(e.Shape) == 1 {
		return 1, e.Shape[0]
	}
	return e.Shape[0], e.Shape[1]
}

// entry is the tensor to be written.
func (e Extra) entry() checkpoint.Entry {
	return checkpoint.Entry{Name: e.Name, DType: e.DType, Shape: e.Shape, Fill: func(to checkpoint.Section) error {
		rows, cols := e.dims()
		row, b := make([]float32, cols), make([]byte, cols*int(e.DType.Size()))
		for i := range rows {
			e.Row(row, i)
			checkpoint.Encode(b, row, e.DType)
			if _, err := to.Write(b); err != nil {
				return err
			}
		}
		return nil
	}}
}

// checkExtra says whether a tensor of the file is one of the adapter's extras; it must then have their numbers.
func checkExtra(a Adapter, file *checkpoint.Checkpoint, key string) (mine bool, err error) {
	x, ok := a.(Extended)
	if !ok {
		return false, nil
	}
	for _, e := range x.Extras() {
		if e.Name == key || strings.TrimPrefix(e.Name, Prefix) == key {
			return true, e.compare(file, key)
		}
	}
	return false, nil
}

// compare reports the first row in which the file differs.
func (e Extra) compare(file *checkpoint.Checkpoint, key string) error {
	info, _ := file.Info(key)
	if !slices.Equal(info.Shape, e.Shape) {
		return fmt.Errorf("peft: %s: tensor %q is %v, want %v as %s", file.Path(), key, info.Shape, e.Shape, e.Of)
	}
	v, err := file.Floats(key)
	if err != nil {
		return err
	}
	rows, cols := e.dims()
	row := make([]float32, cols)
	for i := range rows {
		if e.Row(row, i); !slices.Equal(row, v[i*cols:(i+1)*cols]) {
			return fmt.Errorf("peft: %s: tensor %q differs from %s in row %d: the adapter was trained on another base", file.Path(), key, e.Of, i)
		}
	}
	return nil
}
