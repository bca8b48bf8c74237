package tuner

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

// Config holds the settings of a method: adapter_config.json.
type Config struct {
	peft.Common
	TargetModules     peft.Names
	ExcludeModules    peft.Names
	LayersToTransform []int
	LayersPattern     []string
	Beside            peft.Beside // as far as the method has the keys
	Options           Options

	kind        *Kind
	peft.Record // what adapter_config.json said

	patterns map[string]*peft.CompiledPattern
}

// Shared implements peft.Config.
func (c *Config) Shared() *peft.Common { return &c.Common }

// Settings are the keys that the method has.
func (c *Config) Settings() []peft.Setting {
	list := []peft.Setting{{Key: "base_model_name_or_path", To: &c.BaseModel}, {Key: "task_type", To: &c.TaskType}}
	for _, s := range []peft.Setting{
		{Key: "target_modules", To: &c.TargetModules},
		{Key: "exclude_modules", To: &c.ExcludeModules},
		{Key: "layers_to_transform", To: (*peft.OneOrMore[int])(&c.LayersToTransform)},
		{Key: "layers_pattern", To: (*peft.OneOrMore[string])(&c.LayersPattern)},
		{Key: "modules_to_save", To: &c.Beside.ModulesToSave},
		{Key: "bias", To: &c.Beside.Bias},
	} {
		if _, has := c.kind.Defaults[s.Key]; has {
			list = append(list, s)
		}
	}
	return append(list, c.Options.Settings()...)
}

// Parse implements peft.Config. Keys that graft does not know are kept; those that say something are warned of.
func (c *Config) Parse(b []byte) error {
	record, unknown, err := peft.ReadSettings(b, c.kind.Type, c.kind.Defaults, c.Settings())
	for _, key := range unknown {
		c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q is unknown and has no effect", key))
	}
	c.Record = record
	return err
}

// JSON implements peft.Config.
func (c *Config) JSON() ([]byte, error) {
	return c.Record.JSON(c.kind.Type, c.kind.Defaults, c.Settings())
}

func (c *Config) selection() peft.Selection {
	return peft.Selection{TargetModules: c.TargetModules, TaskType: c.TaskType, ExcludeModules: c.ExcludeModules, LayersToTransform: c.LayersToTransform,
		LayersPattern: c.LayersPattern, ModulesToSave: c.Beside.ModulesToSave, Lenient: c.FromFile}
}

// Validate implements peft.Config.
func (c *Config) Validate() error {
	errs := []error{peft.CheckSettings(c.Settings()), c.Options.Check(), c.selection().Validate(), c.Beside.Validate(c.kind.Name + "_only"), c.compile()}
	if t, ok := c.Options.(Trainee); ok && !c.FromFile {
		errs = append(errs, t.CheckTraining())
	}
	known := map[string]bool{}
	for _, s := range c.Settings() {
		known[s.Key] = true
	}
	for key, usual := range c.kind.Defaults { // keys that graft does not read may only say what PEFT's default says
		if said := c.Said(key); !known[key] && said != nil && !ignored[key] && fmt.Sprint(said) != fmt.Sprint(usual) && !peft.SaysNo(said) {
			errs = append(errs, fmt.Errorf("%s: %s is %v, which is not supported", c.kind.Name, key, said))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(text(a), text(b)) })
	return errors.Join(errs...)
}

// ignored are keys that say nothing that graft needs: how a weight is stored is known from the layer, and initial values are
// drawn before training only.
var ignored = map[string]bool{"fan_in_fan_out": true, "megatron_core": true, "qalora_group_size": true, "random_seed": true, "r": true,
	"progressbar": true, "runtime_offload_base_weight": true}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// compile makes the patterns among the options ready.
