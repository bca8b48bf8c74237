package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/tuner"
)

// enableKey is the setting of files that PEFT wrote before 0.3, and of microsoft/LoRA's MergedLinear: of the equal shares of a
// projection's outputs (queries, keys and values of one weight), which have a branch. Newer PEFTs can neither write nor read it.
const enableKey = "enable_lora"

// grouped are the options of branches of their own for shares of the outputs [hu2021, loralib's MergedLinear]. With g of n
// shares enabled,
//
//	y_share = (x·Wᵀ)_share + s·x·A_iᵀ·B_iᵀ     s = alpha/r, for the i-th enabled share
//
//	x [T, in]   A [g·r, in]   B [g·out/n, r]   one pair (A_i, B_i) after the other; PEFT's B has a third dimension of 1
//
// Shares are counted in the weight as it is stored: in a projection whose outputs alternate head by head, such as Bloom's, they
// are not queries, keys and values. That is what the files mean all the same: they were trained so.
type grouped struct {
	rank           int
	alpha, dropout float64
	enabled        []bool
}

// Settings implements tuner.Options: they are read as LoRA's.
func (o *grouped) Settings() []peft.Setting { return nil }

// Check implements tuner.Options.
func (o *grouped) Check() error { return nil }

// Layer implements tuner.Maker.
func (o *grouped) Layer(s *tuner.Site) (*tuner.Layer, error) {
	n := len(o.enabled)
	if s.Out%n != 0 {
		return nil, fmt.Errorf("%s has %d shares, which do not divide its %d outputs", enableKey, n, s.Out)
	}
	share, g := s.Out/n, o.groups()
	a, b := s.Param("lora_A.weight", tuner.Kaiming(s.In), g*o.rank, s.In), s.Param("lora_B.weight", tuner.Zeros, g*share, o.rank, 1)
	return &tuner.Layer{Add: func(c *tuner.Call, x *tape.Node) *tape.Node {
		inner := c.MatMulT(c.Dropout(x, o.dropout), c.Param(a)) // [T, g·r]
		down := c.Reshape(c.Param(b), g*share, o.rank)
		var parts []*tape.Node
		i := 0
		for _, on := range o.enabled {
			if !on {
				parts = append(parts, c.Lazy(x.Rows, share, func(kernel.Mat) {}))
				continue
			}
			parts = append(parts, c.MatMulT(c.Part(inner, 0, x.Rows, i*o.rank, (i+1)*o.rank), c.Part(down, i*share, (i+1)*share, 0, o.rank)))
			i++
		}
		return c.Scale(float32(o.alpha/float64(o.rank)), c.Beside(parts...))
	}}, nil
}

// groups counts the enabled shares.
func (o *grouped) groups() (n int) {
	for _, on := range o.enabled {
		if on {
			n++
		}
	}
	return n
}

// Shares are the values of enable_lora, of old files; nil if the file has none.
func (c *Config) Shares() ([]bool, error) {
	said := c.Said(enableKey)
	if peft.SaysNo(said) {
		return nil, nil
	}
	b, _ := json.Marshal(said) // it came out of JSON
	var list []bool
	if json.Unmarshal(b, &list) != nil || !slices.Contains(list, true) {
		return nil, fmt.Errorf("lora: %s is %.60s, want a list of true and false, one of them true", enableKey, b)
	}
	return list, nil
}

// checkShares reports what cannot be together with enable_lora: no program ever had both.
func (c *Config) checkShares() error {
	list, err := c.Shares()
	if list == nil {
		return err
	}
	var errs []error
	for _, other := range []struct {
		key string
		set bool
	}{
		{"use_dora", c.UseDoRA}, {"use_rslora", c.UseRSLoRA}, {"lora_bias", c.LoraBias}, {"rank_pattern", len(c.RankPattern) > 0},
		{"alpha_pattern", len(c.AlphaPattern) > 0}, {"trainable_token_indices", !c.Beside.TokenIndices.IsNull()},
	} {
		if other.set {
			errs = append(errs, fmt.Errorf("lora: %s and %s are both set, want one of them", enableKey, other.key))
		}
	}
	return errors.Join(errs...)
}

// attachShares attaches branches of shares.
func (c *Config) attachShares(m layer.Model, enabled []bool, rng *rand.Rand) (peft.Adapter, error) {
	k := &tuner.Kind{Type: Method.Type, Name: Method.Name,
		New: func() tuner.Options {
			return &grouped{rank: c.Rank, alpha: c.Alpha, dropout: c.Dropout, enabled: enabled}
		}}
	t := k.Config()
	t.Common, t.Beside = c.Common, c.Beside
	t.TargetModules, t.ExcludeModules, t.LayersToTransform, t.LayersPattern = c.TargetModules, c.ExcludeModules, c.LayersToTransform, c.LayersPattern
	a, err := t.Attach(m, rng)
	c.Warnings, c.TargetModules = t.Warnings, t.TargetModules
	return a, err
}
