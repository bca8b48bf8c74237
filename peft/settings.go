package peft

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Setting is one key of adapter_config.json that a method reads: where its value goes and what it may be.
type Setting struct {
	Key  string
	To   any    // pointer to the value
	Want string // in words, where the kind of the value does not say it
	// Min and Max bound a number; both 0 leave it free.
	Min, Max float64
}

// Version is what graft writes as peft_version unless a file said another: the release whose files graft's are like.
const Version = "0.21.2"

// everyFile are the keys that every method's file has, with PEFT's own values.
var everyFile = Object{"auto_mapping": nil, "base_model_name_or_path": nil, "inference_mode": true, "peft_version": Version, "revision": nil, "task_type": nil}

// Record is what adapter_config.json said, every key of it. The zero value is that of settings which came from no file.
type Record struct {
	file Object
	was  map[string]any // the values as they were read, to tell which were changed since
}

// Forget makes the settings such as came from no file.
func (r *Record) Forget() { *r = Record{} }

// Said is what the file said for a key, nil if nothing.
func (r Record) Said(key string) any { return r.file[key] }

// ReadSettings decodes adapter_config.json of a type over the settings. Keys that are in defaults or are settings are
// known; the others are kept, and those of them that say something are returned.
func ReadSettings(b []byte, kind string, defaults Object, settings []Setting) (r Record, unknown []string, err error) {
	r, unknown, err = ReadObject(b, defaults, settings)
	if r.file != nil && r.file["peft_type"] != kind {
		return r, nil, fmt.Errorf("peft: adapter_config.json: peft_type is %v, want %q", r.file["peft_type"], kind)
	}
	return r, slices.DeleteFunc(unknown, func(key string) bool { _, common := everyFile[key]; return common || key == "peft_type" }), err
}

// ReadObject decodes one object of settings: ReadSettings without the keys that all of PEFT's files have.
func ReadObject(b []byte, defaults Object, settings []Setting) (r Record, unknown []string, err error) {
	if r.file, err = ParseObject(b); err != nil {
		return r, nil, err
	}
	var raw map[string]json.RawMessage // as written: objects keep the order of their keys
	if err := json.Unmarshal(b, &raw); err != nil {
		return r, nil, fmt.Errorf("peft: adapter_config.json: %w", err)
	}
	var errs []error
	r.was = map[string]any{}
	for _, s := range settings {
		if v, ok := raw[s.Key]; ok && string(v) != "null" {
			if err := json.Unmarshal(v, s.To); err != nil {
				errs = append(errs, fmt.Errorf("peft: adapter_config.json: %s is %.60s, want %s", s.Key, compact(v), s.want()))
			}
		}
		r.was[s.Key] = s.value(defaults)
	}
	for _, key := range slices.Sorted(maps.Keys(r.file)) {
		if _, known := defaults[key]; !known && !SaysNo(r.file[key]) {
			unknown = append(unknown, key)
		}
	}
	return r, unknown, errors.Join(errs...)
}

// JSON is adapter_config.json: all of PEFT's keys, and those of the file that it does not know. What has not changed since it
// was read is written as it was.
func (r Record) JSON(kind string, defaults Object, settings []Setting) ([]byte, error) {
	o := maps.Clone(everyFile)
	maps.Copy(o, r.Object(defaults, settings))
	o["inference_mode"], o["peft_type"] = true, kind
	return PythonJSON(o)
}

// Object are the settings as an object: the defaults, what the file said, and what has changed since.
func (r Record) Object(defaults Object, settings []Setting) Object {
	o := maps.Clone(defaults)
	maps.Copy(o, r.file)
	for _, s := range settings {
		if v := s.value(defaults); r.was == nil || !reflect.DeepEqual(v, r.was[s.Key]) {
			o[s.Key] = v
		}
	}
	return o
}

