package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

// Methods of the library `adapters` [poth2023]. All read and write its files, of whatever architecture; the names are settings to
// start from. References: [poth2023] Adapters: A Unified Library, arXiv 2311.11077.
var (
	Hub        = peft.Method{Type: peft.HubType, Name: "adapters", New: func() peft.Config { return NewHub("seq_bn") }}
	Houlsby    = peft.Method{Type: peft.HubType, Name: "houlsby", New: func() peft.Config { return NewHub("double_seq_bn") }}
	Pfeiffer   = peft.Method{Type: peft.HubType, Name: "pfeiffer", New: func() peft.Config { return NewHub("seq_bn") }}
	Parallel   = peft.Method{Type: peft.HubType, Name: "parallel", New: func() peft.Config { return NewHub("par_bn") }}
	Compacter  = peft.Method{Type: peft.HubType, Name: "compacter", New: func() peft.Config { return NewHub("compacter") }}
	Compacter2 = peft.Method{Type: peft.HubType, Name: "compacter++", New: func() peft.Config { return NewHub("compacter++") }}
)

// HubConfig holds the settings of an adapter of the library `adapters`: one method or a union of several, a name, which is part of
// the names of its tensors, and perhaps a head.
type HubConfig struct {
	peft.Common
	Name string // of the adapter
	// Config is the config string that the settings started from, if one was given.
	Config string
	union  bool
	parts  []*hubPart
	head   *head       // of the library, from a file; nil = none
	saved  []string    // modules of the model's own head that came with a file
	file   peft.Object // all that adapter_config.json said, or nil
	base   hubBase
}

// hubBase is what files say about the model.
type hubBase struct {
	hidden       int
	class, model string // model_class, model_type
}

// hubPart is one method with what the file said about it.
type hubPart struct {
	kind   *hubKind
	record peft.Record
	hubMethod
}

// hubMethod is one architecture of the library.
type hubMethod interface {
	// Settings are the keys of its object.
	Settings() []peft.Setting
	// check reports what cannot be.
	check() []error
	// attach makes its tensors, and places in the model for them.
	attach(b *hubBuilder) error
}

// hubKind is a row of the table of architectures.
type hubKind struct {
	architecture string // "" where files have none
	defaults     peft.Object
	new          func() hubMethod
}

// hubKinds are the architectures.
var hubKinds = []hubKind{
	{"", bottleneckDefaults, newBottleneck},
	{"lora", loraDefaults, newHubLora},
	{"prefix_tuning", prefixDefaults, newHubPrefix},
	{"prompt_tuning", promptDefaults, newHubPrompt},
}

// ParseHub returns the settings of a config string of the library, such as "double_seq_bn[reduction_factor=8]|lora".
func ParseHub(config string) (*HubConfig, error) {
	c := &HubConfig{Name: "default"}
	return c, c.preset(config)
}

// NewHub is ParseHub with a config string that is known to be right.
func NewHub(config string) *HubConfig {
	c, err := ParseHub(config)
	if err != nil {
		panic(err)
	}
	return c
}

// newPart decodes one object of settings. unknown are keys that are nobody's.
func newPart(b []byte) (p *hubPart, unknown []string, err error) {
	o, err := peft.ParseObject(b)
	if err != nil {
		return nil, nil, err
	}
	name, _ := o["architecture"].(string)
	if name == "bottleneck" {
		name = ""
	}
	var all []string
	for i, k := range hubKinds {
		if all = append(all, k.architecture); k.architecture != name {
			continue
		}
		p = &hubPart{kind: &hubKinds[i], hubMethod: k.new()}
		p.record, unknown, err = peft.ReadObject(b, k.defaults, p.Settings())
		return p, unknown, err
	}
	return nil, nil, fmt.Errorf("adapter: adapter_config.json: config.architecture is %q, want one of %q", name, all)
}

// object are the settings of the part.
func (p *hubPart) object() peft.Object { return p.record.Object(p.kind.defaults, p.Settings()) }

// Shared implements peft.Config.
func (c *HubConfig) Shared() *peft.Common { return &c.Common }

// Forget makes the settings such as came from no file.
func (c *HubConfig) Forget() {
	c.file, c.FromFile = nil, false
	for _, p := range c.parts {
		p.record.Forget()
	}
}

// Settings are the keys of all parts.
func (c *HubConfig) Settings() (list []peft.Setting) {
	for _, p := range c.parts {
		list = append(list, p.Settings()...)
	}
	return append(list, peft.Setting{Key: "name", To: &c.Name}, peft.Setting{Key: "config", To: &c.Config})
}

// Parse implements peft.Config: the library's file, in which "config" is an object; or settings on their own, of which a "config" in the
// library's words comes first.
func (c *HubConfig) Parse(b []byte) error {
	o, err := peft.ParseObject(b)
	if err != nil {
		return err
	}
	if _, ok := o["config"].(map[string]any); ok {
		return c.parseFile(b, o)
	}
	if config, ok := o["config"].(string); ok {
		c.Config = config
		if err := c.preset(config); err != nil {
			return err
		}
	}
	return c.override(b, "config", "peft_type")
}

