package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// setArguments decodes named arguments over the defaults that into holds. Every unknown name and every value of the wrong
// type is reported at once. what names the optimizer or schedule in messages.
func setArguments(what string, arguments map[string]any, into any) error {
	v := reflect.ValueOf(into).Elem()
	fields := map[string]reflect.Value{}
	var known []string
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("json")
		fields[name] = v.Field(i)
		known = append(known, name)
	}
	names := make([]string, 0, len(arguments))
	for name := range arguments {
		names = append(names, name)
	}
	slices.Sort(names)
	var errs []error
	for _, name := range names {
		field, ok := fields[name]
		if !ok {
			want := "no arguments"
			if len(known) > 0 {
				want = strings.Join(known, ", ")
			}
			errs = append(errs, fmt.Errorf("train: %s: unknown argument %q, want %s", what, name, want))
			continue
		}
		raw, err := json.Marshal(arguments[name])
		if err == nil {
			err = json.Unmarshal(raw, field.Addr().Interface())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("train: %s: %s is %v, want %s", what, name, arguments[name], kindOf(field.Type())))
		}
	}
	return errors.Join(errs...)
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int:
		return "a whole number"
	case reflect.Array:
		return fmt.Sprintf("%d numbers", t.Len())
	case reflect.Pointer:
		return kindOf(t.Elem())
	}
	return "a number"
}

// bounds collects the arguments that are out of range.
type bounds struct {
	what string
	errs []error
}

// within demands lo <= v < hi.
func (b *bounds) within(name string, v, lo, hi float64) {
	if !(v >= lo && v < hi) {
		b.errs = append(b.errs, fmt.Errorf("train: %s: %s is %g, want at least %g and below %g", b.what, name, v, lo, hi))
	}
}

// atLeast demands v >= lo.
func (b *bounds) atLeast(name string, v, lo float64) {
	if !(v >= lo) {
		b.errs = append(b.errs, fmt.Errorf("train: %s: %s is %g, want at least %g", b.what, name, v, lo))
	}
}

// positive demands v > 0.
func (b *bounds) positive(name string, v float64) {
	if !(v > 0) {
		b.errs = append(b.errs, fmt.Errorf("train: %s: %s is %g, want more than 0", b.what, name, v))
	}
}

// oneOf demands one of the words.
func (b *bounds) oneOf(name, v string, words ...string) {
	if !slices.Contains(words, v) {
		b.errs = append(b.errs, fmt.Errorf("train: %s: %s is %q, want %s", b.what, name, v, strings.Join(words, ", ")))
	}
}

func (b *bounds) err() error { return errors.Join(b.errs...) }
