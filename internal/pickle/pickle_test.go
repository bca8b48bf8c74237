package pickle

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// decode runs a pickle whose only function is m.pair and whose persistent ids stand for themselves.
func decode(p string) (any, int, error) {
	d := Decoder{
		Globals: map[string]any{"m.pair": Func(func(args Tuple) (any, error) {
			if len(args) != 2 {
				return nil, errors.New("want two")
			}
			return args, nil
		}), "m.C": "class"},
		Persistent: func(id any) (any, error) { return Tuple{"id", id}, nil },
	}
	return d.Decode([]byte(p))
}

func TestDecode(t *testing.T) {
	dict := func(kv ...any) *Dict {
		d := &Dict{}
		for i := 0; i < len(kv); i += 2 {
			d.Keys, d.Values = append(d.Keys, kv[i]), append(d.Values, kv[i+1])
		}
		return d
	}
	for _, c := range []struct {
		name, pickle string
		want         any
	}{
		{"None", "N.", nil},
		{"truth", "\x88\x89\x86.", Tuple{true, false}},
		{"small numbers", "K\xffM\xff\xffJ\xff\xff\xff\xff\x87.", Tuple{int64(255), int64(65535), int64(-1)}},
		{"numbers of any length", "\x8a\x00\x8a\x01\xff\x8a\x02\x00\x01\x87.", Tuple{int64(0), int64(-1), int64(256)}},
		{"the longest", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01\x86.", Tuple{int64(1<<63 - 1), Long("\x00\x00\x00\x00\x00\x00\x00\x00\x01")}},
		{"a real number", "G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5},
		{"strings", "X\x02\x00\x00\x00abU\x01c\x8c\x01d\x87.", Tuple{"ab", "c", "d"}},
		{"long strings", "T\x01\x00\x00\x00a\x8d\x01\x00\x00\x00\x00\x00\x00\x00b\x86.", Tuple{"a", "b"}},
		{"tuples", "))\x85(N)t\x87.", Tuple{Tuple{}, Tuple{Tuple{}}, Tuple{nil, Tuple{}}}},
		{"lists", "](NNe(eNa.", &List{Items: []any{nil, nil, nil}}},
		{"dicts", "}K\x01K\x02s(K\x03K\x04K\x05K\x06u(u.", dict(int64(1), int64(2), int64(3), int64(4), int64(5), int64(6))},
		{"the memo", "(K\x01q\x05K\x02r\x00\x01\x00\x00h\x05j\x00\x01\x00\x00t.", Tuple{int64(1), int64(2), int64(1), int64(2)}},
		{"the memo in order", "\x80\x04K\x07\x94K\x08\x94h\x00h\x01\x86\x87.", Tuple{int64(7), int64(8), Tuple{int64(7), int64(8)}}},
		{"frames", "\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N.", nil},
		{"a call", "cm\npair\n(K\x01K\x02tR.", Tuple{int64(1), int64(2)}},
		{"a call of protocol 4", "\x8c\x01m\x8c\x04pair\x93(NNtR.", Tuple{nil, nil}},
		{"a class", "cm\nC\n.", "class"},
		{"an ordered dict with attributes", "ccollections\nOrderedDict\n)R(K\x01K\x02u}X\x01\x00\x00\x00aNsb.", dict(int64(1), int64(2))},
		{"an ordered dict of Python 2", "ccollections\nOrderedDict\n(](](K\x01K\x02eetR.", dict(int64(1), int64(2))},
		{"a persistent id", "K\x01Q.", Tuple{"id", int64(1)}},
	} {
		got, n, err := decode(c.pickle + "rest")
		if err != nil || n != len(c.pickle) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v of %d bytes, %v; want %#v of %d", c.name, got, n, err, c.want, len(c.pickle))
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, pickle, want string }{
		{"nothing", "", "pickle, byte 0: cut off"},
		{"no end", "N", "byte 1: cut off"},
		{"protocol 1", "\x80\x01N.", "protocol is 1, want 2 to 5"},
		{"protocol 6", "\x80\x06N.", "protocol is 6, want 2 to 5"},
		{"two values", "NN.", "ends with 2 values and 0 marks"},
		{"no value", ".", "ends with 0 values"},
		{"a mark left", "N(.", "ends with 1 values and 1 marks"},
		{"half a string", "X\xff\xff\xff\x7fab", "byte 0: cut off"},
		{"half a huge string", "\x8d\xff\xff\xff\xff\xff\xff\xff\xffab", "cut off"},
		{"half a frame", "\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "cut off"},
		{"a string that is not UTF-8", "U\x01\xff.", `string "\xff" is not valid UTF-8`},
		{"a value below a mark", "N(\x85.", "takes a value from an empty stack"},
		{"a container below a mark", "](Na(.", ""},
		{"a list to a number", "K\x01Na.", "fills a whole number, want a list"},
		{"a pair to a list", "]NNs.", "fills a list of 0, want a dict"},
		{"a pair to nothing", "NNs.", "fills a container on an empty stack"},
		{"half a pair", "}(NNNu.", "3 keys and values, want pairs"},
		{"no mark", "Nt.", "up to a mark that is not there"},
		{"a value never kept", "h\x07.", "refers to value 7, which is not there"},
		{"keeping nothing", "q\x00.", "keeps a value of an empty stack"},
		{"a name", "cposix\nsystem\n.", `global "posix.system", want OrderedDict, pair; nothing else is looked up or run`},
		{"half a name", "cposix", "cut off"},
		{"a name of numbers", "NN\x93.", "global of None and None, want strings"},
		{"a call of a class", "cm\nC\n)R.", "calls a string with a tuple of 0, want a function and a tuple"},
		{"a call with a list", "cm\npair\n]R.", "calls a function with a list of 0"},
		{"a call that fails", "cm\npair\n)R.", "byte 9: want two"},
		{"attributes that are no dict", "ccollections\nOrderedDict\n)RNb.", "attributes are None, want a dict"},
		{"attributes of a list", "]}b.", "fills a list of 0, want an OrderedDict"},
		{"an ordered dict of a number", "ccollections\nOrderedDict\nK\x01\x85R.", "want one list of pairs"},
		{"an ordered dict of numbers", "ccollections\nOrderedDict\n](K\x01e\x85R.", "OrderedDict of a whole number, want pairs"},
	} {
		_, n, err := decode(c.pickle)
		if err == nil || n != 0 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", c.name, err, c.want)
		}
	}
	t.Run("instructions of other pickles", func(t *testing.T) {
		for _, code := range []byte("0123dFgIiLlopPSV\x81\x82\x83\x84\x8b\x8e\x8f\x90\x91\x92\x96\x97\x98BC") {
			if _, _, err := decode("]]" + string([]byte{code}) + "."); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("instruction 0x%02x", code)) {
				t.Errorf("%#x: %v", code, err)
			}
		}
	})
	t.Run("persistent ids where there are none", func(t *testing.T) {
		if _, _, err := new(Decoder).Decode([]byte("NQ.")); err == nil || !strings.Contains(err.Error(), "refers to None outside of the pickle") {
			t.Error(err)
		}
	})
}

// TestBombs holds that small pickles cannot make their reader work long, use much memory or recurse.
func TestBombs(t *testing.T) {
	t.Run("tuples of tuples share", func(t *testing.T) {
		p := "N"
		for range 200 {
			p += "q\x00h\x00\x86" // 2^200 leaves
		}
		if v, _, err := decode(p + "."); err != nil || Describe(v) != "a tuple of 2" {
			t.Error(err)
		}
	})
	t.Run("nesting to a million", func(t *testing.T) {
		if _, _, err := decode("N" + strings.Repeat("\x85", 1<<20) + "."); err != nil {
			t.Error(err)
		}
		if _, _, err := decode("N" + strings.Repeat("(", 1<<20) + "."); err == nil {
			t.Error("no error")
		}
	})
	t.Run("a list that holds itself", func(t *testing.T) {
		if v, _, err := decode("]q\x00h\x00a."); err != nil || Describe(v) != "a list of 1" {
			t.Error(err)
		}
	})
	t.Run("a list that is taken by many dicts", func(t *testing.T) {
		p := "ccollections\nOrderedDict\nq\x01" + "](" + strings.Repeat("](NNe", 1000) + "eq\x02" + strings.Repeat("h\x01h\x02\x85R", 2) + "\x86\x86\x86."
		v, _, err := decode(p)
		if err != nil {
			t.Fatal(err)
		}
		pair := v.(Tuple)[1].(Tuple)[1].(Tuple)
		if Describe(pair[0]) != "a dict of 1000" || Describe(pair[1]) != "a dict of 0" {
			t.Errorf("%s, %s", Describe(pair[0]), Describe(pair[1]))
		}
	})
	t.Run("too many instructions", func(t *testing.T) {
		if _, _, err := decode("(" + strings.Repeat("N", maxOps) + "t."); err == nil || !strings.Contains(err.Error(), "more than 4194304 instructions") {
			t.Error(err)
		}
	})
	t.Run("too many bytes", func(t *testing.T) {
		if _, _, err := decode("X\x00\x00\x00\x08" + strings.Repeat("a", MaxBytes) + "."); err == nil || !strings.Contains(err.Error(), "longer than 67108864 bytes") {
			t.Error(err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01cm\npair\nq\x02(NNtRq\x03X\x01\x00\x00\x00bh\x03u."))
	f.Add([]byte("\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00](\x8c\x01m\x8c\x04pair\x93K\x01Qe."))
	f.Add([]byte("ccollections\nOrderedDict\n(](](K\x01K\x02eetR}b."))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, n, err := decode(string(data))
		if err == nil && (n < 2 || n > len(data) || Describe(v) == "") {
			t.Errorf("%d of %d bytes", n, len(data))
		}
	})
}