// override sets keys in every part that has them.
func (c *HubConfig) override(b []byte, but ...string) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("adapter: settings: %w", err)
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		used := slices.Contains(but, key)
		for _, s := range c.Settings() {
			if s.Key == key {
				used = true
				if err := json.Unmarshal(raw[key], s.To); err != nil {
					errs = append(errs, fmt.Errorf("adapter: %s is %.60s: %w", key, raw[key], err))
				}
			}
		}
		if !used {
			errs = append(errs, fmt.Errorf("adapter: %s is no setting of this adapter", key))
		}
	}
	return errors.Join(errs...)
}

// parseFile decodes the library's adapter_config.json.
func (c *HubConfig) parseFile(b []byte, o peft.Object) error {
	var f struct {
		Config    json.RawMessage `json:"config"`
		Hidden    int             `json:"hidden_size"`
		Class     string          `json:"model_class"`
		ModelName string          `json:"model_name"`
		Model     string          `json:"model_type"`
		Name      string          `json:"name"`
		Task      string          `json:"task_type"` // graft's own
		Version   string          `json:"version"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("adapter: adapter_config.json: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(fileKeys, key) && !peft.SaysNo(o[key]) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q is unknown and has no effect", key))
		}
	}
	c.file, c.base = o, hubBase{f.Hidden, f.Class, f.Model}
	c.BaseModel, c.TaskType = f.ModelName, f.Task
	if c.Name = f.Name; c.Name == "" {
		c.Name = "default"
	}
	return c.parseParts(f.Config, f.Version == "")
}

// fileKeys are those of the library's adapter_config.json, old ones included, and graft's own.
var fileKeys = []string{"config", "hidden_size", "model_class", "model_name", "model_type", "name", "version", "task_type", "type", "config_id"}

// parseParts decodes the object "config", whose keys may be old.
func (c *HubConfig) parseParts(b []byte, old bool) error {
	var u struct {
		Architecture string            `json:"architecture"`
		Configs      []json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal(b, &u); err != nil {
		return fmt.Errorf("adapter: adapter_config.json: config: %w", err)
	}
	if c.union = u.Architecture == "union"; !c.union {
		u.Configs = []json.RawMessage{b}
	}
	c.parts = nil
	var errs []error
	for _, b := range u.Configs {
		p, unknown, err := newPart(b)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, key := range unknown {
			c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q is unknown and has no effect", "config."+key))
		}
		if x, ok := p.hubMethod.(*bottleneck); ok && old {
			if was, ok := oldActivations[x.act]; ok {
				x.act = was
			}
		}
		c.parts = append(c.parts, p)
	}
	if len(c.parts) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("adapter: adapter_config.json: config.configs is empty"))
	}
	return errors.Join(errs...)
}

// oldActivations are what files without a version mean.
var oldActivations = map[string]string{"gelu": "gelu_new", "gelu_orig": "gelu"}

// hubVersion is what graft writes as version unless a file said another: the release whose files graft's are like.
const hubVersion = "adapters.1.3.0"

// JSON implements peft.Config.
func (c *HubConfig) JSON() ([]byte, error) {
	o := peft.Object{"version": hubVersion, "hidden_size": c.base.hidden, "model_class": orNil(c.base.class), "model_type": orNil(c.base.model)}
	maps.Copy(o, c.file)
	o["config"], o["name"], o["model_name"] = c.object(), c.Name, orNil(c.BaseModel)
	if c.TaskType != "" {
		o["task_type"] = c.TaskType
	}
	return peft.PythonJSON(o)
}

// object is "config".
func (c *HubConfig) object() any {
	if !c.union {
		return c.parts[0].object()
	}
	var list []any
	for _, p := range c.parts {
		list = append(list, p.object())
	}
	o := peft.Object{}
	if was, ok := c.file["config"].(map[string]any); ok {
		maps.Copy(o, was)
	}
	o["architecture"], o["configs"] = "union", list
	return o
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Validate implements peft.Config.
func (c *HubConfig) Validate() error {
	var errs []error
	if c.Name == "" || strings.ContainsAny(c.Name, "./\\") {
		errs = append(errs, fmt.Errorf("adapter: name is %q, want one without dots and slashes", c.Name))
	}
	for _, p := range c.parts {
		errs = append(errs, p.check()...)
	}
	return errors.Join(errs...)
}

// oneOf reports a word that is not among those that it may be.
func oneOf(key, got string, want ...string) error {
	if slices.Contains(want, got) {
		return nil
	}
	return fmt.Errorf("adapter: %s is %q, want one of %s", key, got, strings.Trim(strings.Join(want, ", "), ", "))
}

// Attach implements peft.Config.
func (c *HubConfig) Attach(m layer.Model, rng *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	a, err := c.build(m, rng)
	if err != nil {
		return nil, err
	}
	return a, nil
}
