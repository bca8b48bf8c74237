package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

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
}

// New returns PEFT's defaults: a file that leaves a key out means these.
func New() *Config { return &Config{Rank: 8, Alpha: 8, Init: "true"} }

// Shared implements peft.Config.
func (c *Config) Shared() *peft.Common { return &c.Common }

// version is what graft writes as peft_version: the release whose files these are like.
const version = "0.21.2"

// defaults are all keys of a LORA file with PEFT's own values.
var defaults = func() peft.Object {
	o, err := peft.ParseObject([]byte(`{"alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
 "base_model_name_or_path": null, "bias": "none", "corda_config": null, "ensure_weight_tying": false,
 "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": false,
 "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
 "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0,
 "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
 "monteclora_config": null, "peft_type": "LORA", "peft_version": "` + version + `", "qalora_group_size": 16,
 "r": 8, "rank_pattern": {}, "revision": null, "target_modules": null, "target_parameters": null,
 "task_type": null, "trainable_token_indices": null, "use_bdlora": null, "use_dora": false,
 "use_qalora": false, "use_rslora": false, "velora_config": null}`))
	if err != nil {
		panic(err)
	}
	return o
}()

// refused are keys whose other values graft cannot honour; a value that says no is fine.
var refused = []string{"alora_invocation_tokens", "arrow_config", "corda_config", "ensure_weight_tying", "eva_config", "kasa_config",
	"layer_replication", "loftq_config", "lora_bias", "lora_ga_config", "megatron_config", "modules_to_save", "monteclora_config",
	"target_parameters", "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora", "velora_config"}

// Parse implements peft.Config.
func (c *Config) Parse(b []byte) error {
	o, err := peft.ParseObject(b)
	if err != nil {
		return err
	}
	if t, ok := o["peft_type"].(string); !ok || t != "LORA" {
		return fmt.Errorf("lora: adapter_config.json: peft_type is %v, want \"LORA\"", o["peft_type"])
	}
	c.file = o
	var errs []error
	read := func(key string, to any) {
		v, ok := o[key]
		if !ok || v == nil {
			return
		}
		raw, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(raw, to)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("lora: adapter_config.json: %s is %s, want %s", key, raw, wants[key]))
		}
	}
	read("r", &c.Rank)
	read("lora_alpha", &c.Alpha)
	read("lora_dropout", &c.Dropout)
	read("use_rslora", &c.UseRSLoRA)
	read("target_modules", &c.TargetModules)
	read("exclude_modules", &c.ExcludeModules)
	read("layers_to_transform", (*oneOrMore[int])(&c.LayersToTransform))
	read("layers_pattern", (*oneOrMore[string])(&c.LayersPattern))
	read("base_model_name_or_path", &c.BaseModel)
	read("task_type", &c.TaskType)
	// Patterns keep the order of their keys, which a map has lost.
	var ordered struct {
		Rank  peft.Pattern `json:"rank_pattern"`
		Alpha peft.Pattern `json:"alpha_pattern"`
	}
	if err := json.Unmarshal(b, &ordered); err != nil {
		errs = append(errs, fmt.Errorf("lora: adapter_config.json: rank_pattern or alpha_pattern: %w", err))
	}
	c.RankPattern, c.AlphaPattern = ordered.Rank, ordered.Alpha
	switch v := o["init_lora_weights"].(type) {
	case bool:
		c.Init = fmt.Sprint(v)
	case string:
		c.Init = v
	}
	if len(c.LayersPattern) == 1 && c.LayersPattern[0] == "" {
		c.LayersPattern = nil
	}
	return errors.Join(errs...)
}

// wants says what a key must hold, for errors.
var wants = map[string]string{"r": "a whole number", "lora_alpha": "a number", "lora_dropout": "a number", "use_rslora": "true or false",
	"target_modules": "a list of names or a pattern", "exclude_modules": "a list of names or a pattern",
	"layers_to_transform": "a number or a list of numbers", "layers_pattern": "a name or a list of names",
	"base_model_name_or_path": "a string", "task_type": "a string"}

// oneOrMore decodes a value or a list of values.
type oneOrMore[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *oneOrMore[T]) UnmarshalJSON(b []byte) error {
	var one T
	if json.Unmarshal(b, &one) == nil {
		*l = []T{one}
		return nil
	}
	return json.Unmarshal(b, (*[]T)(l))
}

