package peft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/model/layer"
)

// Allow names what Load and Fill put up with.
type Allow struct {
	Missing    bool // parameters without a tensor keep their initial values
	Unexpected bool // tensors without a parameter are left out
	Mismatched bool // parameters whose tensor has another shape keep their initial values
	NonFinite  bool // NaN and infinity
	Zero       bool // matrices that are all zero, as those that were never trained are
	Idle       bool // an adapter that changes nothing
	OtherBase  bool // a base with other tensors than the one trained on; it is not even looked at
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
	if err := checkBase(c, file, m, allow); err != nil {
		return nil, nil, err
	}
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
