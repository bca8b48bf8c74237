package lora

import (
	"errors"
	"fmt"
)

// Factored reports settings under which an adapter is more than the products s·B·A of its file, so that its factors alone
// do not say what it does.
func (c *Config) Factored() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("lora: "+format, args...)) }
	if c.UseDoRA {
		bad("use_dora is true: its magnitudes depend on the base; merge it into the base instead")
	}
	if c.LoraBias {
		bad("lora_bias is true, which the product of two factors has no place for")
	}
	if row, _, err := lookupInitialiser(c.Init); err == nil && row.takes {
		bad("init_lora_weights is %q: the adapter counts from what that leaves of the base; save it as plain LoRA first", c.Init)
	}
	return errors.Join(errs...)
}

// Scales is Branches for factors at hand: it reports a rank that is not what the settings say. Not safe for concurrent use.
func (c *Config) Scales() (func(module string, rank int) (float64, error), error) {
	branches, err := c.Branches()
	if err != nil {
		return nil, err
	}
	return func(module string, rank int) (float64, error) {
		want, scale, err := branches(module)
		if err != nil {
			return 0, err
		}
		if want != rank {
			return 0, fmt.Errorf("lora: %q is of rank %d, want r %d as adapter_config.json says", module, rank, want)
		}
		return scale, nil
	}, nil
}
