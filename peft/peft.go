// Package peft is the contract between fine-tuning methods and everything else: what a method is, how it finds its places in
// a model, and the files that Hugging Face PEFT reads and writes.
//
// A method is a Config, which is adapter_config.json decoded over PEFT's defaults. Attaching it to a model wraps some of
// the model's slots and gives an Adapter, the handle of the trainable parameters:
//
//	cfg := lora.New()
//	cfg.Rank, cfg.Alpha = 16, 32
//	adapter, err := cfg.Attach(m, rand.New(rand.NewPCG(1, 2)))
//	…train adapter.Params()…
//	err = peft.Save("runs/first/adapter", cfg, adapter)
//
// # The files
//
//	adapter_config.json        json.dumps(config, indent=2, sort_keys=True), no line end
//	adapter_model.safetensors  float32, {"format": "pt"}; a tensor is base_model.model.<slot>.<parameter>
//	adapter_model.bin          the same of torch.save; read where there is no safetensors file, never written
package peft

import (
	"iter"
	"math/rand/v2"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// Method is one row of the table of methods (package peft/methods).
type Method struct {
	Type string // peft_type
	Name string // in recipes
	New  func() Config
}

// Config holds the settings of a method. Its JSON form is adapter_config.json.
type Config interface {
	// Validate reports every setting that cannot be, or that graft cannot honour, by its JSON key.
	Validate() error
	// Attach wraps slots of the model. The rng draws the initial values.
	Attach(m layer.Model, rng *rand.Rand) (Adapter, error)
	// Shared is the part of the settings that every method has.
	Shared() *Common
	// JSON is adapter_config.json.
	JSON() ([]byte, error)
	// Parse decodes adapter_config.json over what the config holds.
	Parse(b []byte) error
}

// Common are the settings that every method has.
type Common struct {
	BaseModel string // base_model_name_or_path
	TaskType  string // task_type
	// BaseHash is the SHA-256 of the tensors of the base trained on; it is in the metadata of the tensors' file. "" = unknown.
	BaseHash string
	// FromFile says that the settings came with trained tensors: targets that match nothing are then no error, as long as
	// every tensor finds its place.
	FromFile bool
	// Warnings says, in a line each, what Parse and Attach put up with in settings that came from a file: keys that graft does
	// not know, which survive, and targets that match nothing.
	Warnings []string
}

// Adapter is an attached method. Not safe for concurrent use.
type Adapter interface {
	// Params yields the trainable parameters by their names in the adapter file, in a fixed order.
	Params() iter.Seq2[string, *nn.Param]
	// Detach puts back what the slots held. Only the adapter attached last may be detached.
	Detach()
}

// Merger is an adapter that can be folded into its base.
type Merger interface {
	Deltas() []merge.Delta
}

// Idler is an adapter that knows when it changes nothing.
type Idler interface {
	// Idle says why the adapter changes nothing, or "".
	Idle() string
}

// Holder is an adapter that holds more memory than its parameters and buffers.
type Holder interface {
	// Held is how much more, in bytes, once a pass has used it.
	Held() int64
}

// Penalized is an adapter that adds a term of its own to the loss.
type Penalized interface {
	// Penalty is the term; its gradients are added to the parameters' if asked for.
	Penalty(grad bool) float64
}

// Scheduled is an adapter that changes itself as training goes on.
type Scheduled interface {
	// Begin is called before the first step, and again when a run is resumed.
	Begin(steps int) error
	// AfterStep is called after the optimizer has done update number step, counted from 0, while the gradients are still there.
	AfterStep(step int)
	// State are the numbers beside the parameters that a checkpoint must keep, by name. They alias the adapter's own.
	State() iter.Seq2[string, []float32]
}

// HubType stands for peft_type in tables of methods and in recipes for adapters of the library `adapters`, whose own files have no
// such key but an object "config".
const HubType = "ADAPTERS"

// Foreign is a config whose adapters lie in files of another kind than PEFT's: Save and Load leave them to it.
type Foreign interface {
	// SaveAdapter writes the adapter into a folder that is there.
	SaveAdapter(dir string, a Adapter) error
	// LoadAdapter attaches the adapter of a folder whose adapter_config.json the config is.
	LoadAdapter(dir string, m layer.Model, allow Allow) (Adapter, error)
	// Files are the names of the files that hold tensors.
	Files() []string
	// OpenTensors opens the tensors of an adapter folder, without those of a head.
	OpenTensors(dir string) (*checkpoint.Checkpoint, error)
}

// Aliased is an adapter whose files may have other names for its tensors.
type Aliased interface {
	// Aliases are the other names of a parameter or a buffer.
	Aliases(name string) []string
}

// Prefix is what PEFT writes before a slot's name.
const Prefix = "base_model.model."

// NumParams counts the trainable numbers of an adapter.
func NumParams(a Adapter) (n int64) {
	for _, p := range a.Params() {
		n += int64(p.Size())
	}
	return n
}
