package adapter

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/peft"
)

// presets are the library's config strings: the objects that each stands for, of more than one in a union.
var presets = []struct {
	name    string
	objects []string
}{
	{"seq_bn", []string{seqBn}}, {"double_seq_bn", []string{doubleSeqBn}}, {"par_bn", []string{parBn}},
	{"scaled_par_bn", []string{with(parBn, `"scaling": "learned"`)}},
	{"seq_bn_inv", []string{with(seqBn, inverse)}}, {"double_seq_bn_inv", []string{with(doubleSeqBn, inverse)}},
	{"compacter", []string{with(doubleSeqBn, hypercomplex)}}, {"compacter++", []string{with(seqBn, hypercomplex)}},
	{"lora", []string{hubLoRA}}, {"ia3", []string{with(hubLoRA, hubIA3)}}, {"dora", []string{with(hubLoRA, `"use_dora": true`)}},
	{"vera", []string{with(hubLoRA, hubVeRA)}}, {"dvora", []string{with(hubLoRA, hubVeRA, `"use_dora": true`)}},
	{"prefix_tuning", []string{hubPrefixes}}, {"prefix_tuning_flat", []string{with(hubPrefixes, `"flat": true`)}},
	{"prompt_tuning", []string{`"architecture": "prompt_tuning"`}},
	{"mam", []string{with(hubPrefixes, `"bottleneck_size": 800`), parBn}},
	{"unipelt", []string{with(hubPrefixes, `"prefix_length": 10`, gate), with(seqBn, gate), with(hubLoRA, `"alpha": 2`, gate)}},
	{"pfeiffer", []string{seqBn}}, {"houlsby", []string{doubleSeqBn}}, {"parallel", []string{parBn}},
	{"scaled_parallel", []string{with(parBn, `"scaling": "learned"`)}},
	{"pfeiffer+inv", []string{with(seqBn, inverse)}}, {"houlsby+inv", []string{with(doubleSeqBn, inverse)}},
}

const (
	seqBn        = `"original_ln_before": true, "non_linearity": "relu", "reduction_factor": 16`
	doubleSeqBn  = `"mh_adapter": true, "non_linearity": "swish", "reduction_factor": 16`
	parBn        = `"non_linearity": "relu", "reduction_factor": 2, "init_weights": "mam_adapter", "is_parallel": true, "scaling": 4.0`
	inverse      = `"inv_adapter": "nice", "inv_adapter_reduction_factor": 2`
	hubPrefixes  = `"architecture": "prefix_tuning"`
	gate         = `"use_gating": true`
	hubLoRA      = `"architecture": "lora"`
	hubIA3       = `"intermediate_lora": true, "r": 1, "alpha": 1, "attn_matrices": ["k", "v"], "composition_mode": "scale", "init_weights": "ia3"`
	hubVeRA      = `"vera_d": 0.1, "vera_b": 0.0, "init_weights": "vera"`
	hypercomplex = `"phm_layer": true, "reduction_factor": 32, "non_linearity": "gelu"`
)

// with adds keys, of which the last of a name counts.
func with(object string, more ...string) string {
	return strings.Join(append([]string{object}, more...), ", ")
}

// configString is one method of a config string: its name and what is in brackets.
var configString = regexp.MustCompile(`^([^\[\]|]+)(?:\[(.*)\])?$`)

// preset takes the settings of a config string: names with settings in brackets as Python has them, in a union put together by "|", such as
// double_seq_bn[reduction_factor=8] or prefix_tuning[prefix_length=10]|lora.
func (c *HubConfig) preset(config string) error {
	c.parts, c.union = nil, false
	for _, one := range splitTop(config, '|') {
		m := configString.FindStringSubmatch(strings.TrimSpace(one))
		if m == nil {
			return fmt.Errorf("adapter: config is %q, want names such as seq_bn or seq_bn[reduction_factor=8], put together by |", config)
		}
		if err := c.named(strings.TrimSpace(m[1]), m[2]); err != nil {
			return err
		}
	}
	c.union = c.union || len(c.parts) > 1
	return nil
}

