package peft

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/internal/op"
)

// Names of the files of an adapter folder.
const (
	ConfigFile  = "adapter_config.json"
	TensorsFile = "adapter_model.safetensors"
)

// Save writes the adapter into a folder, which it makes. Each file appears whole or not at all.
func Save(dir string, c Config, a Adapter) error {
	config, err := c.JSON()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("peft: %w", err)
	}
	if err := checkpoint.Write(filepath.Join(dir, TensorsFile), Entries(a), nil); err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, ConfigFile), config)
}

// Entries are the adapter's tensors as its file holds them.
func Entries(a Adapter) (list []checkpoint.Entry) {
	for name, p := range a.Params() {
		list = append(list, checkpoint.FromFloats(name, p.Shape(), op.Data(p)))
	}
	return list
}

// Allow names what Fill puts up with.
type Allow struct {
	Missing    bool // parameters without a tensor keep their initial values
	Unexpected bool // tensors without a parameter are left out
	Idle       bool // an adapter that changes nothing
}

// Fill copies the tensors of an adapter file into the adapter's parameters. Keys may lack PEFT's prefix. Everything that does not
// fit is in one error: missing, unexpected, of another shape, not finite; and an adapter that changes nothing.
func Fill(a Adapter, file *checkpoint.Checkpoint, allow Allow) error {
	var errs []error
	found := map[string]bool{}
	var params []string
	for name, p := range a.Params() {
		params = append(params, name)
		key, ok := lookup(file, name)
		if !ok {
			if !allow.Missing {
				errs = append(errs, fmt.Errorf("peft: %s: tensor %q is missing", file.Path(), name))
			}
			continue
		}
		found[key] = true
		info, _ := file.Info(key)
		if !slices.Equal(info.Shape, p.Shape()) {
			errs = append(errs, fmt.Errorf("peft: %s: tensor %q is %v, want %v", file.Path(), key, info.Shape, p.Shape()))
			continue
		}
		if i, bad := file.FirstNonFinite(key); bad {
			errs = append(errs, fmt.Errorf("peft: %s: tensor %q is not finite at %d", file.Path(), key, i))
			continue
		}
		v, err := file.Floats(key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		copy(op.Data(p), v)
	}
	for _, key := range file.Names() {
		if !found[key] && !allow.Unexpected {
			errs = append(errs, fmt.Errorf("peft: %s: tensor %q is unexpected%s", file.Path(), key, similar(key, params)))
		}
	}
	if len(errs) == 0 && !allow.Idle {
		if i, ok := a.(Idler); ok && i.Idle() != "" {
			errs = append(errs, fmt.Errorf("peft: %s: the adapter changes nothing: %s", file.Path(), i.Idle()))
		}
	}
	return errors.Join(errs...)
}

// lookup finds the tensor of a parameter under its full name or without the prefix.
func lookup(file *checkpoint.Checkpoint, name string) (string, bool) {
	for _, key := range []string{name, strings.TrimPrefix(name, Prefix)} {
		if _, ok := file.Info(key); ok {
			return key, true
		}
	}
	return "", false
}

// similar suggests a parameter that ends as the key does.
func similar(key string, params []string) string {
	parts := strings.Split(key, ".")
	for n := len(parts); n >= 3; n-- {
		tail := strings.Join(parts[len(parts)-n:], ".")
		for _, p := range params {
			if strings.HasSuffix(p, "."+tail) {
				return fmt.Sprintf("; did you mean %q?", p)
			}
		}
	}
	return ""
}