func (c *Config) compile() error {
	c.patterns = map[string]*peft.CompiledPattern{}
	var errs []error
	for _, s := range c.Options.Settings() {
		p, ok := s.To.(*peft.Pattern)
		if !ok {
			continue
		}
		x, err := p.Compile(s.Key)
		c.patterns[s.Key] = x
		errs = append(errs, err)
		for _, e := range *p {
			if f, err := e.Value.Float64(); err != nil || s.Max != 0 && !(f >= s.Min && f <= s.Max) {
				errs = append(errs, fmt.Errorf("%s: %s %q is %s, want %g to %g", c.kind.Name, s.Key, e.Key, e.Value, s.Min, s.Max))
			}
		}
	}
	return errors.Join(errs...)
}

// Attach implements peft.Config.
func (c *Config) Attach(m layer.Model, rng *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	sel := c.selection()
	if sel.TargetModules.IsNull() && c.kind.Targets[m.ModelType()] != nil {
		sel.TargetModules = peft.Names{List: c.kind.Targets[m.ModelType()]}
		sel.Lenient = true // a choice for all of a type names parts that some lack: T5 1.1 has no wi
	}
	slots, warnings, err := sel.Select(m)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, s := range slots {
		if s.Kind == layer.Embedding {
			errs = append(errs, fmt.Errorf("%s: target_modules match the embedding %q, want linear layers only", c.kind.Name, s.Name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	a, err := c.build(m, slots, rng)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		if !slices.Contains(c.Warnings, w) {
			c.Warnings = append(c.Warnings, w)
		}
	}
	if !c.FromFile {
		c.TargetModules = sel.TargetModules
		if sel.TargetModules.IsAllLinear() {
			c.TargetModules = peft.Names{List: peft.Condense(slots, m)} // as PEFT stores it
		}
	}
	return a, nil
}

// build makes the layers before the model changes.
func (c *Config) build(m layer.Model, slots []*layer.Slot, rng *rand.Rand) (a *Adapter, err error) {
	err = Guard(func() error { a, err = c.parts(m, slots, rng); return err })
	var large TooLarge
	if errors.As(err, &large) {
		a, err = nil, fmt.Errorf("%s: %w", c.kind.Name, large.error)
	}
	return a, err
}

func (c *Config) parts(m layer.Model, slots []*layer.Slot, rng *rand.Rand) (a *Adapter, err error) {
	shared := Bank{Slots: slots, Model: m.ModelType(), FromFile: c.FromFile, rng: rng, budget: newBudget(slots)}
	a = &Adapter{kind: c.kind, config: c, bank: &Bank{}}
	*a.bank = shared
	maker, err := c.maker(a.bank)
	if err != nil {
		return nil, err
	}
	a.maker = maker
	for i, s := range slots {
		in, out := s.Dims()
		site := &Site{Slot: s, In: in, Out: out, Bank: shared, patterns: c.patterns}
		l, err := maker.Layer(site)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", c.kind.Name, s.Name, err)
		}
		if err := errors.Join(site.err, a.bank.err); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", c.kind.Name, s.Name, err)
		}
		a.parts = append(a.parts, &part{site: site, layer: l, stream: uint64(i), shared: a.bank.params})
	}
	if err := c.unusedPatterns(); err != nil {
		return nil, err
	}
	if a.companions, err = c.Beside.Attach(m, slots, &c.Common); err != nil {
		return nil, err
	}
	for _, p := range a.parts {
		p.attach()
	}
	return a, nil
}

// maker is what makes the layers.
func (c *Config) maker(b *Bank) (Maker, error) {
	if x, ok := c.Options.(Banked); ok {
		return x.Bank(b)
	}
	return c.Options.(Maker), nil
}

// unusedPatterns reports keys of patterns that no target needed.
func (c *Config) unusedPatterns() error {
	if c.FromFile {
		return nil
	}
	var errs []error
	for key, p := range c.patterns {
		for _, u := range p.Unused() {
			errs = append(errs, fmt.Errorf("%s: %s key %q matches none of the target modules that earlier keys leave", c.kind.Name, key, u))
		}
	}
	return errors.Join(errs...)
}
