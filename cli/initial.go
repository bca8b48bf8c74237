package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
)

// initial replaces the initial values by those of a file, for comparisons with other programs. Its names may be those of an
// adapter's file, or of PEFT's named_parameters.
func (p *plan) initial(path string) error {
	if path == "" {
		return nil
	}
	file, err := checkpoint.OpenFile(path)
	if err != nil {
		return err
	}
	defer file.Close()
	names := map[string]string{}
	for _, name := range file.Names() {
		names[plainName(name)] = name
	}
	var errs []error
	for _, q := range p.params {
		name, ok := names[plainName(q.Name)]
		if !ok {
			errs = append(errs, fmt.Errorf("method.init_values: %s: no tensor for %q among its %d", path, q.Name, len(names)))
			continue
		}
		v, err := file.Floats(name)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("method.init_values: %w", err))
		case len(v) != len(q.Value):
			errs = append(errs, fmt.Errorf("method.init_values: %s: tensor %q has %d numbers, want %d", path, name, len(v), len(q.Value)))
		default:
			copy(q.Value, v)
		}
	}
	return errors.Join(errs...)
}

// plainName is a parameter's name without what PEFT's wrappers add to it, in files or in memory.
func plainName(name string) string {
	name = strings.TrimSuffix(strings.TrimSuffix(wrappers.Replace(name+"."), "."), ".weight")
	for _, start := range []string{"base_model.", "model.", "prompt_encoder.", "encoder."} {
		name = strings.TrimPrefix(name, start)
	}
	if name == "prompt_embeddings" {
		return "embedding"
	}
	return name
}

var wrappers = strings.NewReplacer(".modules_to_save.default.", ".", ".default.", ".")
