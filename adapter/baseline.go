package adapter

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// Freeze trains the last layers of the model, or its head alone, and leaves the rest as it is: what everybody did before there were
// adapters, and what they are compared with. Only graft reads its files; merged, it is a model as any other.
var Freeze = peft.Method{Type: "FREEZE", Name: "freeze", New: func() peft.Config {
	c := &BaselineConfig{kind: "FREEZE", defaults: peft.Object{"modules_to_save": nil, "trainable_head": false, "trainable_layers": 2}, Layers: 2}
	c.own = []peft.Setting{{Key: "trainable_layers", To: &c.Layers, Max: 1 << 20}, {Key: "trainable_head", To: &c.Head}}
	return c
}}

// BitFit trains the biases of the model and nothing else [zaken2021], beside the head that a classifier needs.
//
// References: [zaken2021] BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models, arXiv 2106.10199.
var BitFit = peft.Method{Type: "BITFIT", Name: "bitfit", New: func() peft.Config {
	return &BaselineConfig{kind: "BITFIT", defaults: peft.Object{"modules_to_save": nil}, bias: "all"}
}}

// BaselineConfig holds the settings of a method that trains parts of the base itself: adapter_config.json.
type BaselineConfig struct {
	peft.Common
	Layers        int      // trainable_layers: so many of the last
	Head          bool     // trainable_head: the head, too; alone with 0 layers
	ModulesToSave []string // modules_to_save: further modules
	peft.Record            // what adapter_config.json said

	kind     string
	defaults peft.Object
	own      []peft.Setting
	bias     string
}

// Settings are the keys of the method.
func (c *BaselineConfig) Settings() []peft.Setting {
	return append([]peft.Setting{{Key: "modules_to_save", To: &c.ModulesToSave}, {Key: "base_model_name_or_path", To: &c.BaseModel}, {Key: "task_type", To: &c.TaskType}}, c.own...)
}

// Shared implements peft.Config.
func (c *BaselineConfig) Shared() *peft.Common { return &c.Common }

// Parse implements peft.Config.
func (c *BaselineConfig) Parse(b []byte) error {
	record, unknown, err := peft.ReadSettings(b, c.kind, c.defaults, c.Settings())
	for _, key := range unknown {
		c.Warnings = append(c.Warnings, fmt.Sprintf("adapter_config.json: key %q is unknown and has no effect", key))
	}
	c.Record = record
	return err
}

// JSON implements peft.Config.
func (c *BaselineConfig) JSON() ([]byte, error) {
	return c.Record.JSON(c.kind, c.defaults, c.Settings())
}

// Validate implements peft.Config.
func (c *BaselineConfig) Validate() error {
	errs := []error{peft.CheckSettings(c.Settings()), peft.Beside{ModulesToSave: c.ModulesToSave}.Validate("")}
	if c.kind == Freeze.Type && c.Layers == 0 && !c.Head {
		errs = append(errs, errors.New("freeze: trainable_layers is 0 and trainable_head is false, want something to train"))
	}
	return errors.Join(errs...)
}

// layered is a model whose layers and head have names.
type layered interface {
	BlockNames() []string
	Head() *layer.Slot
}

// modules are the names of the modules that are trained.
func (c *BaselineConfig) modules(m layer.Model) ([]string, error) {
	names := slices.Clone(c.ModulesToSave)
	if c.kind != Freeze.Type {
		return names, nil
	}
	x, ok := m.(layered)
	if !ok {
		return nil, fmt.Errorf("freeze: a model of type %q does not name its layers", m.ModelType())
	}
	blocks := x.BlockNames()
	if c.Layers > len(blocks) {
		return nil, fmt.Errorf("freeze: trainable_layers is %d, the model has %d layers", c.Layers, len(blocks))
	}
	names = append(names, blocks[len(blocks)-c.Layers:]...)
	if c.Head {
		h := x.Head()
		if h == nil {
			return nil, errors.New("freeze: trainable_head is true, but the model has no head")
		}
		names = append(names, h.Name)
	}
	return names, nil
}

// Attach implements peft.Config.
func (c *BaselineConfig) Attach(m layer.Model, _ *rand.Rand) (peft.Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	names, err := c.modules(m)
	if err != nil {
		return nil, err
	}
	a, err := peft.Beside{ModulesToSave: names, Bias: c.bias}.Attach(m, nil, &c.Common)
	if err != nil {
		return nil, err
	}
	return &baseline{a}, nil
}

// baseline is such a method attached to a model.
type baseline struct{ *peft.Companions }

// Idle implements peft.Idler.
func (a *baseline) Idle() string {
	if a.Companions.Idle() {
		return "every weight is the base's"
	}
	return ""
}

// Modules lists the modules of which something is trained.
func (a *baseline) Modules() (names []string) {
	for name := range modulesOf(a.Params()) {
		names = append(names, name)
	}
	return names
}

// modulesOf are the modules of parameters, each once.
func modulesOf(params iter.Seq2[string, *nn.Param]) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for name := range params {
			module := strings.TrimPrefix(name[:strings.LastIndexByte(name, '.')], peft.Prefix)
			if !seen[module] && !yield(module) {
				return
			}
			seen[module] = true
		}
	}
}
