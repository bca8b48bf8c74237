package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Limits of what llama.cpp accepts.
const (
	maxDims = 4
	maxName = 63    // bytes of a tensor's name
	maxKey  = 65535 // bytes of a key
)

// ErrFormat is what errors.Is finds in every error of Parse.
var ErrFormat = errors.New("bad GGUF file")

// formatError is ErrFormat without saying so.
type formatError struct{ error }

func (e formatError) Is(target error) bool { return target == ErrFormat }
func (e formatError) Unwrap() error        { return e.error }

// Parse reads a whole file. The tensors alias data. It is as strict as llama.cpp: nothing twice, tensors end to end in the order of
// the table, nothing after the last but padding.
func Parse(data []byte) (*File, error) {
	r := &reader{data: data}
	f, err := r.file()
	if err != nil {
		return nil, formatError{fmt.Errorf("gguf: %w", err)}
	}
	return f, nil
}

// reader walks a file.
type reader struct {
	data []byte
	at   int
}

func (r *reader) take(n int) ([]byte, error) {
	if n < 0 || n > len(r.data)-r.at {
		return nil, fmt.Errorf("file is cut off: %d bytes at %d, of which %d are there", n, r.at, len(r.data)-r.at)
	}
	b := r.data[r.at : r.at+n : r.at+n]
	r.at += n
	return b, nil
}

func (r *reader) u32() (uint32, error) {
	b, err := r.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (r *reader) u64() (uint64, error) {
	b, err := r.take(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// count reads a number of things that take at least so many bytes each, so that no file makes us allocate more than it is long.
func (r *reader) count(size int, what string) (int, error) {
	n, err := r.u64()
	if err != nil {
		return 0, err
	}
	if left := len(r.data) - r.at; n > uint64(left/size) {
		return 0, fmt.Errorf("file is cut off: %d %s at %d, with %d bytes left", n, what, r.at, left)
	}
	return int(n), nil
}

func (r *reader) text() (string, error) {
	n, err := r.count(1, "characters")
	if err != nil {
		return "", err
	}
	b, err := r.take(n)
	return string(b), err
}

func (r *reader) file() (*File, error) {
	tensors, pairs, err := r.head()
	if err != nil {
		return nil, err
	}
	f := &File{}
	seen := map[string]bool{}
	for range pairs {
		p, err := r.pair()
		if err != nil {
			return nil, err
		}
		if seen[p.Key] {
			return nil, fmt.Errorf("key %q is there twice", p.Key)
		}
		seen[p.Key] = true
		f.Pairs = append(f.Pairs, p)
	}
	return f, r.tensors(f, tensors)
}

// head reads the counts.
func (r *reader) head() (tensors, pairs int, err error) {
	magic, err := r.take(len(Magic))
	if err != nil {
		return 0, 0, err
	}
	if string(magic) != Magic {
		return 0, 0, fmt.Errorf("file begins with %q, want %q", magic, Magic)
	}
	version, err := r.u32()
	switch {
	case err != nil:
		return 0, 0, err
	case version&0xffff == 0 && version != 0:
		return 0, 0, errors.New("numbers are big-endian, want little-endian")
	case version != 2 && version != Version:
		return 0, 0, fmt.Errorf("version is %d, want 2 or %d", version, Version)
	}
	const smallestTensor, smallestPair = 8 + 4 + 4 + 8, 8 + 4 + 1
	if tensors, err = r.count(smallestTensor, "tensors"); err != nil {
		return 0, 0, err
	}
	pairs, err = r.count(smallestPair, "keys")
	return tensors, pairs, err
}

func (r *reader) pair() (p Pair, err error) {
	if p.Key, err = r.text(); err != nil {
		return p, err
	}
	if n := len(p.Key); n == 0 || n > maxKey {
		return p, fmt.Errorf("a key has %d characters, want 1 to %d", n, maxKey)
	}
	if p.Value, err = r.value(); err != nil {
		return p, fmt.Errorf("key %q: %w", p.Key, err)
	}
	return p, nil
}

// tensors reads the table of tensors and finds their bytes.
func (r *reader) tensors(f *File, n int) error {
	align, err := f.alignment()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	offsets := make([]uint64, n)
	for i := range n {
		t, offset, err := r.tensor()
		if err != nil {
			return err
		}
		if seen[t.Name] {
			return fmt.Errorf("tensor %q is there twice", t.Name)
		}
		seen[t.Name], offsets[i] = true, offset
		f.Tensors = append(f.Tensors, t)
	}
	if n == 0 {
		return r.end(align)
	}
	if _, err := r.take(-r.at & (align - 1)); err != nil {
		return err
	}
	start := r.at
	for i := range f.Tensors {
		t := &f.Tensors[i]
		if pad := -r.at & (align - 1); i > 0 {
			if _, err := r.take(pad); err != nil {
				return fmt.Errorf("tensor %q: %w", t.Name, err)
			}
		}
		if got, want := offsets[i], uint64(r.at-start); got != want {
			return fmt.Errorf("tensor %q: offset is %d, want %d", t.Name, got, want)
		}
		size, _ := t.Type.size(t.Shape) // checked by tensor
		if t.Data, err = r.take(size); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	return r.end(align)
}

// end wants nothing but padding.
func (r *reader) end(align int) error {
	if left := len(r.data) - r.at; left >= align {
		return fmt.Errorf("%d bytes after the end", left)
	}
	return nil
}

func (r *reader) tensor() (t Tensor, offset uint64, err error) {
	if t.Name, err = r.text(); err != nil {
		return t, 0, err
	}
	if n := len(t.Name); n == 0 || n > maxName {
		return t, 0, fmt.Errorf("tensor %.80q has a name of %d characters, want 1 to %d", t.Name, n, maxName)
	}
	dims, err := r.u32()
	if err != nil {
		return t, 0, err
	}
	if dims > maxDims {
		return t, 0, fmt.Errorf("tensor %q has %d dimensions, want at most %d", t.Name, dims, maxDims)
	}
	for range dims {
		d, err := r.u64()
		if err != nil {
			return t, 0, err
		}
		if d > 1<<48 {
			return t, 0, fmt.Errorf("tensor %q has a dimension of %d, want at most %d", t.Name, d, uint64(1)<<48)
		}
		t.Shape = append(t.Shape, int(d))
	}
	slices.Reverse(t.Shape)
	typ, err := r.u32()
	if err != nil {
		return t, 0, err
	}
	t.Type = Type(typ)
	if _, err := t.Type.size(t.Shape); err != nil {
		return t, 0, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	offset, err = r.u64()
	return t, offset, err
}
