package peft

import (
	"fmt"
	"slices"

	"github.com/graft-ml/graft/checkpoint"
)

// Buffer is a tensor of an adapter's file that belongs to the adapter but is not trained: random projections that were drawn
// once, places of a sparse change.
type Buffer struct {
	Name    string // with Prefix
	Shape   []int
	Data    []float32 // filled from the file
	Ints    []int     // instead of Data: whole numbers
	Int64   bool      // these are stored in 64 bits, else in 32
	Aliases []string  // other names under which the file has the same tensor
	// Optional says that the file need not have it: the settings say how it was drawn, or PEFT writes it only if asked to.
	Optional bool
	// Check, if set, reports numbers from a file that cannot be.
	Check func() error
	// Hidden says that it is read but not written.
	Hidden bool
}

// Buffered is an adapter with buffers.
type Buffered interface {
	Buffers() []*Buffer
}

// fillBuffers reads the buffers of an adapter file and returns the names of the tensors that are theirs.
func fillBuffers(a Adapter, file *checkpoint.Checkpoint, allow Allow) (mine []string, errs []error) {
	x, ok := a.(Buffered)
	if !ok {
		return nil, nil
	}
	for _, b := range x.Buffers() {
		key, ok := lookup(a, file, b.Name)
		if !ok {
			if !allow.Missing && !b.Optional {
				errs = append(errs, fmt.Errorf("peft: %s: tensor %q is missing", file.Path(), b.Name))
			}
			continue
		}
		mine = append(mine, key)
		if err := b.fill(file, key, allow); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, alias := range b.Aliases {
			if key, ok := lookup(a, file, alias); ok {
				mine = append(mine, key)
				errs = append(errs, b.compare(file, key))
			}
		}
	}
	return mine, slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

func (b *Buffer) fill(file *checkpoint.Checkpoint, key string, allow Allow) error {
	info, _ := file.Info(key)
	if !slices.Equal(info.Shape, b.Shape) {
		return fmt.Errorf("peft: %s: tensor %q is %v, want %v", file.Path(), key, info.Shape, b.Shape)
	}
	if b.Ints != nil {
		v, err := file.Ints(key)
		copy(b.Ints, v)
		if err == nil && b.Check != nil {
			if err = b.Check(); err != nil {
				err = fmt.Errorf("peft: %s: tensor %q: %w", file.Path(), key, err)
			}
		}
		return err
	}
	if i, not := file.FirstNonFinite(key); not && !allow.NonFinite {
		return fmt.Errorf("peft: %s: tensor %q has at %d no finite number", file.Path(), key, i)
	}
	v, err := file.Floats(key)
	copy(b.Data, v)
	return err
}

// compare reports an alias with other numbers.
func (b *Buffer) compare(file *checkpoint.Checkpoint, key string) error {
	other := *b
	other.Data, other.Ints = slices.Clone(b.Data), slices.Clone(b.Ints)
	if err := other.fill(file, key, Allow{NonFinite: true}); err != nil {
		return err
	}
	if !slices.Equal(other.Data, b.Data) || !slices.Equal(other.Ints, b.Ints) {
		return fmt.Errorf("peft: %s: tensor %q differs from %q, want the same numbers", file.Path(), key, b.Name)
	}
	return nil
}

// entries are the tensors to be written.
func (b *Buffer) entries() (list []checkpoint.Entry) {
	if b.Hidden {
		return nil
	}
	for _, name := range append([]string{b.Name}, b.Aliases...) {
		switch {
		case b.Ints == nil:
			list = append(list, checkpoint.FromFloats(name, b.Shape, b.Data))
		case b.Int64:
			list = append(list, checkpoint.FromBytes(name, checkpoint.I64, b.Shape, littleEndian(b.Ints, 8)))
		default:
			list = append(list, checkpoint.FromBytes(name, checkpoint.I32, b.Shape, littleEndian(b.Ints, 4)))
		}
	}
	return list
}

// littleEndian writes whole numbers in so many bytes each.
func littleEndian(v []int, size int) []byte {
	b := make([]byte, 0, len(v)*size)
	for _, n := range v {
		for k := range size {
			b = append(b, byte(uint64(n)>>(8*k)))
		}
	}
	return b
}