// JSON implements peft.Config: every key that was read, with the values of now; for a new config, all of PEFT's keys.
func (c *Config) JSON() ([]byte, error) {
	o := maps.Clone(c.file)
	if o == nil {
		o = maps.Clone(defaults)
	}
	// A number that has not changed keeps the form in which it was written (8 or 8.0).
	number := func(key string, v float64) {
		old, ok := o[key].(json.Number)
		if f, err := old.Float64(); ok && err == nil && f == v {
			return
		}
		if v == float64(int64(v)) && key != "lora_dropout" {
			o[key] = int(v)
			return
		}
		o[key] = v
	}
	set := func(key string, v any) {
		if _, had := o[key]; had || v != nil {
			o[key] = v
		}
	}
	number("r", float64(c.Rank))
	number("lora_alpha", c.Alpha)
	if _, had := o["lora_dropout"]; had || c.Dropout != 0 {
		number("lora_dropout", c.Dropout)
	}
	if _, had := o["use_rslora"]; had || c.UseRSLoRA {
		o["use_rslora"] = c.UseRSLoRA
	}
	set("target_modules", c.TargetModules.Value())
	set("exclude_modules", c.ExcludeModules.Value())
	if c.file == nil {
		set("layers_to_transform", list(c.LayersToTransform))
		set("layers_pattern", list(c.LayersPattern))
		o["rank_pattern"], o["alpha_pattern"] = c.RankPattern.Value(), c.AlphaPattern.Value()
		switch c.Init {
		case "true", "false":
			o["init_lora_weights"] = c.Init == "true"
		default:
			o["init_lora_weights"] = c.Init
		}
	}
	if c.BaseModel != "" {
		o["base_model_name_or_path"] = c.BaseModel
	}
	if c.TaskType != "" {
		o["task_type"] = c.TaskType
	}
	o["inference_mode"] = true
	return peft.PythonJSON(o)
}

func list[T any](v []T) any {
	if v == nil {
		return nil
	}
	l := make([]any, len(v))
	for i := range v {
		l[i] = v[i]
	}
	return l
}

// Validate implements peft.Config.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("lora: "+format, args...)) }
	if c.Rank < 1 {
		bad("r is %d, want at least 1", c.Rank)
	}
	if c.Dropout < 0 || c.Dropout >= 1 {
		bad("lora_dropout is %g, want 0 or more and less than 1", c.Dropout)
	}
	if !slices.Contains([]string{"true", "false", "gaussian"}, c.Init) {
		bad("init_lora_weights is %q, which is not supported yet, want true, false or \"gaussian\"", c.Init)
	}
	for _, key := range refused {
		if v := c.file[key]; !saysNo(v) {
			b, _ := json.Marshal(v) // it came out of JSON
			bad("%s is %.60s, which is not supported yet", key, b)
		}
	}
	if v, ok := c.file["bias"]; ok && v != "none" {
		bad("bias is %q, which is not supported yet, want \"none\"", v)
	}
	for _, p := range []struct {
		key string
		p   peft.Pattern
	}{{"rank_pattern", c.RankPattern}, {"alpha_pattern", c.AlphaPattern}} {
		for _, e := range p.p {
			if f, err := e.Value.Float64(); err != nil || p.key == "rank_pattern" && (f < 1 || f != float64(int(f))) {
				bad("%s %q is %s, want a whole number of at least 1", p.key, e.Key, e.Value)
			}
		}
	}
	return errors.Join(errs...)
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

// RankAlpha is the rank and alpha of a slot, after the patterns.
func (c *Config) RankAlpha(slot string) (r int, alpha float64, err error) {
	r, alpha = c.Rank, c.Alpha
	if v, ok, err := c.RankPattern.Lookup("rank_pattern", slot); err != nil {
		return 0, 0, err
	} else if ok {
		f, _ := v.Float64() // checked by Validate
		r = int(f)
	}
	if v, ok, err := c.AlphaPattern.Lookup("alpha_pattern", slot); err != nil {
		return 0, 0, err
	} else if ok {
		alpha, _ = v.Float64()
	}
	return r, alpha, nil
}

// patternsUsed reports keys of the patterns that match none of the slots, which PEFT passes over in silence.
func (c *Config) patternsUsed(slots []*layer.Slot) error {
	if c.FromFile {
		return nil
	}
	var errs []error
	for _, p := range []struct {
		key string
		p   peft.Pattern
	}{{"rank_pattern", c.RankPattern}, {"alpha_pattern", c.AlphaPattern}} {
		for i := range p.p {
			used := false
			for _, s := range slots {
				_, ok, err := p.p[i:i+1].Lookup(p.key, s.Name)
				if err != nil {
					return err
				}
				used = used || ok
			}
			if !used {
				var ends []string
				for _, s := range slots {
					if end := s.Name[strings.LastIndexByte(s.Name, '.')+1:]; !slices.Contains(ends, end) {
						ends = append(ends, end)
					}
				}
				errs = append(errs, fmt.Errorf("lora: %s key %q matches none of the target modules (%s)", p.key, p.p[i].Key, strings.Join(ends, ", ")))
			}
		}
	}
	return errors.Join(errs...)
}
