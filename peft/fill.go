package peft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// Fill copies the tensors of an adapter file into the adapter's parameters. Keys may lack PEFT's prefix. Everything that does not
// fit is in one error: missing, unexpected, of another shape, not finite, all zero; and an adapter that changes nothing.
func Fill(a Adapter, file *checkpoint.Checkpoint, allow Allow) error {
	f := &filling{adapter: a, file: file, allow: allow, found: map[string]bool{}}
	for name := range a.Params() {
		f.params = append(f.params, name)
	}
	for name, p := range a.Params() {
		f.param(name, p)
	}
	mine, wrong := fillBuffers(a, file, allow)
	f.errs = append(f.errs, wrong...)
	for _, key := range mine {
		f.found[key] = true
	}
	f.unexpected()
	if len(f.errs) == 0 {
		f.effect()
	}
	return errors.Join(f.errs...)
}

// filling is an adapter file while it is read into parameters.
type filling struct {
	adapter Adapter
	file    *checkpoint.Checkpoint
	allow   Allow
	params  []string        // names of all
	found   map[string]bool // tensors of the file that have their place
	zeros   []string        // matrices without another number than zero
	errs    []error
}

func (f *filling) bad(format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("peft: %s: "+format, append([]any{f.file.Path()}, args...)...))
}

// param fills one parameter, or says why not.
func (f *filling) param(name string, p *nn.Param) {
	key, ok := lookup(f.adapter, f.file, name)
	if !ok {
		if !f.allow.Missing {
			f.bad("tensor %q is missing%s", name, similar(name, f.strangers()))
		}
		return
	}
	f.found[key] = true
	info, _ := f.file.Info(key)
	if want := op.FileShape(p); !slices.Equal(info.Shape, want) {
		if !f.allow.Mismatched {
			f.bad("tensor %q is %v, want %v", key, info.Shape, want)
		}
		return
	}
	if !checkpoint.IsFloat(info.DType) {
		f.bad("tensor %q is %s, want F32, F16 or BF16", key, info.DType)
		return
	}
	if i, not := f.file.FirstNonFinite(key); not && !f.allow.NonFinite {
		f.bad("tensor %q has at %d no finite number", key, i)
		return
	}
	v, err := f.file.Floats(key)
	if err != nil {
		f.errs = append(f.errs, err)
		return
	}
	copy(op.Data(p), v)
	if len(info.Shape) > 1 && len(v) > 0 && isZero(v) {
		f.zeros = append(f.zeros, key)
	}
}

// strangers are the tensors of the file that are no parameter's.
func (f *filling) strangers() (list []string) {
	for _, key := range f.file.Names() {
		if !slices.Contains(f.params, key) && !slices.Contains(f.params, Prefix+key) {
			list = append(list, key)
		}
	}
	return list
}

// unexpected reports tensors without a place.
func (f *filling) unexpected() {
	for _, key := range f.file.Names() {
		if f.found[key] || f.allow.Unexpected {
			continue
		}
		if mine, err := checkExtra(f.adapter, f.file, key); err != nil {
			f.errs = append(f.errs, err)
		} else if !mine {
			f.bad("tensor %q is unexpected%s", key, similar(key, f.params))
		}
	}
}

// effect reports an adapter that changes nothing, in whole or in part.
func (f *filling) effect() {
	if i, ok := f.adapter.(Idler); ok && i.Idle() != "" {
		if !f.allow.Idle {
			f.bad("the adapter changes nothing: %s", i.Idle())
		}
		return
	}
	if n := len(f.zeros); n > 0 && !f.allow.Zero {
		f.bad("tensor %q is all zero (one of %d): it was not trained", f.zeros[0], n)
	}
}

func isZero(v []float32) bool {
	return !slices.ContainsFunc(v, func(x float32) bool { return x != 0 })
}

// lookup finds the tensor of a parameter under its full name, without the prefix, or under another of its names.
func lookup(a Adapter, file *checkpoint.Checkpoint, name string) (string, bool) {
	list := []string{name, strings.TrimPrefix(name, Prefix)}
	if x, ok := a.(Aliased); ok {
		list = append(list, x.Aliases(name)...)
	}
	for _, key := range list {
		if _, ok := file.Info(key); ok {
			return key, true
		}
	}
	return "", false
}

// similar suggests the parameter whose last parts are the key's, as far as possible.
func similar(key string, params []string) string {
	parts := strings.Split(key, ".")
	for n := len(parts); n >= 3; n-- {
		tail := "." + strings.Join(parts[len(parts)-n:], ".")
		for _, p := range params {
			if strings.HasSuffix(p, tail) {
				return fmt.Sprintf("; did you mean %q?", p)
			}
		}
	}
	for _, p := range params {
		if distance(key, p) <= 2 || len(key) == len(p) && hamming(key, p) <= 2 {
			return fmt.Sprintf("; did you mean %q?", p)
		}
	}
	return ""
}

// hamming counts the places at which strings of one length differ.
func hamming(a, b string) (n int) {
	for i := range len(a) {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}
