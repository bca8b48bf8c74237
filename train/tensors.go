package train

import (
	"errors"
	"fmt"
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
	entries := make([]checkpoint.Entry, len(tensors))
	for i, t := range tensors {
		entries[i] = checkpoint.FromFloats(t.Name, []int{t.Rows, t.Cols}, t.Values)
	}
	return checkpoint.Write(path, entries, nil)
}
