// Package methods is the table of fine-tuning methods, and loads adapters of any of them.
package methods

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

// All lists the methods.
var All = []peft.Method{lora.Method}

// Lookup finds a method by its name in recipes.
func Lookup(name string) (peft.Method, error) {
	var names []string
	for _, m := range All {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return peft.Method{}, fmt.Errorf("methods: %q is not a method, want one of %s", name, strings.Join(names, ", "))
}

// ReadConfig decodes the adapter_config.json of a folder.
func ReadConfig(dir string) (peft.Config, error) {
	path := filepath.Join(dir, peft.ConfigFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("methods: %w", err)
	}
	o, err := peft.ParseObject(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	kind, ok := o["peft_type"].(string)
	if !ok {
		return nil, fmt.Errorf("methods: %s: peft_type is missing", path)
	}
	var types []string
	for _, m := range All {
		if m.Type != kind {
			types = append(types, m.Type)
			continue
		}
		c := m.New()
		c.Shared().FromFile = true
		if err := c.Parse(b); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return c, nil
	}
	return nil, fmt.Errorf("methods: %s: peft_type is %q, want one of %s", path, kind, strings.Join(types, ", "))
}

// Load attaches the adapter of a folder to the model.
func Load(dir string, m layer.Model, allow peft.Allow) (peft.Config, peft.Adapter, error) {
	c, err := ReadConfig(dir)
	if err != nil {
		return nil, nil, err
	}
	file, err := checkpoint.OpenFile(filepath.Join(dir, peft.TensorsFile))
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	a, err := c.Attach(m, rand.New(rand.NewPCG(0, 0))) // every value is replaced
	if err != nil {
		return nil, nil, err
	}
	if err := peft.Fill(a, file, allow); err != nil {
		a.Detach()
		return nil, nil, err
	}
	return c, a, nil
}
