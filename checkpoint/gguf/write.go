package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// WriteFile writes the file under its final name when it is whole.
func (f *File) WriteFile(path string) error {
	head, align, err := f.head()
	if err != nil {
		return fmt.Errorf("gguf: %s: %w", path, err)
	}
	return atomicfile.WriteFile(path, func(file *os.File) error {
		if _, err := file.WriteAt(head, 0); err != nil {
			return err
		}
		at := int64(len(head))
		for i := range f.Tensors {
			t := &f.Tensors[i]
			n, err := t.Type.size(t.Shape)
			if err == nil {
				err = t.writeAt(file, at, int64(n))
			}
			if err != nil {
				return err
			}
			at += int64(n + -n&(align-1))
		}
		return file.Truncate(at) // the last padding
	})
}

// writeAt writes the n bytes of a tensor, wherever they come from.
func (t *Tensor) writeAt(w io.WriterAt, at, n int64) error {
	if t.Fill == nil {
		_, err := w.WriteAt(t.Data, at)
		return err
	}
	p := &place{w: w, at: at, size: n}
	if err := t.Fill(p); err != nil {
		return err
	}
	if got := p.written.Load(); got != n {
		return fmt.Errorf("gguf: tensor %q: %d bytes written, want %d", t.Name, got, n)
	}
	return nil
}

// place is the part of a file that a tensor may write to.
type place struct {
	w        io.WriterAt
	at, size int64
	written  atomic.Int64
}

func (p *place) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > p.size || int64(len(b)) > p.size-off {
		return 0, fmt.Errorf("gguf: %d bytes at %d of a tensor of %d", len(b), off, p.size)
	}
	n, err := p.w.WriteAt(b, p.at+off)
	p.written.Add(int64(n))
	return n, err
}

// Write writes the file: keys and tensors in their order. Equal files have equal bytes.
func (f *File) Write(w io.Writer) error {
	for _, t := range f.Tensors {
		if t.Fill != nil {
			return fmt.Errorf("gguf: tensor %q is made while a file is written: want WriteFile", t.Name)
		}
	}
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
		if seen[t.Name] {
			return nil, 0, fmt.Errorf("tensor %q is there twice", t.Name)
		}
		seen[t.Name] = true
		n, err := t.check()
		if err != nil {
			return nil, 0, err
		}
		b = t.appendInfo(b, at)
		at += n + -n&(align-1)
	}
	if len(f.Tensors) > 0 {
		b = append(b, make([]byte, -len(b)&(align-1))...)
	}
	return b, align, nil
}

// check holds a tensor to what the format can say and gives its size.
func (t *Tensor) check() (int, error) {
	if n := len(t.Name); n == 0 || n > maxName {
		return 0, fmt.Errorf("tensor %.80q has a name of %d characters, want 1 to %d", t.Name, n, maxName)
	}
	if len(t.Shape) > maxDims {
		return 0, fmt.Errorf("tensor %q has %d dimensions, want at most %d", t.Name, len(t.Shape), maxDims)
	}
	n, err := t.Type.size(t.Shape)
	if err == nil && t.Fill == nil && n != len(t.Data) {
		err = fmt.Errorf("%d bytes, want %d", len(t.Data), n)
	}
	if err != nil {
		return 0, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return n, nil
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
