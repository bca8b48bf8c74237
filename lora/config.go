package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/graft-ml/graft/peft"
)

// maxRank keeps hostile ranks from overflowing products.
const maxRank = 1 << 20

// Config holds the settings of LoRA: adapter_config.json.
type Config struct {
	peft.Common
	Rank              int          // r
	Alpha             float64      // lora_alpha
	Dropout           float64      // lora_dropout
	UseRSLoRA         bool         // use_rslora
	Init              string       // init_lora_weights: "true", "false" or "gaussian"
	TargetModules     peft.Names   // target_modules
	ExcludeModules    peft.Names   // exclude_modules
	LayersToTransform []int        // layers_to_transform
	LayersPattern     []string     // layers_pattern
	RankPattern       peft.Pattern // rank_pattern
	AlphaPattern      peft.Pattern // alpha_pattern

	file peft.Object // what adapter_config.json said, every key of it
	read *Config     // the settings as they were read, to tell which were changed since
}

// New returns PEFT's defaults: a file that leaves a key out means these.
func New() *Config { return &Config{Rank: 8, Alpha: 8, Init: "true"} }

// Shared implements peft.Config.
func (c *Config) Shared() *peft.Common { return &c.Common }

// refused are keys whose other values graft cannot honour; a value that says no is fine.
var refused = []string{"alora_invocation_tokens", "arrow_config", "corda_config", "ensure_weight_tying", "eva_config", "kasa_config",
	"layer_replication", "loftq_config", "lora_bias", "lora_ga_config", "megatron_config", "modules_to_save", "monteclora_config",
	"target_parameters", "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora", "velora_config"}

// initialisers are the values of init_lora_weights that graft knows.
var initialisers = []string{"true", "false", "gaussian"}

// Validate implements peft.Config.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("lora: "+format, args...)) }
	if c.Rank < 1 || c.Rank > maxRank {
		bad("r is %d, want 1 to %d", c.Rank, maxRank)
	}
	if c.Alpha == 0 && !c.FromFile {
		bad("lora_alpha is 0, want another number: the adapter would change nothing")
	}
	if math.IsNaN(c.Alpha) || math.IsInf(c.Alpha, 0) {
		bad("lora_alpha is %g, want a finite number", c.Alpha)
	}
	if !(c.Dropout >= 0 && c.Dropout < 1) {
		bad("lora_dropout is %g, want 0 or more and less than 1", c.Dropout)
	}
	if !slices.Contains(initialisers, c.Init) {
		bad("init_lora_weights is %q, which is not supported yet, want true, false or \"gaussian\"", c.Init)
	}
	for _, key := range refused {
		if v := c.file[key]; !saysNo(v) {
			b, _ := json.Marshal(v) // it came out of JSON
			bad("%s is %.60s, which is not supported yet", key, b)
		}
	}
	if v := c.file["bias"]; !saysNo(v) && v != "none" {
		b, _ := json.Marshal(v)
		bad("bias is %.60s, which is not supported yet, want \"none\"", b)
	}
	for _, e := range c.RankPattern {
		if n, err := e.Value.Int64(); err != nil || n < 1 || n > maxRank {
			bad("rank_pattern %q is %s, want a whole number from 1 to %d", e.Key, e.Value, maxRank)
		}
	}
	for _, e := range c.AlphaPattern {
		if _, err := e.Value.Float64(); err != nil {
			bad("alpha_pattern %q is %s, want a finite number", e.Key, e.Value)
		}
	}
	_, err := c.patterns()
	return errors.Join(append(errs, c.selection().Validate(), err)...)
}

// saysNo tells whether a JSON value means no: null, false, or something empty.
func saysNo(v any) bool {
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

func (c *Config) selection() peft.Selection {
	return peft.Selection{TargetModules: c.TargetModules, ExcludeModules: c.ExcludeModules, LayersToTransform: c.LayersToTransform,
		LayersPattern: c.LayersPattern, Lenient: c.FromFile}
}
