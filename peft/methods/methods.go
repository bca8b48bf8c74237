// Package methods is the table of fine-tuning methods, and loads adapters of any of them.
package methods

import (
	"fmt"
	"strings"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/prefix"
)

// All lists the methods.
var All = []peft.Method{
	lora.Method,
	lora.AdaLoRA,
	lora.VeRA,
	lora.LoHa,
	lora.LoKr,
	lora.MiSS,
	lora.HiRA,
	lora.DeLoRA,
	lora.GraLoRA,
	lora.RandLoRA,
	lora.VBLoRA,
	lora.SHiRA,
	lora.C3A,
	lora.FourierFT,
	lora.WaveFT,
	lora.TinyLoRA,
	lora.PVeRA,
	lora.PEANuT,
	lora.DEFT,
	lora.GLoRA,
	lora.OSF,
	lora.FRoD,
	lora.UniLoRA,
	adapter.IA3,
	adapter.OFT,
	adapter.BOFT,
	adapter.HRA,
	adapter.ROAD,
	adapter.TrainableTokens,
	adapter.BEFT,
	adapter.LNTuning,
	adapter.Freeze,
	adapter.BitFit,
	adapter.Hub,
	adapter.Houlsby,
	adapter.Pfeiffer,
	adapter.Parallel,
	adapter.Compacter,
	adapter.Compacter2,
	prefix.PrefixTuning,
	prefix.PromptTuning,
	prefix.PTuning,
	prefix.AdaptionPrompt,
}

// Lookup finds a method by its name in recipes.
func Lookup(name string) (peft.Method, error) {
	var names []string
	for _, m := range All {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return peft.Method{}, fmt.Errorf("methods: %q is not a method, want one of %s", name, strings.Join(names, ", "))
}

// ReadConfig decodes the adapter_config.json of a folder.
func ReadConfig(dir string) (peft.Config, error) { return peft.ReadConfig(dir, All) }

// OpenTensors opens the tensors of an adapter folder, which lie where its settings say that they do; in PEFT's files if these cannot
// be read.
func OpenTensors(dir string) (*checkpoint.Checkpoint, error) {
	if c, err := ReadConfig(dir); err == nil {
		if f, ok := c.(peft.Foreign); ok {
			return f.OpenTensors(dir)
		}
	}
	return peft.OpenTensors(dir)
}

// Load attaches the adapter of a folder to the model. When it fails the model is as before.
func Load(dir string, m layer.Model, allow peft.Allow) (peft.Config, peft.Adapter, error) {
	return peft.Load(dir, m, All, allow)
}
