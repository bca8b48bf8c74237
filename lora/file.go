package lora

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/graft-ml/graft/peft"
)

// defaults are all keys of a LORA file with PEFT's own values.
func defaults() peft.Object {
	return peft.Object{
		"alora_invocation_tokens": nil, "alpha_pattern": map[string]any{}, "arrow_config": nil,
		"bias": "none", "corda_config": nil, "ensure_weight_tying": false,
		"eva_config": nil, "exclude_modules": nil, "fan_in_fan_out": false,
		"init_lora_weights": true, "kasa_config": nil, "layer_replication": nil, "layers_pattern": nil,
		"layers_to_transform": nil, "loftq_config": map[string]any{}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0,
		"lora_ga_config": nil, "megatron_config": nil, "megatron_core": "megatron.core", "modules_to_save": nil,
		"monteclora_config": nil, "qalora_group_size": 16,
		"r": 8, "rank_pattern": map[string]any{}, "target_modules": nil, "target_parameters": nil,
		"trainable_token_indices": nil, "use_bdlora": nil, "use_dora": false,
		"use_qalora": false, "use_rslora": false, "velora_config": nil,
	}
}

func (c *Config) settings() []peft.Setting {
	return []peft.Setting{
		{Key: "r", To: &c.Rank},
		{Key: "lora_alpha", To: &c.Alpha},
		{Key: "lora_dropout", To: &c.Dropout},
		{Key: "use_rslora", To: &c.UseRSLoRA},
		{Key: "use_dora", To: &c.UseDoRA},
		{Key: "lora_bias", To: &c.LoraBias},
		{Key: "bias", To: &c.Beside.Bias},
		{Key: "modules_to_save", To: &c.Beside.ModulesToSave},
		{Key: "trainable_token_indices", To: &c.Beside.TokenIndices},
		{Key: "ensure_weight_tying", To: &c.Beside.Tie},
		{Key: "init_lora_weights", To: (*initName)(&c.Init), Want: "true, false or a string"},
		{Key: "eva_config", To: &initSetting{&c.EVA, c, "eva", nil}, Want: "an object"},
		{Key: "corda_config", To: &initSetting{&c.CorDA, c, "corda", nil}, Want: "an object"},
		{Key: "loftq_config", To: &initSetting{&c.LoftQ, c, "loftq", map[string]any{}}, Want: "an object"},
		{Key: "target_modules", To: &c.TargetModules},
		{Key: "target_parameters", To: &c.TargetParameters},
		{Key: "exclude_modules", To: &c.ExcludeModules},
		{Key: "layers_to_transform", To: (*peft.OneOrMore[int])(&c.LayersToTransform)},
		{Key: "layers_pattern", To: (*peft.OneOrMore[string])(&c.LayersPattern)},
		{Key: "rank_pattern", To: &c.RankPattern},
		{Key: "alpha_pattern", To: &c.AlphaPattern},
		{Key: "fan_in_fan_out", To: &c.FanInFanOut},
		{Key: "base_model_name_or_path", To: &c.BaseModel},
		{Key: "task_type", To: &c.TaskType},
	}
}

// Parse implements peft.Config. Keys that graft does not know are kept; those that say something are warned of.
func (c *Config) Parse(b []byte) error {
	record, unknown, err := peft.ReadSettings(b, "LORA", defaults(), c.settings())
	if record.Said("peft_type") != "LORA" {
		return err
	}
	for _, key := range unknown {
		if key == enableKey {
			continue // not PEFT's any more, but read
		}
		c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q is unknown and has no effect", key))
	}
	for _, key := range slices.Sorted(maps.Keys(initSettings)) {
		if c.Init != initSettings[key] && !peft.SaysNo(record.Said(key)) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q has no effect with init_lora_weights %q", key, c.Init))
		}
	}
	c.Record = record
	return err
}

// initSetting are the settings of one value of init_lora_weights.
type initSetting struct {
	to   any
	of   *Config
	init string
	none any // what the file has without it
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *initSetting) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, s.to) }

// Value is the JSON value.
func (s *initSetting) Value() any {
	if s.of.Init != s.init {
		return s.none
	}
	b, _ := json.Marshal(s.to) // numbers and words always marshal
	o, _ := peft.ParseObject(b)
	return map[string]any(o)
}

// initName decodes init_lora_weights, a bool or a name in any case.
type initName string

// UnmarshalJSON implements json.Unmarshaler.
func (i *initName) UnmarshalJSON(b []byte) error {
	if s := string(b); s == "true" || s == "false" {
		*i = initName(s)
		return nil
	}
	var s string
	err := json.Unmarshal(b, &s)
	*i = initName(strings.ToLower(s))
	return err
}

// Value is the JSON value.
func (i *initName) Value() any {
	if *i == "true" || *i == "false" {
		return *i == "true"
	}
	return string(*i)
}

// JSON implements peft.Config.
func (c *Config) JSON() ([]byte, error) { return c.Record.JSON("LORA", defaults(), c.settings()) }