// named appends the parts of one name.
func (c *HubConfig) named(name, settings string) error {
	var all []string
	for _, p := range presets {
		if all = append(all, p.name); p.name != name {
			continue
		}
		c.union = c.union || len(p.objects) > 1
		for _, o := range p.objects {
			part, _, err := newPart([]byte("{" + o + "}"))
			if err != nil {
				return err
			}
			part.record = peft.Record{}
			own := &HubConfig{parts: []*hubPart{part}}
			for _, kv := range splitTop(settings, ',') {
				if strings.TrimSpace(kv) == "" {
					continue
				}
				key, value, err := pair(kv)
				if err != nil {
					return fmt.Errorf("adapter: config %q: %w", name, err)
				}
				b, err := json.Marshal(map[string]json.RawMessage{key: value})
				if err == nil {
					err = own.override(b)
				}
				if err != nil {
					return fmt.Errorf("adapter: config %q: %w", name, err)
				}
			}
			c.parts = append(c.parts, part)
		}
		return nil
	}
	slices.Sort(all)
	return fmt.Errorf("adapter: config names %q, want one of %s", name, strings.Join(all, ", "))
}

// splitTop splits where no bracket or quote is open.
func splitTop(s string, sep rune) (list []string) {
	depth, quote, from := 0, rune(0), 0
	for i, r := range s {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case strings.ContainsRune("[{(", r):
			depth++
		case strings.ContainsRune("]})", r):
			depth--
		case r == sep && depth == 0:
			list = append(list, s[from:i])
			from = i + 1
		}
	}
	return append(list, s[from:])
}

// pair is key=value with a value in Python's words, as JSON.
func pair(s string) (key string, value json.RawMessage, err error) {
	key, v, ok := strings.Cut(s, "=")
	if !ok {
		return "", nil, fmt.Errorf("%q is not key=value", s)
	}
	value, err = pythonValue(strings.TrimSpace(v))
	return strings.TrimSpace(key), value, err
}

// pythonWords are constants that JSON spells otherwise.
var pythonWords = map[string]string{"True": "true", "False": "false", "None": "null"}

// pythonValue turns a constant, a string, a list or a dict of Python into JSON.
func pythonValue(s string) (json.RawMessage, error) {
	bad := fmt.Errorf("%q is no constant, string, list or dict", s)
	if w, ok := pythonWords[s]; ok {
		return json.RawMessage(w), nil
	}
	if len(s) < 2 {
		if json.Valid([]byte(s)) {
			return json.RawMessage(s), nil
		}
		return nil, bad
	}
	inner := s[1 : len(s)-1]
	switch s[:1] + s[len(s)-1:] {
	case "''", `""`:
		if strings.ContainsAny(inner, `\'"`) {
			return nil, bad
		}
		return json.RawMessage(strconv.Quote(inner)), nil
	case "[]", "()":
		return pythonItems("[", "]", inner, pythonValue)
	case "{}":
		return pythonItems("{", "}", inner, func(s string) (json.RawMessage, error) {
			halves := splitTop(s, ':')
			if len(halves) != 2 {
				return nil, bad
			}
			k, err := pythonValue(strings.TrimSpace(halves[0]))
			if err != nil {
				return nil, err
			}
			v, err := pythonValue(strings.TrimSpace(halves[1]))
			if k = []byte(strings.Trim(string(k), `"`)); err != nil {
				return nil, err
			}
			return json.RawMessage(strconv.Quote(string(k)) + ":" + string(v)), nil
		})
	}
	if json.Valid([]byte(s)) {
		return json.RawMessage(s), nil
	}
	return nil, bad
}

// pythonItems turns what is between brackets, separated by commas, into JSON.
func pythonItems(open, end, inner string, item func(string) (json.RawMessage, error)) (json.RawMessage, error) {
	var out []string
	for _, s := range splitTop(inner, ',') {
		if strings.TrimSpace(s) == "" {
			continue
		}
		v, err := item(strings.TrimSpace(s))
		if err != nil {
			return nil, err
		}
		out = append(out, string(v))
	}
	return json.RawMessage(open + strings.Join(out, ",") + end), nil
}
