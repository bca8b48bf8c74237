// Package gguf reads and writes GGUF files, the format of llama.cpp: keys with values, and tensors.
//
//	f, err := gguf.Parse(data)
//	if err != nil {
//		return err
//	}
//	arch, _ := f.String("general.architecture")
//	for _, t := range f.Tensors {
//		x, err := t.Floats() // float32, whatever the file has
//		…
//	}
//
// # The format
//
// Everything is little-endian. A string is 8 bytes of length and its bytes.
//
//	"GGUF"
//	u32   version: 3; 2 is laid out alike and read, too
//	u64   number of tensors
//	u64   number of keys
//	keys: string key, u32 type of value, value; an array is u32 type of its elements, u64 their number, the elements
//	tensors: string name, u32 number of dimensions, u64 dimensions from the fastest to the slowest, u32 type, u64 offset
//	padding to a multiple of general.alignment (32 where the key is not there)
//	the tensors' bytes, each padded likewise; offsets count from the first one's
//
// A Tensor's Shape is in row-major order, as everywhere else in graft: the reverse of the file's.
//
// How numbers are packed in blocks is said in quant.go and quantk.go.
//
// Words: a type of tensors (Type) says how numbers are packed, in blocks for the quantised ones; a kind says what a value is.
package gguf

import (
	"fmt"
	"io"
	"slices"
)

// Magic begins every file.
const Magic = "GGUF"

// Version is what is written.
const Version = 3

// alignmentKey is the key that says to multiples of what tensors are padded.
const alignmentKey = "general.alignment"

// File is what a file holds.
type File struct {
	Pairs   []Pair
	Tensors []Tensor
}

// Pair is a key with its value: a bool, string, float32, float64, a whole number of 8 to 64 bits, or a slice of one of these.
type Pair struct {
	Key   string
	Value any
}

// Tensor is a named array of numbers.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int  // row-major
	Data  []byte // as in the file; aliases what was parsed

	// Fill writes the tensor's bytes in place of Data, in any order and from several goroutines if it likes; for files larger than memory.
	// Only WriteFile calls it, for one tensor after the other.
	Fill func(w io.WriterAt) error
}

// Get is the value of a key.
func (f *File) Get(key string) (any, bool) {
	i := slices.IndexFunc(f.Pairs, func(p Pair) bool { return p.Key == key })
	if i < 0 {
		return nil, false
	}
	return f.Pairs[i].Value, true
}

// String is the value of a key that is a string.
func (f *File) String(key string) (string, error) { return valueOf[string](f, key, "a string") }

// Float is the value of a key that is a float32.
func (f *File) Float(key string) (float32, error) { return valueOf[float32](f, key, "a float32") }

func valueOf[T any](f *File, key, want string) (v T, err error) {
	any, ok := f.Get(key)
	if !ok {
		return v, fmt.Errorf("gguf: key %q is missing, want %s", key, want)
	}
	if v, ok = any.(T); !ok {
		return v, fmt.Errorf("gguf: key %q is %s, want %s", key, shown(any), want)
	}
	return v, nil
}

// shown is a value as errors have it.
func shown(v any) string {
	return fmt.Sprintf("%.60s", fmt.Sprint(v))
}

// alignment of the tensors' bytes.
func (f *File) alignment() (int, error) {
	v, ok := f.Get(alignmentKey)
	if !ok {
		return 32, nil
	}
	n, ok := v.(uint32)
	if !ok || n < 8 || n > 1<<20 || n&(n-1) != 0 {
		return 0, fmt.Errorf("key %q is %s, want a power of two from 8 to %d as a uint32", alignmentKey, shown(v), 1<<20)
	}
	return int(n), nil
}

// Len is the number of numbers.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Floats are the numbers of the tensor, converted.
func (t *Tensor) Floats() ([]float32, error) {
	x := make([]float32, t.Len())
	if err := t.Type.Decode(x, t.Data); err != nil {
		return nil, fmt.Errorf("gguf: tensor %q: %w", t.Name, err)
	}
	return x, nil
}

// NewTensor packs numbers as a type that is written.
func NewTensor(name string, typ Type, shape []int, x []float32) (Tensor, error) {
	t := Tensor{Name: name, Type: typ, Shape: shape}
	n, err := typ.size(shape)
	if err != nil || t.Len() != len(x) {
		return t, fmt.Errorf("gguf: tensor %q: %d numbers for shape %v of %s", name, len(x), shape, typ)
	}
	t.Data = make([]byte, n)
	if err := typ.Encode(t.Data, x); err != nil {
		return t, fmt.Errorf("gguf: tensor %q: %w", name, err)
	}
	return t, nil
}
