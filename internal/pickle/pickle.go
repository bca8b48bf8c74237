// Package pickle decodes the part of Python's pickle format that torch writes state dicts in. A pickle is a program for a
// machine with a stack; this machine knows only the instructions that build numbers, strings, tuples, lists and dicts, and
// calls nothing but the functions it was given by name. Every other instruction and every other name is an error, so no
// pickle can run code or construct anything that its reader did not expect.
//
//	d := pickle.Decoder{Globals: map[string]any{"torch._utils._rebuild_tensor_v2": pickle.Func(rebuild)}, Persistent: storage}
//	value, n, err := d.Decode(data) // n bytes were read
//
// Values come as
//
//	None   bool   int    float    str     long of more than 8 bytes   tuple   list    dict, OrderedDict
//	nil    bool   int64  float64  string  Long                        Tuple   *List   *Dict
//
// and whatever Globals and Persistent return. Values may be shared and may contain themselves, as in Python: a caller that
// walks them to any depth must not rely on an end. The decoder itself does not recurse, whatever the nesting.
//
// Words: a global is a name "module.name" that a pickle refers to; a persistent id stands for something that lies outside of
// the pickle, with torch a storage; the memo is the list of values that a pickle refers back to.
//
// The format is that of CPython's Lib/pickletools.py, protocols 2 to 5.
package pickle

import (
	"errors"
	"fmt"
)

// Limits of what a pickle may make its reader spend. A tensor of a state dict takes about 25 instructions and 200 bytes.
const (
	MaxBytes = 64 << 20
	maxOps   = 4 << 20
)

// Tuple is an immutable sequence.
type Tuple []any

// List is a sequence.
type List struct{ Items []any }

// Dict is a map in the order in which it was filled; a key that was set twice is there twice.
type Dict struct{ Keys, Values []any }

// Long is a whole number of more than 8 bytes, little-endian in two's complement.
type Long string

// Func is what a pickle may call.
type Func func(args Tuple) (any, error)

// Decoder says what names and persistent ids stand for.
type Decoder struct {
	// Globals are the names that a pickle may refer to besides collections.OrderedDict, and what they stand for. Those that
	// are a Func may be called.
	Globals map[string]any
	// Persistent is what a persistent id stands for; nil if there are none.
	Persistent func(id any) (any, error)
}

// Decode reads one pickle from the start of data, which may go on after it, and returns its length.
func (d *Decoder) Decode(data []byte) (value any, n int, err error) {
	m := &machine{Decoder: d, data: data[:min(len(data), MaxBytes)], memo: map[uint64]any{}}
	value, err = m.run()
	if err != nil {
		return nil, 0, fmt.Errorf("pickle, byte %d: %w", m.start, err)
	}
	return value, m.at, nil
}

// Describe says what kind of value it is, for errors.
func Describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a truth value"
	case int64, Long:
		return "a whole number"
	case float64:
		return "a real number"
	case string:
		return "a string"
	case Tuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *List:
		return fmt.Sprintf("a list of %d", len(v.Items))
	case *Dict:
		return fmt.Sprintf("a dict of %d", len(v.Keys))
	case Func:
		return "a function"
	case fmt.Stringer:
		return v.String()
	}
	return fmt.Sprintf("a %T", v)
}

// orderedDict is collections.OrderedDict: made empty, or from pairs as Python 2 wrote it. It takes the pairs out of their list, so
// that no list can be multiplied by many calls.
func orderedDict(args Tuple) (any, error) {
	d := &Dict{}
	if len(args) == 0 {
		return d, nil
	}
	pairs, ok := args[0].(*List)
	if !ok || len(args) != 1 {
		return nil, errors.New("OrderedDict of other arguments, want one list of pairs")
	}
	for _, p := range pairs.Items {
		l, ok := p.(*List)
		if !ok || len(l.Items) != 2 {
			return nil, fmt.Errorf("OrderedDict of %s, want pairs", Describe(p))
		}
		d.Keys, d.Values = append(d.Keys, l.Items[0]), append(d.Values, l.Items[1])
	}
	pairs.Items = nil
	return d, nil
}
