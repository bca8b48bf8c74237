package llamacpp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model"
)

// Import is the way back of Export: the weights of a file under Hugging Face's names, in float32, unpacked when they are written. What
// Export did to rows, norms and shapes is undone. config is that of the model that the file was made of.
func Import(ctx context.Context, f *gguf.File, config *model.Config) ([]checkpoint.Entry, error) {
	list, err := imported(ctx, f, config)
	return list, wrap(err)
}

func imported(ctx context.Context, f *gguf.File, config *model.Config) ([]checkpoint.Entry, error) {
	name, err := f.String(KeyArch)
	if err != nil {
		return nil, err
	}
	x, err := ArchNamed(name, config)
	if err != nil {
		return nil, err
	}
	if kind, err := f.String(KeyType); err == nil && kind != "model" {
		return nil, fmt.Errorf("%s is %q, want model", KeyType, kind)
	}
	if x.whole == nil {
		return nil, fmt.Errorf("whole models of llama.cpp's %s are not known", name)
	}
	var list []checkpoint.Entry
	var errs []error
	for i := range f.Tensors {
		t := &f.Tensors[i]
		if strings.HasPrefix(t.Name, "rope_") {
			continue // computed from config.json
		}
		e, err := x.entry(ctx, t, config)
		list, errs = append(list, e...), append(errs, err)
	}
	return list, errors.Join(errs...)
}

// entry is one tensor of the file.
func (x *Arch) entry(ctx context.Context, t *gguf.Tensor, config *model.Config) ([]checkpoint.Entry, error) {
	stem, end := t.Name, ""
	for _, e := range []string{".weight", ".bias"} {
		if s, ok := strings.CutSuffix(t.Name, e); ok {
			stem, end = s, e
		}
	}
	module, ok := x.module(stem, slices.Concat(x.ends, x.whole.ends), slices.Concat(x.parts, x.whole.parts))
	switch {
	case !ok || end == "":
		return nil, fmt.Errorf("tensor %q is no part of llama.cpp's %s", t.Name, x.Name)
	case len(t.Shape) != 1 && len(t.Shape) != 2:
		return nil, fmt.Errorf("tensor %q is %v, want a matrix or a vector", t.Name, t.Shape)
	}
	u := &unpacked{Tensor: t, rows: t.Shape[0], cols: 1, heads: x.Heads(stem, config)}
	shape := slices.Clone(t.Shape)
	if len(shape) == 2 {
		u.cols = shape[1]
	}
	if x.whole.conv1D && strings.HasPrefix(stem, "blk.") && len(shape) == 2 {
		slices.Reverse(shape)
		u.turned = true
	}
	if x.whole.plusOne && strings.HasSuffix(stem, "_norm") {
		u.plus = -1
	}
	if u.heads > 0 && u.rows%(2*u.heads) != 0 {
		return nil, fmt.Errorf("tensor %q has %d rows, which %d heads of even size do not share", t.Name, u.rows, u.heads)
	}
	if _, err := t.Type.Size([]int{u.cols}); len(shape) == 2 && err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return []checkpoint.Entry{{Name: module + end, DType: checkpoint.F32, Shape: shape, Fill: func(w checkpoint.Section) error {
		if err := u.fill(ctx, w); err != nil {
			return fmt.Errorf("llamacpp: tensor %q: %w", t.Name, err)
		}
		return nil
	}}}, nil
}

// unpacked is a tensor on its way back.
type unpacked struct {
	*gguf.Tensor
	rows, cols int
	heads      int // whose rows were permuted; 0 = none
	turned     bool
	plus       float32
}

// fill writes it: in blocks of rows, or whole where it must be turned.
func (u *unpacked) fill(ctx context.Context, w checkpoint.Section) error {
	unit := 1
	switch {
	case len(u.Shape) == 1 || u.turned:
		unit = u.rows
	case u.heads > 0:
		unit = u.rows / u.heads
	}
	step := max(1, unit*max(1, blockNumbers/max(1, unit*u.cols)))
	return kernel.ParallelErr(ctx, (u.rows+step-1)/step, func(i int) error {
		lo, hi := i*step, min(u.rows, (i+1)*step)
		x, err := u.read(lo, hi)
		if err != nil {
			return err
		}
		b := make([]byte, 4*len(x))
		checkpoint.Encode(b, u.arrange(x, (hi-lo)*u.heads/u.rows), checkpoint.F32)
		_, err = w.WriteAt(b, int64(lo)*int64(u.cols)*4)
		return err
	})
}

// read decodes rows lo to hi; of a vector all.
func (u *unpacked) read(lo, hi int) ([]float32, error) {
	x := make([]float32, (hi-lo)*u.cols)
	data := u.Data
	if len(u.Shape) == 2 {
		size, err := u.Type.Size([]int{u.cols})
		if err != nil {
			return nil, err
		}
		data = data[lo*size : hi*size]
	}
	return x, u.Type.Decode(x, data)
}

// arrange puts a block of so many heads into Hugging Face's order.
func (u *unpacked) arrange(x []float32, heads int) []float32 {
	y := x
	switch {
	case u.heads > 0:
		y = make([]float32, len(x))
		Permute(y, x, heads, u.cols, true)
	case u.turned:
		y = make([]float32, len(x))
		for i := range u.rows {
			for j := range u.cols {
				y[j*u.rows+i] = x[i*u.cols+j]
			}
		}
	}
	if u.plus != 0 {
		for i := range y {
			y[i] += u.plus
		}
	}
	return y
}
