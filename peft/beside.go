package peft

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// Beside is what may be trained of the base beside a method's own parameters, in PEFT's words.
type Beside struct {
	ModulesToSave []string     // modules_to_save: ends of names of modules; full copies of these are trained and stored
	TokenIndices  TokenIndices // trainable_token_indices: rows of embeddings that are trained and stored
	Bias          string       // bias: "none" (or empty), "all", or "<method>_only" for the biases of the adapted modules
	Tie           bool         // ensure_weight_tying: what is done to the embedding is done to a head that shares its weight
}

// Validate reports what cannot be whatever the model. own is the third value of bias, "lora_only" for LoRA.
func (b Beside) Validate(own string) error {
	var errs []error
	if b.Bias != "" && b.Bias != "none" && b.Bias != "all" && b.Bias != own {
		errs = append(errs, fmt.Errorf("peft: bias is %q, want \"none\", \"all\" or %q", b.Bias, own))
	}
	for _, name := range b.ModulesToSave {
		if name == "" {
			errs = append(errs, errors.New("peft: modules_to_save has an empty name, which every module ends with"))
		}
	}
	return errors.Join(append(errs, b.TokenIndices.validate())...)
}

// heads are the modules that PEFT always saves for a task, where the model has them.
var heads = map[string][]string{
	"SEQ_CLS": {"classifier", "score"}, "TOKEN_CLS": {"classifier", "score"}, "QUESTION_ANS": {"qa_outputs"},
}

// SavesModule says that a module is saved for a task without being asked for.
func SavesModule(taskType, module string) bool {
	_, ok := inModule(module, heads[taskType])
	return ok
}

// modules is modules_to_save with the heads of the task: old files do not list them.
func (b Beside) modules(taskType string) []string {
	return append(slices.Clone(b.ModulesToSave), heads[taskType]...)
}

// companion is one thing of the base that is trained.
type companion interface {
	// attach puts the trainable copy in the place of the base's, which detach puts back.
	attach()
	detach()
	// params are the parameters by their names in the adapter file.
	params() iter.Seq2[string, *nn.Param]
	// deltas fold the parameters into the base.
	deltas() []merge.Delta
	// extras are what PEFT writes beside the parameters.
	extras() []Extra
	// idle says that the copy equals the base.
	idle() bool
}

// Companions are what Beside attached.
type Companions struct {
	list  []companion
	saved map[*layer.Slot]bool // slots that hold a full copy
}

// Attach makes what is trained beside the method, whose slots are the targets; it must come before the method wraps them.
// Everything is checked before the model changes. Names that match nothing are errors, or warnings if the common settings
// came from a file.
func (b Beside) Attach(m layer.Model, targets []*layer.Slot, common *Common) (*Companions, error) {
	c := &Companions{saved: map[*layer.Slot]bool{}}
	err := errors.Join(b.saveModules(c, m, targets, common), b.trainTokens(c, m, targets), b.trainBiases(c, m, targets, common), b.checkTie(c, m, targets, common))
	if err != nil {
		return nil, err
	}
	for _, x := range c.list {
		x.attach()
	}
	return c, nil
}

// checkTie reports a wish to keep a tie that nothing touches.
func (b Beside) checkTie(c *Companions, m layer.Model, targets []*layer.Slot, common *Common) error {
	touched := func(s *layer.Slot) bool {
		return slices.Contains(targets, s) || c.saved[s] || slices.ContainsFunc(c.list, func(x companion) bool { r, ok := x.(*tokenRows); return ok && r.slot == s })
	}
	for s := range m.Slots() {
		if b.Tie && touched(s) && twin(m, s) != nil {
			return nil
		}
	}
	if !b.Tie {
		return nil
	}
	return common.complain("ensure_weight_tying is true, but no weight that embedding and head share is trained")
}

// Detach puts the base back.
func (c *Companions) Detach() {
	for _, x := range slices.Backward(c.list) {
		x.detach()
	}
}

// Params yields the parameters by their names in the adapter file.
func (c *Companions) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, x := range c.list {
			for name, p := range x.params() {
				if !yield(name, p) {
					return
				}
			}
		}
	}
}

// Deltas are what folds the companions into the base.
func (c *Companions) Deltas() (list []merge.Delta) {
	for _, x := range c.list {
		list = append(list, x.deltas()...)
	}
	return list
}

// Extras are what PEFT writes beside the parameters.
func (c *Companions) Extras() (list []Extra) {
	for _, x := range c.list {
		list = append(list, x.extras()...)
	}
	return list
}

// Idle says that nothing differs from the base.
func (c *Companions) Idle() bool {
	return !slices.ContainsFunc(c.list, func(x companion) bool { return !x.idle() })
}

// twin is the slot that shares the weight of another, or nil.
func twin(m layer.Model, slot *layer.Slot) *layer.Slot {
	for s := range m.Slots() {
		if s != slot && s.Base == slot.Base && s.Base != nil {
			return s
		}
	}
	return nil
}

// sharer is the slot that the weight of a tied one is stored for. Unlike a twin it may have another bias.
func sharer(m layer.Model, slot *layer.Slot) *layer.Slot {
	for s := range m.Slots() {
		if s != slot && s.Base != nil && s.Base.W == slot.Base.W {
			return s
		}
	}
	return nil
}

// Ties lists the weights of a model that serve in two places but are stored once, or in one but stored twice, for merge.Job.
func Ties(m layer.Model) (list []merge.Tie) {
	for s := range m.Slots() {
		for _, name := range s.Copies {
			list = append(list, merge.Tie{Stored: s.Tensor("weight"), Other: name, Copy: true})
		}
		if !s.Tied {
			continue
		}
		if t := sharer(m, s); t != nil {
			list = append(list, merge.Tie{Stored: t.Tensor("weight"), Other: s.Tensor("weight")})
		}
	}
	return list
}