// Configure gives a config settings in the form of adapter_config.json that come from no file.
func Configure(c Config, kind string, settings map[string]json.RawMessage) error {
	o := maps.Clone(settings)
	o["peft_type"], _ = json.Marshal(kind) // strings always marshal
	b, err := json.Marshal(o)
	if err == nil {
		err = c.Parse(b)
	}
	if f, ok := c.(interface{ Forget() }); ok {
		f.Forget()
	}
	return err
}

// CheckSettings reports numbers out of their bounds.
func CheckSettings(settings []Setting) error {
	var errs []error
	for _, s := range settings {
		var f float64
		switch v := s.To.(type) {
		case *int:
			f = float64(*v)
		case *float64:
			f = *v
		default:
			continue
		}
		if (s.Min != 0 || s.Max != 0) && !(f >= s.Min && f <= s.Max) || f-f != 0 {
			errs = append(errs, fmt.Errorf("peft: %s is %g, want %g to %g", s.Key, f, s.Min, s.Max))
		}
	}
	return errors.Join(errs...)
}

// compact puts a JSON value on one line.
func compact(v json.RawMessage) string { return strings.Join(strings.Fields(string(v)), " ") }

// want says what the value may be.
func (s Setting) want() string {
	if s.Want != "" {
		return s.Want
	}
	words := map[reflect.Type]string{
		reflect.TypeFor[*int](): "a whole number", reflect.TypeFor[*float64](): "a number", reflect.TypeFor[*bool](): "true or false",
		reflect.TypeFor[*string](): "a string", reflect.TypeFor[*[]string](): "a list of names", reflect.TypeFor[*[]int](): "a list of whole numbers",
		reflect.TypeFor[*Names](): "a list of names or a pattern", reflect.TypeFor[*Pattern](): "an object of numbers",
		reflect.TypeFor[*OneOrMore[int]]():    "a whole number or a list of them",
		reflect.TypeFor[*OneOrMore[string]](): "a name or a list of names",
		reflect.TypeFor[*TokenIndices]():      "a list of whole numbers or an object of such lists",
	}
	return words[reflect.TypeOf(s.To)]
}

// value is what adapter_config.json holds for the setting.
func (s Setting) value(defaults Object) any {
	switch v := s.To.(type) {
	case interface{ Value() any }:
		return v.Value()
	case *int:
		return *v
	case *bool:
		return *v
	case *string:
		if *v == "" {
			return nil
		}
		return *v
	case *float64:
		if _, whole := defaults[s.Key].(int); whole && *v == float64(int64(*v)) {
			return int(*v)
		}
		return *v
	case *[]string:
		return list(*v)
	case *[]int:
		return list(*v)
	case *OneOrMore[int]:
		return list(*v)
	case *OneOrMore[string]:
		return list(*v)
	}
	panic(fmt.Sprintf("peft: %s: no JSON form of %T", s.Key, s.To))
}

func list[T any](v []T) any {
	if v == nil {
		return nil
	}
	l := make([]any, len(v))
	for i := range v {
		l[i] = v[i]
	}
	return l
}

// OneOrMore decodes a value or a list of values; an empty string is no value.
type OneOrMore[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *OneOrMore[T]) UnmarshalJSON(b []byte) error {
	var one T
	if json.Unmarshal(b, &one) == nil {
		if *l = []T{one}; any(one) == "" {
			*l = nil
		}
		return nil
	}
	return json.Unmarshal(b, (*[]T)(l))
}

// SaysNo tells whether a JSON value means no: null, false, or something empty.
func SaysNo(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// Word is a value that is true, false or a word.
type Word string

// UnmarshalJSON implements json.Unmarshaler.
func (w *Word) UnmarshalJSON(b []byte) error {
	if s := string(b); s == "true" || s == "false" {
		*w = Word(s)
		return nil
	}
	return json.Unmarshal(b, (*string)(w))
}

// Value is the JSON value.
func (w *Word) Value() any {
	if *w == "true" || *w == "false" {
		return *w == "true"
	}
	return string(*w)
}
