package train

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/graft-ml/graft/internal/atomicfile"
	"io"
	"slices"

	"github.com/graft-ml/graft/checkpoint"
)

// readTensors reads a float32 safetensors file into tensors that must be exactly those of the file.
func readTensors(path string, into []StateTensor) error {
	c, err := checkpoint.OpenFile(path)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	defer c.Close()
	var errs []error
	wanted := map[string]bool{}
	for _, t := range into {
		wanted[t.Name] = true
		info, ok := c.Info(t.Name)
		if want := []int{t.Rows, t.Cols}; !ok {
			errs = append(errs, fmt.Errorf("train: %s: tensor %q is missing", path, t.Name))
		} else if !slices.Equal(info.Shape, want) || info.DType != checkpoint.F32 {
			errs = append(errs, fmt.Errorf("train: %s: tensor %q is %v %v, want F32 %v", path, t.Name, info.DType, info.Shape, want))
		}
	}
	for _, name := range c.Names() {
		if !wanted[name] {
			errs = append(errs, fmt.Errorf("train: %s: tensor %q is unexpected", path, name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, t := range into {
		values, err := c.Floats(t.Name)
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
		copy(t.Values, values)
	}
	return nil
}

// writeTensors writes a float32 safetensors file.
func writeTensors(path string, tensors []StateTensor) error {
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	n := 0
	for _, t := range tensors {
		header[t.Name] = map[string]any{"dtype": "F32", "shape": []int{t.Rows, t.Cols}, "data_offsets": []int{n, n + 4*len(t.Values)}}
		n += 4 * len(t.Values)
	}
	h, err := json.Marshal(header)
	if err != nil {
		return err
	}
	for len(h)%8 != 0 {
		h = append(h, ' ')
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		b := binary.LittleEndian.AppendUint64(nil, uint64(len(h)))
		w.Write(append(b, h...))
		for _, t := range tensors {
			if err := binary.Write(w, binary.LittleEndian, t.Values); err != nil {
				return err
			}
		}
		return nil
	})
}
