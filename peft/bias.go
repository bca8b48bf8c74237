package peft

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// trainBiases plans the biases of the base: all that have the word in their name, or those of the adapted modules. Modules
// that are saved in full have their own.
func (b Beside) trainBiases(c *Companions, m layer.Model, targets []*layer.Slot, common *Common) error {
	if b.Bias == "" || b.Bias == "none" {
		return nil
	}
	before := len(c.list)
	for slot := range m.Slots() {
		adapted := slices.Contains(targets, slot)
		if slot.Base == nil || slot.Base.Bias == nil || c.saved[slot] || b.Bias != "all" && !adapted {
			continue
		}
		c.list = append(c.list, &trainedBias{slot: slot, adapted: adapted})
	}
	for _, v := range Vectors(m) {
		if b.Bias != "all" || !strings.Contains(v.Name, "bias") || slices.ContainsFunc(c.list, func(x companion) bool { s, ok := x.(*savedVector); return ok && s.at == v.Vector }) {
			continue
		}
		c.list = append(c.list, &savedVector{name: v.Name, tensor: v.Tensor(), at: v.Vector})
	}
	if len(c.list) == before {
		return common.complain(fmt.Sprintf("bias is %q, but there is no bias to train", b.Bias))
	}
	return nil
}

// trainedBias is the bias of a projection.
type trainedBias struct {
	slot    *layer.Slot
	adapted bool // the method wraps the slot, which makes PEFT call the base "base_layer"

	copy   *layer.Biased
	before holding
}

func (x *trainedBias) attach() {
	x.copy, x.before = layer.NewBiased(x.slot.Base), held(x.slot)
	x.slot.Projection = x.copy
}

func (x *trainedBias) detach() { x.before.restore(x.slot) }

func (x *trainedBias) params() iter.Seq2[string, *nn.Param] {
	at := Prefix + x.slot.Name + "."
	if x.adapted {
		at += "base_layer."
	}
	return under(at, x.copy.Params())
}

func (x *trainedBias) deltas() []merge.Delta {
	return []merge.Delta{wholeVector(x.slot.Tensor("bias"), x.copy.Bias)}
}

func (x *trainedBias) extras() []Extra { return nil }

func (x *trainedBias) idle() bool { return slices.Equal(x.copy.Bias, x.slot.Base.Bias) }
