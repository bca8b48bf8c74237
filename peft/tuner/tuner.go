// Package tuner is what methods that act on one projection at a time share: settings, target selection, parameters and files,
// attaching, merging. Such a method is a Kind, a table row, with Options that make a Layer for every target: the formula of
// what the projection then computes, recorded on a tape that knows its derivatives.
//
//	y = base(x) + Add(x)      of methods that add to the weight
//	y = Apply(x, base)        of those that change what the base reads or writes
//
// A formula must be affine in x, because merging reads the new weight off it: the images of the unit vectors.
package tuner

import (
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// Kind is one method.
type Kind struct {
	Type     string      // peft_type
	Name     string      // in recipes
	Defaults peft.Object // the keys of its files beside those of every file, with PEFT's own values
	New      func() Options
	Targets  map[string][]string // target_modules by model_type where none are named; nil: those of LoRA
}

// Method is the kind as a row of the table of methods.
func (k *Kind) Method() peft.Method {
	return peft.Method{Type: k.Type, Name: k.Name, New: func() peft.Config { return k.Config() }}
}

// Config returns PEFT's defaults.
func (k *Kind) Config() *Config {
	return &Config{Options: k.New(), Beside: peft.Beside{Bias: "none"}, kind: k}
}

// Options are the settings that only one method has. They are a Maker, or Banked.
type Options interface {
	// Settings are the keys of the options.
	Settings() []peft.Setting
	// Check reports contradictions; bounds of numbers are checked by the settings.
	Check() error
}

// Maker makes the layers.
type Maker interface {
	// Layer makes what one target gets.
	Layer(s *Site) (*Layer, error)
}

// Banked are options of a method whose targets share something.
type Banked interface {
	// Bank makes what is shared and returns what makes the layers.
	Bank(b *Bank) (Maker, error)
}

// Scheduler is a Maker whose layers change as training goes on, and Storer one that is stored otherwise than it is trained.
type (
	Scheduler interface{ peft.Scheduled }
	Storer    interface {
		// Stored returns what is stored: the options and, by full name, the tensors that replace others.
		Stored() (Options, map[string]*nn.Param)
	}
)

// Trainee are options with settings that only matter in training.
type Trainee interface {
	// CheckTraining reports what graft cannot do in training; an adapter that is only used may have it.
	CheckTraining() error
}

// Layer is what a method makes of a projection. One of the formulas is set.
type Layer struct {
	// Add is what is added to the base's y: [T, in] to [T, out], linear in x.
	Add func(c *Call, x *tape.Node) *tape.Node
	// Apply is the whole of y; base is the projection beneath.
	Apply func(c *Call, x *tape.Node, base func(x *tape.Node) *tape.Node) *tape.Node
	// Across says that a row's result depends on other rows of its segment.
	Across bool
	// BiasOnly says that the weight stays as it is.
	BiasOnly bool
	// Penalty, if set, is a term [1, 1] of the loss, of which the mean over the layers counts.
	Penalty func(c *Call) *tape.Node
}

// Draw makes initial values.
type Draw func(x []float32, rng *rand.Rand)

// Zeros leaves everything at zero.
func Zeros([]float32, *rand.Rand) {}

// Fill is one value everywhere.
func Fill(v float32) Draw {
	return func(x []float32, _ *rand.Rand) {
		for i := range x {
			x[i] = v
		}
	}
}

// Normal draws from N(mean, std²).
func Normal(mean, std float64) Draw {
	return func(x []float32, rng *rand.Rand) {
		for i := range x {
			x[i] = float32(mean + std*rng.NormFloat64())
		}
	}
}

// Uniform draws from U(−bound, bound).
func Uniform(bound float64) Draw {
	return func(x []float32, rng *rand.Rand) {
		for i := range x {
			x[i] = float32((2*rng.Float64() - 1) * bound)
		}
	}
}
