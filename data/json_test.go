package data

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// plain is a value as encoding/json gives it.
func plain(v any) any {
	switch x := v.(type) {
	case int64:
		return float64(x)
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = plain(x[i])
		}
		return out
	case Object:
		out := map[string]any{}
		for _, f := range x {
			out[f.Name] = plain(f.Value)
		}
		return out
	}
	return v
}

func TestParseJSON(t *testing.T) {
	for in, want := range map[string]any{
		`{"b":1,"a":[true,null]}`:      Object{{"b", int64(1)}, {"a", []any{true, nil}}},
		` [ ] `:                        []any{},
		`{}`:                           Object{},
		`-0.5e1`:                       -5.0,
		`1.0`:                          1.0,
		`9223372036854775808`:          9223372036854775808.0,
		`"\u00e9\ud83d\ude00\n\/\"é😀"`: "é😀\n/\"é😀",
	} {
		if got, err := ParseJSON([]byte(in)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseJSON(%s) = %#v, %v, want %#v", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		``:             "bad JSON at byte 1: end of text, want a value",
		`{"a":1} x`:    "bad JSON at byte 9: 'x' after the value",
		`[1,]`:         "bad JSON at byte 4: ']', want a value",
		`{"a":1,}`:     "bad JSON at byte 8: '}', want a field name in quotes",
		`[1 2]`:        "bad JSON at byte 4: '2', want ',' or ']'",
		`01`:           "bad JSON at byte 2: '1' after the value",
		`-`:            "bad JSON at byte 2: end of text, want a digit",
		`1.`:           "bad JSON at byte 3: end of text, want a digit",
		`1e999`:        "bad JSON at byte 1: number out of range",
		`"a`:           "bad JSON at byte 3: end of text within a string",
		"\"a\nb\"":     "bad JSON at byte 3: control character 0x0a in a string, want it escaped",
		`"\x"`:         `bad JSON at byte 2: unknown escape \x`,
		`"\u12"`:       `bad JSON at byte 2: \u without four hexadecimal digits`,
		`"\ude00"`:     `bad JSON at byte 2: half of a surrogate pair (\ude00)`,
		`"\ud83d\u41"`: `bad JSON at byte 2: half of a surrogate pair (\ud83d)`,
	} {
		if got, err := ParseJSON([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("ParseJSON(%s) = %v, %v, want %s", in, got, err, want)
		}
	}
	wide := `{"f0":0`
	for i := range 26 {
		wide += `,"h` + string(rune('0'+i%10)) + string(rune('a'+i)) + `":1`
	}
	if _, err := ParseJSON([]byte(wide + `,"h1b":2}`)); err == nil || !strings.HasSuffix(err.Error(), `field "h1b" twice`) {
		t.Errorf("a repeated field of a wide object gives %v", err)
	}
}

func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00",true,null,{}]}`, `[]`, `"`, `{"a":1,"a":2}`, `[[[[`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseJSON(b)
		var want any
		if wantErr := json.Unmarshal(b, &want); wantErr != nil {
			if err == nil {
				t.Fatalf("ParseJSON(%q) = %v, encoding/json says %v", b, got, wantErr)
			}
			return
		}
		if err != nil {
			// What encoding/json takes and ParseJSON does not, on purpose.
			for _, strict := range []string{"twice", "surrogate", "UTF-8", "nested deeper"} {
				if strings.Contains(err.Error(), strict) {
					return
				}
			}
			t.Fatalf("ParseJSON(%q) = %v, encoding/json gives %v", b, err, want)
		}
		if !reflect.DeepEqual(plain(got), want) {
			t.Fatalf("ParseJSON(%q) = %v, encoding/json gives %v", b, got, want)
		}
	})
}
