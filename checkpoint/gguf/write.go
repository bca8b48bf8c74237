package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// WriteFile writes the file under its final name when it is whole.
func (f *File) WriteFile(path string) error {
	head, align, err := f.head()
	if err != nil {
		return fmt.Errorf("gguf: %s: %w", path, err)
	}
	return atomicfile.Write(path, func(w io.Writer) error { return f.write(w, head, align) })
}

// Write writes the file: keys and tensors in their order. Equal files have equal bytes.
func (f *File) Write(w io.Writer) error {
	head, align, err := f.head()
	if err != nil {
		return fmt.Errorf("gguf: %w", err)
	}
	return f.write(w, head, align)
}

func (f *File) write(w io.Writer, head []byte, align int) error {
	zeros := make([]byte, align)
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range f.Tensors {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
		if _, err := w.Write(zeros[:-len(t.Data)&(align-1)]); err != nil {
			return err
		}
	}
	return nil
}

// head is everything before the tensors' bytes, checked.
func (f *File) head() ([]byte, int, error) {
	align, err := f.alignment()
	if err != nil {
		return nil, 0, err
	}
	b := binary.LittleEndian.AppendUint32([]byte(Magic), Version)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(f.Tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(f.Pairs)))
	seen := map[string]bool{}
	for _, p := range f.Pairs {
		if n := len(p.Key); n == 0 || n > maxKey || seen[p.Key] {
			return nil, 0, fmt.Errorf("key %.80q is empty, too long or there twice", p.Key)
		}
		seen[p.Key] = true
		if b, err = appendValue(appendText(b, p.Key), p.Value); err != nil {
			return nil, 0, fmt.Errorf("key %q: %w", p.Key, err)
		}
	}
	clear(seen)
	at := 0
	for i := range f.Tensors {
		t := &f.Tensors[i]
		if err := t.check(); err != nil {
			return nil, 0, err
		}
		if seen[t.Name] {
			return nil, 0, fmt.Errorf("tensor %q is there twice", t.Name)
		}
		seen[t.Name] = true
		b = t.appendInfo(b, at)
		at += len(t.Data) + -len(t.Data)&(align-1)
	}
	if len(f.Tensors) > 0 {
		b = append(b, make([]byte, -len(b)&(align-1))...)
	}
	return b, align, nil
}

// check holds a tensor to what the format can say.
func (t *Tensor) check() error {
	if n := len(t.Name); n == 0 || n > maxName {
		return fmt.Errorf("tensor %.80q has a name of %d characters, want 1 to %d", t.Name, n, maxName)
	}
	if len(t.Shape) > maxDims {
		return fmt.Errorf("tensor %q has %d dimensions, want at most %d", t.Name, len(t.Shape), maxDims)
	}
	n, err := t.Type.size(t.Shape)
	if err == nil && n != len(t.Data) {
		err = fmt.Errorf("%d bytes, want %d", len(t.Data), n)
	}
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return nil
}

// appendInfo writes the tensor's line of the table.
func (t *Tensor) appendInfo(b []byte, offset int) []byte {
	b = appendText(b, t.Name)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Shape)))
	for _, d := range slices.Backward(t.Shape) {
		b = binary.LittleEndian.AppendUint64(b, uint64(d))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Type))
	return binary.LittleEndian.AppendUint64(b, uint64(offset))
}
