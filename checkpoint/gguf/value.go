package gguf

import (
	"encoding/binary"
	"fmt"
	"reflect"
)

// arrayKind is the number of arrays.
const arrayKind = 9

// kind is what a value can be; size 0 means that it varies.
type kind struct {
	id   uint32
	zero any
	size int
}

var kinds = []kind{
	{0, uint8(0), 1}, {1, int8(0), 1}, {2, uint16(0), 2}, {3, int16(0), 2}, {4, uint32(0), 4}, {5, int32(0), 4}, {6, float32(0), 4},
	{7, false, 1}, {8, "", 0}, {10, uint64(0), 8}, {11, int64(0), 8}, {12, float64(0), 8},
}

func kindByID(id uint32) (kind, error) {
	for _, k := range kinds {
		if k.id == id {
			return k, nil
		}
	}
	if id == arrayKind {
		return kind{}, fmt.Errorf("arrays of arrays are not read")
	}
	return kind{}, fmt.Errorf("kind of value %d is unknown", id)
}

func kindOf(t reflect.Type) (kind, error) {
	for _, k := range kinds {
		if reflect.TypeOf(k.zero) == t {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("a %v is no kind of value", t)
}

// value reads a value of a kind, or an array.
func (r *reader) value() (any, error) {
	id, err := r.u32()
	if err != nil {
		return nil, err
	}
	if id != arrayKind {
		k, err := kindByID(id)
		if err != nil {
			return nil, err
		}
		return r.scalar(k)
	}
	if id, err = r.u32(); err != nil {
		return nil, err
	}
	k, err := kindByID(id)
	if err != nil {
		return nil, err
	}
	least := k.size
	if least == 0 {
		least = 8 // a string's length
	}
	n, err := r.count(least, "elements")
	if err != nil {
		return nil, err
	}
	return r.array(k, n)
}

func (r *reader) scalar(k kind) (any, error) {
	if k.size == 0 {
		return r.text()
	}
	b, err := r.take(k.size)
	if err != nil {
		return nil, err
	}
	return decodeNumbers(b, reflect.New(reflect.TypeOf(k.zero)))
}

func (r *reader) array(k kind, n int) (any, error) {
	if k.size == 0 {
		list := make([]string, n)
		for i := range list {
			s, err := r.text()
			if err != nil {
				return nil, err
			}
			list[i] = s
		}
		return list, nil
	}
	b, err := r.take(n * k.size)
	if err != nil {
		return nil, err
	}
	to := reflect.New(reflect.SliceOf(reflect.TypeOf(k.zero)))
	to.Elem().Set(reflect.MakeSlice(to.Elem().Type(), n, n))
	return decodeNumbers(b, to)
}

// decodeNumbers fills what to points at.
func decodeNumbers(b []byte, to reflect.Value) (any, error) {
	switch to.Interface().(type) {
	case *bool, *[]bool:
		for _, v := range b {
			if v > 1 {
				return nil, fmt.Errorf("a bool is %d, want 0 or 1", v)
			}
		}
	}
	if len(b) > 0 {
		dst := to.Interface()
		if to.Elem().Kind() == reflect.Slice {
			dst = to.Elem().Interface()
		}
		if _, err := binary.Decode(b, binary.LittleEndian, dst); err != nil {
			return nil, err
		}
	}
	return to.Elem().Interface(), nil
}

// appendValue writes a value with its kind.
func appendValue(b []byte, v any) ([]byte, error) {
	if v == nil {
		return nil, fmt.Errorf("a value is missing")
	}
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Slice {
		k, err := kindOf(t.Elem())
		if err != nil {
			return nil, err
		}
		b = binary.LittleEndian.AppendUint32(b, arrayKind)
		b = binary.LittleEndian.AppendUint32(b, k.id)
		b = binary.LittleEndian.AppendUint64(b, uint64(reflect.ValueOf(v).Len()))
		if list, ok := v.([]string); ok {
			for _, s := range list {
				b = appendText(b, s)
			}
			return b, nil
		}
		return binary.Append(b, binary.LittleEndian, v)
	}
	k, err := kindOf(t)
	if err != nil {
		return nil, err
	}
	b = binary.LittleEndian.AppendUint32(b, k.id)
	if s, ok := v.(string); ok {
		return appendText(b, s), nil
	}
	return binary.Append(b, binary.LittleEndian, v)
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}
