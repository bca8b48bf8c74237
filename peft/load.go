package peft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// Allow names what Load and Fill put up with.
type Allow struct {
	Missing    bool // parameters without a tensor keep their initial values
	Unexpected bool // tensors without a parameter are left out
	Idle       bool // an adapter that changes nothing
}

// ReadConfig decodes the adapter_config.json of a folder by the method of the table that its peft_type names.
func ReadConfig(dir string, table []Method) (Config, error) {
	path := filepath.Join(dir, ConfigFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("peft: %w", err)
	}
	c, err := ParseConfig(b, table)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return c, nil
}

// ParseConfig decodes adapter_config.json by the method of the table that its peft_type names.
func ParseConfig(b []byte, table []Method) (Config, error) {
	o, err := ParseObject(b)
	if err != nil {
		return nil, err
	}
	kind, ok := o["peft_type"].(string)
	if _, is := o["config"].(map[string]any); is && !ok { // the library `adapters` has a file of the same name
		kind, ok = HubType, true
	}
	if !ok {
		return nil, errors.New("peft: adapter_config.json: peft_type is missing or no string")
	}
	var types []string
	for _, m := range table {
		if m.Type == kind {
			c := m.New()
			c.Shared().FromFile = true
			return c, c.Parse(b)
		}
		types = append(types, m.Type)
	}
	return nil, fmt.Errorf("peft: adapter_config.json: peft_type is %q, want one of %s", kind, strings.Join(types, ", "))
}

// Load attaches the adapter of a folder to the model. When it fails the model is as before.
func Load(dir string, m layer.Model, table []Method, allow Allow) (Config, Adapter, error) {
	c, err := ReadConfig(dir, table)
	if err != nil {
		return nil, nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, ConfigFile), err)
	}
	if f, ok := c.(Foreign); ok {
		a, err := f.LoadAdapter(dir, m, allow)
		if err != nil {
			return nil, nil, err
		}
		return c, a, nil
	}
	file, err := OpenTensors(dir)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	a, err := c.Attach(m, rand.New(rand.NewPCG(0, 0))) // values that no tensor replaces are drawn
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := Fill(a, file, allow); err != nil {
		a.Detach()
		return nil, nil, err
	}
	return c, a, nil
}

// Fill copies the tensors of an adapter file into the adapter's parameters. Keys may lack PEFT's prefix. Everything that does not
// fit is in one error: missing, unexpected, of another shape, not finite; and an adapter that changes nothing.
func Fill(a Adapter, file *checkpoint.Checkpoint, allow Allow) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("peft: %s: "+format, append([]any{file.Path()}, args...)...))
	}
	found := map[string]bool{}
	var params []string
	for name, p := range a.Params() {
		params = append(params, name)
		key, ok := lookup(a, file, name)
		if !ok {
			if !allow.Missing {
				bad("tensor %q is missing", name)
			}
			continue
		}
		found[key] = true
		info, _ := file.Info(key)
		if want := op.FileShape(p); !slices.Equal(info.Shape, want) {
			bad("tensor %q is %v, want %v", key, info.Shape, want)
			continue
		}
		if !checkpoint.IsFloat(info.DType) {
			bad("tensor %q is %s, want F32, F16 or BF16", key, info.DType)
			continue
		}
		if i, not := file.FirstNonFinite(key); not {
			bad("tensor %q has at %d no finite number", key, i)
			continue
		}
		v, err := file.Floats(key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		copy(op.Data(p), v)
	}
	mine, wrong := fillBuffers(a, file, allow)
	errs = append(errs, wrong...)
	for _, key := range mine {
		found[key] = true
	}
	for _, key := range file.Names() {
		if found[key] || allow.Unexpected {
			continue
		}
		if mine, err := checkExtra(a, file, key); err != nil {
			errs = append(errs, err)
		} else if !mine {
			bad("tensor %q is unexpected%s", key, similar(key, params))
		}
	}
	if i, ok := a.(Idler); ok && len(errs) == 0 && !allow.Idle && i.Idle() != "" {
		bad("the adapter changes nothing: %s", i.Idle())
	}
	return errors.Join(errs...)
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
