package pickle

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// stop ends a pickle.
const stop = '.'

// instructions are those that torch's state dicts are made of, with the names that pickletools.py has for them.
var instructions = map[byte]func(m *machine) error{
	0x80: proto,
	0x95: sized(8, frame), // FRAME

	'N':  constant(nil),                                                                 // NONE
	0x88: constant(true),                                                                // NEWTRUE
	0x89: constant(false),                                                               // NEWFALSE
	'J':  sized(4, func(m *machine, n uint64) error { return m.push(int64(int32(n))) }), // BININT
	'K':  sized(1, func(m *machine, n uint64) error { return m.push(int64(n)) }),        // BININT1
	'M':  sized(2, func(m *machine, n uint64) error { return m.push(int64(n)) }),        // BININT2
	0x8a: sized(1, (*machine).long),                                                     // LONG1
	'G':  float,                                                                         // BINFLOAT

	'X':  sized(4, (*machine).text), // BINUNICODE
	0x8c: sized(1, (*machine).text), // SHORT_BINUNICODE
	0x8d: sized(8, (*machine).text), // BINUNICODE8
	'T':  sized(4, (*machine).text), // BINSTRING, of Python 2
	'U':  sized(1, (*machine).text), // SHORT_BINSTRING

	'(':  func(m *machine) error { m.marks = append(m.marks, len(m.stack)); return nil }, // MARK
	')':  func(m *machine) error { return m.push(Tuple{}) },                              // EMPTY_TUPLE
	0x85: func(m *machine) error { return m.tuple(1) },                                   // TUPLE1
	0x86: func(m *machine) error { return m.tuple(2) },                                   // TUPLE2
	0x87: func(m *machine) error { return m.tuple(3) },                                   // TUPLE3
	't':  tuple,
	']':  func(m *machine) error { return m.push(&List{}) }, // EMPTY_LIST
	'a':  appendOne,
	'e':  appendAll,
	'}':  func(m *machine) error { return m.push(&Dict{}) }, // EMPTY_DICT
	's':  setItem,
	'u':  setItems,

	'h':  sized(1, (*machine).get),                                     // BINGET
	'j':  sized(4, (*machine).get),                                     // LONG_BINGET
	'q':  sized(1, (*machine).put),                                     // BINPUT
	'r':  sized(4, (*machine).put),                                     // LONG_BINPUT
	0x94: func(m *machine) error { return m.put(uint64(len(m.memo))) }, // MEMOIZE

	'c':  global,
	0x93: stackGlobal,
	'R':  reduce,
	'b':  build,
	'Q':  persistent,
}

func constant(v any) func(*machine) error {
	return func(m *machine) error { return m.push(v) }
}

// sized is an instruction that begins with a number of n bytes.
func sized(n uint64, f func(*machine, uint64) error) func(*machine) error {
	return func(m *machine) error {
		x, err := m.number(n)
		if err != nil {
			return err
		}
		return f(m, x)
	}
}

// proto is PROTO.
func proto(m *machine) error {
	v, err := m.number(1)
	if err == nil && (v < 2 || v > 5) {
		return fmt.Errorf("protocol is %d, want 2 to 5", v)
	}
	return err
}

// frame checks that the bytes that FRAME announces are there; they are read as if it were not.
func frame(m *machine, n uint64) error {
	if n > uint64(len(m.data)-m.at) {
		return errors.New("cut off")
	}
	return nil
}

// float is BINFLOAT, the only number that is big-endian.
func float(m *machine) error {
	n, err := m.number(8)
	if err != nil {
		return err
	}
	return m.push(math.Float64frombits(bits.ReverseBytes64(n)))
}

// tuple is TUPLE.
func tuple(m *machine) error {
	values, err := m.popMark()
	if err != nil {
		return err
	}
	return m.push(Tuple(values))
}

// appendOne is APPEND.
func appendOne(m *machine) error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	return extend(m, []any{v})
}

// appendAll is APPENDS.
func appendAll(m *machine) error {
	values, err := m.popMark()
	if err != nil {
		return err
	}
	return extend(m, values)
}

func extend(m *machine, values []any) error {
	l, err := top[*List](m, "a list")
	if err != nil {
		return err
	}
	l.Items = append(l.Items, values...)
	return nil
}

// setItem is SETITEM.
func setItem(m *machine) error {
	value, err := m.pop()
	if err != nil {
		return err
	}
	key, err := m.pop()
	if err != nil {
		return err
	}
	return set(m, []any{key, value})
}

// setItems is SETITEMS.
func setItems(m *machine) error {
	values, err := m.popMark()
	if err != nil {
		return err
	}
	return set(m, values)
}

// set puts pairs into the topmost value, a dict.
func set(m *machine, pairs []any) error {
	d, err := top[*Dict](m, "a dict")
	if err != nil {
		return err
	}
	if len(pairs)%2 != 0 {
		return fmt.Errorf("%d keys and values, want pairs", len(pairs))
	}
	for i := 0; i < len(pairs); i += 2 {
		d.Keys, d.Values = append(d.Keys, pairs[i]), append(d.Values, pairs[i+1])
	}
	return nil
}

// global is GLOBAL.
func global(m *machine) error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	return m.global(module, name)
}

// stackGlobal is STACK_GLOBAL.
func stackGlobal(m *machine) error {
	n, err := m.pop()
	if err != nil {
		return err
	}
	p, err := m.pop()
	if err != nil {
		return err
	}
	name, ok1 := n.(string)
	module, ok2 := p.(string)
	if !ok1 || !ok2 {
		return fmt.Errorf("global of %s and %s, want strings", Describe(p), Describe(n))
	}
	return m.global(module, name)
}

// reduce is REDUCE: a call.
func reduce(m *machine) error {
	a, err := m.pop()
	if err != nil {
		return err
	}
	f, err := m.pop()
	if err != nil {
		return err
	}
	call, ok1 := f.(Func)
	args, ok2 := a.(Tuple)
	if !ok1 || !ok2 {
		return fmt.Errorf("calls %s with %s, want a function and a tuple", Describe(f), Describe(a))
	}
	v, err := call(args)
	if err != nil {
		return err
	}
	return m.push(v)
}

// build is BUILD: attributes of the topmost value. State dicts have some of no interest, _metadata; they are dropped.
func build(m *machine) error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	if _, ok := state.(*Dict); !ok {
		return fmt.Errorf("attributes are %s, want a dict", Describe(state))
	}
	_, err = top[*Dict](m, "an OrderedDict")
	return err
}

// persistent is BINPERSID.
func persistent(m *machine) error {
	id, err := m.pop()
	if err != nil {
		return err
	}
	if m.Persistent == nil {
		return fmt.Errorf("refers to %s outside of the pickle", Describe(id))
	}
	v, err := m.Persistent(id)
	if err != nil {
		return err
	}
	return m.push(v)
}
