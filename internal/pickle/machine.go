package pickle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// machine runs one pickle.
type machine struct {
	*Decoder
	data  []byte
	start int // of the current instruction
	at    int // of the next byte
	stack []any
	marks []int // lengths of the stack where instructions put a mark
	memo  map[uint64]any
}

// run executes instructions up to the one that ends the pickle.
func (m *machine) run() (any, error) {
	for range maxOps {
		m.start = m.at
		code, err := m.take(1)
		if err != nil {
			return nil, err
		}
		if code[0] == stop {
			return m.result()
		}
		op, ok := instructions[code[0]]
		if !ok {
			return nil, fmt.Errorf("instruction %#02x, want those that state dicts use", code[0])
		}
		if err := op(m); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d instructions", maxOps)
}

func (m *machine) result() (any, error) {
	if len(m.stack) != 1 || len(m.marks) > 0 {
		return nil, fmt.Errorf("ends with %d values and %d marks, want one value", len(m.stack), len(m.marks))
	}
	return m.stack[0], nil
}

// take reads the next n bytes.
func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.at) {
		if len(m.data) == MaxBytes {
			return nil, fmt.Errorf("longer than %d bytes", MaxBytes)
		}
		return nil, errors.New("cut off")
	}
	b := m.data[m.at : m.at+int(n)]
	m.at += int(n)
	return b, nil
}

// number reads a little-endian number of n bytes.
func (m *machine) number(n uint64) (uint64, error) {
	var wide [8]byte
	b, err := m.take(n)
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), err
}

// line reads up to the end of a line.
func (m *machine) line() (string, error) {
	n := bytes.IndexByte(m.data[m.at:], '\n')
	if n < 0 {
		return "", errors.New("cut off")
	}
	b, err := m.take(uint64(n) + 1)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

func (m *machine) push(v any) error {
	m.stack = append(m.stack, v)
	return nil
}

// pop takes the topmost value, but never one below a mark.
func (m *machine) pop() (any, error) {
	if len(m.stack) == m.floor() {
		return nil, errors.New("takes a value from an empty stack")
	}
	v := m.stack[len(m.stack)-1]
	m.drop(1)
	return v, nil
}

// drop forgets the n topmost values.
func (m *machine) drop(n int) {
	clear(m.stack[len(m.stack)-n:])
	m.stack = m.stack[:len(m.stack)-n]
}

func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

// popMark takes the values above the topmost mark, and the mark.
func (m *machine) popMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, errors.New("takes values up to a mark that is not there")
	}
	values := slices.Clone(m.stack[m.floor():])
	m.drop(len(values))
	m.marks = m.marks[:len(m.marks)-1]
	return values, nil
}

// top is the topmost value as a container.
func top[T any](m *machine, want string) (v T, err error) {
	if len(m.stack) == m.floor() {
		return v, errors.New("fills a container on an empty stack")
	}
	x := m.stack[len(m.stack)-1]
	v, ok := x.(T)
	if !ok {
		return v, fmt.Errorf("fills %s, want %s", Describe(x), want)
	}
	return v, nil
}

// text pushes a string of n bytes.
func (m *machine) text(n uint64) error {
	b, err := m.take(n)
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return fmt.Errorf("string %.40q is not valid UTF-8", b)
	}
	return m.push(string(b))
}

// long pushes a whole number of n bytes.
func (m *machine) long(n uint64) error {
	b, err := m.take(n)
	if err != nil {
		return err
	}
	if n > 8 {
		return m.push(Long(b))
	}
	wide := [8]byte{}
	if n > 0 && b[n-1] >= 0x80 {
		binary.LittleEndian.PutUint64(wide[:], math.MaxUint64) // the sign goes on
	}
	copy(wide[:], b)
	return m.push(int64(binary.LittleEndian.Uint64(wide[:])))
}

// tuple pushes a tuple of the n topmost values.
func (m *machine) tuple(n int) error {
	if len(m.stack)-m.floor() < n {
		return errors.New("takes a value from an empty stack")
	}
	t := Tuple(slices.Clone(m.stack[len(m.stack)-n:]))
	m.drop(n)
	return m.push(t)
}

// global pushes what a name stands for.
func (m *machine) global(module, name string) error {
	full := module + "." + name
	if full == "collections.OrderedDict" {
		return m.push(Func(orderedDict))
	}
	v, ok := m.Globals[full]
	if !ok {
		return fmt.Errorf("global %q, want OrderedDict%s; nothing else is looked up or run", full, m.known())
	}
	return m.push(v)
}

// known lists the functions among the globals.
func (m *machine) known() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(m.Globals)) {
		if _, ok := m.Globals[name].(Func); ok {
			names = append(names, name[strings.LastIndexByte(name, '.')+1:])
		}
	}
	return strings.Join(append([]string{""}, names...), ", ")
}

func (m *machine) get(i uint64) error {
	v, ok := m.memo[i]
	if !ok {
		return fmt.Errorf("refers to value %d, which is not there", i)
	}
	return m.push(v)
}

func (m *machine) put(i uint64) error {
	if len(m.stack) == m.floor() {
		return errors.New("keeps a value of an empty stack")
	}
	m.memo[i] = m.stack[len(m.stack)-1]
	return nil
}
