package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/graft-ml/graft/peft"
)

// version is what graft writes as peft_version unless a file said another: the release whose files graft's are like.
const version = "0.21.2"

// defaults are all keys of a LORA file with PEFT's own values.
func defaults() peft.Object {
	return peft.Object{
		"alora_invocation_tokens": nil, "alpha_pattern": map[string]any{}, "arrow_config": nil, "auto_mapping": nil,
		"base_model_name_or_path": nil, "bias": "none", "corda_config": nil, "ensure_weight_tying": false,
		"eva_config": nil, "exclude_modules": nil, "fan_in_fan_out": false, "inference_mode": true,
		"init_lora_weights": true, "kasa_config": nil, "layer_replication": nil, "layers_pattern": nil,
		"layers_to_transform": nil, "loftq_config": map[string]any{}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0,
		"lora_ga_config": nil, "megatron_config": nil, "megatron_core": "megatron.core", "modules_to_save": nil,
		"monteclora_config": nil, "peft_type": "LORA", "peft_version": version, "qalora_group_size": 16,
		"r": 8, "rank_pattern": map[string]any{}, "revision": nil, "target_modules": nil, "target_parameters": nil,
		"task_type": nil, "trainable_token_indices": nil, "use_bdlora": nil, "use_dora": false,
		"use_qalora": false, "use_rslora": false, "velora_config": nil,
	}
}

// setting is one key of adapter_config.json that graft reads: where its value goes and what it may be.
type setting struct {
	key  string
	to   any // pointer into the Config
	want string
}

func (c *Config) settings() []setting {
	return []setting{
		{"r", &c.Rank, "a whole number"},
		{"lora_alpha", &c.Alpha, "a number"},
		{"lora_dropout", &c.Dropout, "a number"},
		{"use_rslora", &c.UseRSLoRA, "true or false"},
		{"use_dora", &c.UseDoRA, "true or false"},
		{"lora_bias", &c.LoraBias, "true or false"},
		{"bias", &c.Beside.Bias, "a string"},
		{"modules_to_save", &c.Beside.ModulesToSave, "a list of names"},
		{"trainable_token_indices", &c.Beside.TokenIndices, "a list of whole numbers or an object of such lists"},
		{"ensure_weight_tying", &c.Beside.Tie, "true or false"},
		{"init_lora_weights", (*initName)(&c.Init), "true, false or a string"},
		{"target_modules", &c.TargetModules, "a list of names or a pattern"},
		{"exclude_modules", &c.ExcludeModules, "a list of names or a pattern"},
		{"layers_to_transform", (*oneOrMore[int])(&c.LayersToTransform), "a whole number or a list of them"},
		{"layers_pattern", (*oneOrMore[string])(&c.LayersPattern), "a name or a list of names"},
		{"rank_pattern", &c.RankPattern, "an object of numbers"},
		{"alpha_pattern", &c.AlphaPattern, "an object of numbers"},
		{"fan_in_fan_out", &c.FanInFanOut, "true or false"},
		{"base_model_name_or_path", &c.BaseModel, "a string"},
		{"task_type", &c.TaskType, "a string"},
	}
}

// Parse implements peft.Config. Keys that graft does not know are kept; those that say something are warned of.
func (c *Config) Parse(b []byte) error {
	o, err := peft.ParseObject(b)
	if err != nil {
		return err
	}
	if o["peft_type"] != "LORA" {
		return fmt.Errorf("lora: adapter_config.json: peft_type is %v, want \"LORA\"", o["peft_type"])
	}
	var raw map[string]json.RawMessage // as written: objects keep the order of their keys
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("lora: adapter_config.json: %w", err)
	}
	var errs []error
	for _, s := range c.settings() {
		v, ok := raw[s.key]
		if !ok || string(v) == "null" {
			continue
		}
		if err := json.Unmarshal(v, s.to); err != nil {
			errs = append(errs, fmt.Errorf("lora: adapter_config.json: %s is %.60s, want %s", s.key, compact(v), s.want))
		}
	}
	if slices.Equal(c.LayersPattern, []string{""}) {
		c.LayersPattern = nil
	}
	known := defaults()
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if _, ok := known[key]; !ok && !saysNo(o[key]) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q is unknown and has no effect", key))
		}
		if init, ok := initSettings[key]; ok && c.Init != init && !saysNo(o[key]) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q has no effect with init_lora_weights %q", key, c.Init))
		}
	}
	c.file = o
	copied := *c
	c.read = &copied
	return errors.Join(errs...)
}

// compact puts a JSON value on one line.
func compact(v json.RawMessage) string { return strings.Join(strings.Fields(string(v)), " ") }

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

// JSON implements peft.Config: all of PEFT's keys, and those of the file that it does not know. What has not changed since it was read
// is written as it was.
func (c *Config) JSON() ([]byte, error) {
	o := defaults()
	maps.Copy(o, c.file)
	was := c.read
	if was == nil {
		was = New()
	}
	before := was.settings()
	for i, s := range c.settings() {
		if !reflect.DeepEqual(s.to, before[i].to) {
			o[s.key] = c.value(s)
		}
	}
	o["inference_mode"] = true
	return peft.PythonJSON(o)
}

// value is what adapter_config.json holds for a setting.
func (c *Config) value(s setting) any {
	switch v := s.to.(type) {
	case *int:
		return *v
	case *bool:
		return *v
	case *string:
		return text(*v)
	case *float64:
		if s.key == "lora_alpha" && *v == float64(int64(*v)) {
			return int(*v)
		}
		return *v
	case *initName:
		if *v == "true" || *v == "false" {
			return *v == "true"
		}
		return string(*v)
	case *peft.Names:
		return v.Value()
	case *peft.Pattern:
		return v.Value()
	case *peft.TokenIndices:
		return v.Value()
	case *[]string:
		return list(*v)
	case *oneOrMore[int]:
		return list(*v)
	case *oneOrMore[string]:
		return list(*v)
	}
	panic(fmt.Sprintf("lora: %s: no JSON form of %T", s.key, s.to))
}

// text is a string, or null for an empty one.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
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
