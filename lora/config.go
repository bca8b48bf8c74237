package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/graft-ml/graft/model/layer"
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
	UseDoRA           bool         // use_dora
	LoraBias          bool         // lora_bias
	Init              string       // init_lora_weights: a name of the table of initialisers
	TargetModules     peft.Names   // target_modules
	TargetParameters  []string     // target_parameters: weights of experts that transformers keeps as one
	ExcludeModules    peft.Names   // exclude_modules
	LayersToTransform []int        // layers_to_transform
	LayersPattern     []string     // layers_pattern
	RankPattern       peft.Pattern // rank_pattern
	AlphaPattern      peft.Pattern // alpha_pattern
	Beside            peft.Beside  // modules_to_save, trainable_token_indices, bias, ensure_weight_tying
	EVA               EVA          // eva_config
	CorDA             CorDA        // corda_config
	LoftQ             LoftQ        // loftq_config
	// Sample passes a few batches of the data through the model that is being adapted: for init_lora_weights "eva" and "corda".
	Sample      func(m layer.Model) error
	FanInFanOut bool // fan_in_fan_out: weights are stored [in, out]. PEFT writes it; the model knows better

	peft.Record // what adapter_config.json said
}

// New returns PEFT's defaults: a file that leaves a key out means these.
func New() *Config {
	return &Config{Rank: 8, Alpha: 8, Init: "true", EVA: EVA{Rho: 2, Adjust: true}, CorDA: CorDA{Method: "ipm"}, LoftQ: LoftQ{Bits: 4, Iter: 1}, Beside: peft.Beside{Bias: "none"}}
}

// Shared implements peft.Config.
func (c *Config) Shared() *peft.Common { return &c.Common }

// refused are keys whose other values graft cannot honour, with the reason; a value that says no is fine.
var refused = []struct{ key, why string }{
	{"alora_invocation_tokens", "branches that begin in the middle of a text are not built yet"},
	{"arrow_config", "routing between adapters is not built"},
	{"kasa_config", "this variant is not built"},
	{"layer_replication", "a model whose layers are repeated is another model; write it as a checkpoint of its own"},
	{"megatron_config", "there are no parallel layers"},
	{"monteclora_config", "this variant is not built"},
	{"use_bdlora", "this variant is not built"},
	{"use_qalora", "it is made for a quantised base, which graft has not"},
	{"velora_config", "this variant is not built"},
}

// initSettings are keys that count for one value of init_lora_weights only.
var initSettings = map[string]string{"corda_config": "corda", "eva_config": "eva", "loftq_config": "loftq", "lora_ga_config": "lora_ga"}

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
	init, _, err := c.initialiser()
	if err != nil {
		errs = append(errs, err)
	}
	if c.LoraBias && c.UseDoRA {
		bad("lora_bias and use_dora are both true, want one of them")
	}
	if c.LoraBias && err == nil && !init.plain {
		bad("lora_bias is true with init_lora_weights %q, want true or false", c.Init)
	}
	for _, r := range refused {
		if v := c.Said(r.key); !peft.SaysNo(v) {
			b, _ := json.Marshal(v) // it came out of JSON
			bad("%s is %.60s, which is not supported: %s", r.key, b, r.why)
		}
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
	_, err = c.patterns()
	return errors.Join(append(errs, c.checkInit(), c.checkParameters(), c.selection().Validate(), c.Beside.Validate("lora_only"), c.checkShares(), err)...)
}

// checkInit reports settings of initialisers that cannot be.
func (c *Config) checkInit() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("lora: "+format, args...)) }
	switch c.Init {
	case "eva":
		if !(c.EVA.Rho >= 1 && c.EVA.Rho <= maxRank) {
			bad("eva_config rho is %g, want 1 or more", c.EVA.Rho)
		}
	case "corda":
		if c.CorDA.Method != "ipm" && c.CorDA.Method != "kpm" {
			bad("corda_config corda_method is %q, want \"ipm\" or \"kpm\"", c.CorDA.Method)
		}
	case "loftq":
		if c.LoftQ.Bits != 2 && c.LoftQ.Bits != 4 && c.LoftQ.Bits != 8 {
			bad("loftq_config loftq_bits is %d, want 2, 4 or 8", c.LoftQ.Bits)
		}
		if c.LoftQ.Iter < 1 || c.LoftQ.Iter > 100 {
			bad("loftq_config loftq_iter is %d, want 1 to 100", c.LoftQ.Iter)
		}
		if c.UseDoRA || c.Beside.Bias != "" && c.Beside.Bias != "none" {
			bad("init_lora_weights \"loftq\" does not go with use_dora or bias")
		}
	}
	return errors.Join(errs...)
}

func (c *Config) selection() peft.Selection {
	return peft.Selection{TargetModules: c.TargetModules, TaskType: c.TaskType, ExcludeModules: c.ExcludeModules, LayersToTransform: c.LayersToTransform,
		LayersPattern: c.LayersPattern, ModulesToSave: c.Beside.ModulesToSave, Lenient: c.FromFile}
}

// noDropout reports kinds of dropout that graft does not have, given as key and value in turn.
func noDropout(list ...any) error {
	var errs []error
	for i := 0; i < len(list); i += 2 {
		if list[i+1] != 0.0 {
			errs = append(errs, fmt.Errorf("lora: %s is %g, want 0: it is not built for training", list[i], list[i+1]))
		}
	}
	return errors.Join(errs...)
}
