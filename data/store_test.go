package data

import (
	"reflect"
	"testing"
)

// stored are a set and a report of every kind of example.
func stored(t testing.TB) (Set, *Report) {
	t.Helper()
	s, r := build(t, Settings{SequenceLen: 9, Overlong: "truncate"}, `{"prompt":"ab","completion":"cd"}`, `{"prompt":"ab","completion":""}`, `{"prompt":"ab","completion":"cdefghijklmnop"}`)
	s = append(s, Example{IDs: []int32{1, 2, 3}, Place: Place{File: "other.json", Row: 7, Part: 2}, Ordinal: 4, Loss: []Span{{1, 2, 0.25}},
		Source: []int32{7, 8}, Types: []int32{0, 1, 1}, Tags: []int32{NoTarget, 3, NoTarget}, Words: []int32{-1, 0, 1}, Labels: []float32{0, 1, -2.5}, Answer: &[2]int32{1, 2},
		Origin: &Origin{ID: "q", Text: "täxt", Words: []string{"a", ""}, Tags: []string{}, Golds: []string{"g"}, Word: []int32{0, -1}, Offsets: [][2]int32{{-1, -1}, {0, 4}}}, Unused: true},
		Example{IDs: []int32{4}, Origin: &Origin{}, Labels: []float32{}})
	r.Labels, r.Problem = []string{"no", "yes"}, SingleLabel
	return s, r
}

// TestStored has every field of examples and reports come back.
func TestStored(t *testing.T) {
	set, report := stored(t)
	b, err := Marshal(set, report)
	if err != nil {
		t.Fatal(err)
	}
	gotSet, gotReport, err := Unmarshal(b)
	if err != nil || !reflect.DeepEqual(gotSet, set) || !reflect.DeepEqual(gotReport, report) {
		t.Errorf("got %+v, %+v, %v, want\n%+v, %+v", gotSet, gotReport, err, set, report)
	}
	for _, v := range []any{Example{}, Origin{}, Place{}, Span{}} {
		want := map[string]int{"Example": 12, "Origin": 7, "Place": 4, "Span": 3}
		if kind := reflect.TypeOf(v); kind.NumField() != want[kind.Name()] {
			t.Errorf("%s has %d fields, of which %d are stored: see Marshal", kind, kind.NumField(), want[kind.Name()])
		}
	}
}

// TestStoredCutShort cuts the bytes at every place.
func TestStoredCutShort(t *testing.T) {
	b, err := Marshal(stored(t))
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if _, _, err := Unmarshal(b[:n]); err == nil {
			t.Errorf("%d of %d bytes are read", n, len(b))
		}
	}
	if _, _, err := Unmarshal(append(b, 0)); err == nil {
		t.Error("a byte too many is read")
	}
}

// FuzzUnmarshal reads anything; what can be read can be written and read again.
func FuzzUnmarshal(f *testing.F) {
	b, err := Marshal(stored(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("\x02{}\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		set, report, err := Unmarshal(b)
		if err != nil {
			return
		}
		again, err := Marshal(set, report)
		if err != nil {
			t.Fatal(err)
		}
		if other, _, err := Unmarshal(again); err != nil || len(other) != len(set) || other.Fingerprint() != set.Fingerprint() {
			t.Errorf("read, written and read again: %d examples, %v, want the %d that were read", len(other), err, len(set))
		}
	})
}
