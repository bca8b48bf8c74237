package peft

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/nlpodyssey/spago/nn"
)

// inModule says whether a module, or one that it lies in, ends with one of the entries: PEFT's rule for modules_to_save, which
// asks for no dot before the end, so that "classifier" is "pre_classifier", too. It returns the entry.
func inModule(name string, entries []string) (entry string, ok bool) {
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '.' {
			continue
		}
		for _, e := range entries {
			if strings.HasSuffix(name[:i], e) {
				return e, true
			}
		}
	}
	return "", false
}

// Vectors lists the norm weights and biases that a model shows.
func Vectors(m layer.Model) []layer.NamedVector {
	if v, ok := m.(interface{ Vectors() []layer.NamedVector }); ok {
		return v.Vectors()
	}
	return nil
}

// saveModules plans the full copies.
func (b Beside) saveModules(c *Companions, m layer.Model, targets []*layer.Slot, common *Common) error {
	entries := b.modules(common.TaskType)
	if len(entries) == 0 {
		return nil
	}
	hits := map[string]bool{}
	var errs []error
	for slot := range m.Slots() {
		entry, ok := inModule(slot.Name, entries)
		if !ok {
			continue
		}
		hits[entry] = true
		if c.saved[slot] { // as the twin of one before
			continue
		}
		if slices.Contains(targets, slot) {
			errs = append(errs, fmt.Errorf("peft: modules_to_save %q and target_modules both match %q, want one of them", entry, slot.Name))
		}
		x := &savedSlot{slot: slot, original: b.Bias == "all"}
		if t := twin(m, slot); t != nil && b.Tie {
			x.twin = t
			c.saved[t] = true
		}
		c.saved[slot] = true
		c.list = append(c.list, x)
	}
	for _, v := range Vectors(m) {
		if entry, ok := inModule(v.Name[:max(0, strings.LastIndexByte(v.Name, '.'))], entries); ok {
			hits[entry] = true
			c.list = append(c.list, &savedVector{name: v.Name, tensor: v.Tensor(), at: v.Vector})
		}
	}
	return errors.Join(append(errs, b.unmatched(hits, m, common))...)
}

// unmatched reports entries of modules_to_save that are no module. The heads of the task are not asked for by name.
func (b Beside) unmatched(hits map[string]bool, m layer.Model, common *Common) error {
	var unused []string
	for _, e := range b.ModulesToSave {
		if !hits[e] && !slices.Contains(heads[common.TaskType], e) {
			unused = append(unused, e)
		}
	}
	if len(unused) == 0 {
		return nil
	}
	return common.complain(fmt.Sprintf("modules_to_save %q match no module%s", unused, hint(unused, m)))
}

// complain is an error, or a warning about settings that came from a file.
func (c *Common) complain(text string) error {
	if !c.FromFile {
		return errors.New("peft: " + text)
	}
	if !slices.Contains(c.Warnings, text) {
		c.Warnings = append(c.Warnings, text)
	}
	return nil
}

// savedSlot is a projection or an embedding of which a full copy is trained.
type savedSlot struct {
	slot, twin *layer.Slot // twin shares the copy, or is nil
	original   bool        // PEFT's bias "all" writes the bias of wrapper and original, too

	copy   *layer.Trainable
	before [2]holding
}

// holding is what a slot held.
type holding struct {
	projection op.Projection
	lookup     op.Lookup
}

func held(s *layer.Slot) holding { return holding{s.Projection, s.Lookup} }

func (h holding) restore(s *layer.Slot) { s.Projection, s.Lookup = h.projection, h.lookup }

// put makes x what the slot holds.
func put(s *layer.Slot, x *layer.Trainable) {
	if s.Kind == layer.Embedding {
		s.Lookup = x
	} else {
		s.Projection = x
	}
}

func (x *savedSlot) attach() {
	x.copy = layer.NewTrainable(x.slot.Base)
	x.before[0] = held(x.slot)
	put(x.slot, x.copy)
	if x.twin != nil {
		x.before[1] = held(x.twin)
		put(x.twin, x.copy)
	}
}

func (x *savedSlot) detach() {
	x.before[0].restore(x.slot)
	if x.twin != nil {
		x.before[1].restore(x.twin)
	}
}

func (x *savedSlot) params() iter.Seq2[string, *nn.Param] {
	return under(Prefix+x.slot.Name+".", x.copy.Params())
}

// under puts a prefix before the names.
func under(prefix string, params iter.Seq2[string, *nn.Param]) iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for name, p := range params {
			if !yield(prefix+name, p) {
				return
			}
		}
	}
}

func (x *savedSlot) deltas() []merge.Delta {
	list := []merge.Delta{&merge.Whole{Tensor: x.slot.Tensor("weight"), Rows: x.slot.Base.W.Rows, Cols: x.slot.Base.W.Cols, Data: op.Data(x.copy.W), BothEnds: x.twin != nil}}
	if x.copy.Bias != nil {
		list = append(list, wholeVector(x.slot.Tensor("bias"), x.copy.Bias.Value))
	}
	return list
}

// wholeVector replaces a vector.
func wholeVector(name string, v []float32) *merge.Whole {
	return &merge.Whole{Tensor: name, Rows: len(v), Cols: 1, Data: v, Vector: true}
}

func (x *savedSlot) extras() (list []Extra) {
	at := Prefix + x.slot.Name + "."
	if x.twin != nil {
		list = append(list, Extra{Name: Prefix + x.twin.Name + ".weight", Of: at + "weight", DType: checkpoint.F32,
			Shape: op.FileShape(x.copy.W), Row: rowsOf(op.Of(x.copy.W).View()), Written: true})
	}
	if x.original && x.copy.Bias != nil {
		list = append(list, vectorExtra(at+"modules_to_save.bias", at+"bias", x.copy.Bias.Value), vectorExtra(at+"original_module.bias", "the base's", x.slot.Base.Bias))
	}
	return list
}

func (x *savedSlot) idle() bool {
	return equalsRows(op.Of(x.copy.W).View(), x.slot.Base.W) && (x.copy.Bias == nil || slices.Equal(x.copy.Bias.Value, x.slot.Base.Bias))
}

// equalsRows compares a matrix with a frozen one.
func equalsRows(m kernel.Mat, w *kernel.Frozen) bool {
	row := make([]float32, w.Cols)
	for i := range w.Rows {
		if w.Row(row, i); !slices.Equal(row, m.Row(i)) {
			return false
		}
	}
	return true
}

// savedVector is a norm's weight or bias that is trained.
type savedVector struct {
	name   string
	tensor string // in the checkpoint
	at     *op.Vector
	before op.Vector
	copy   *op.Vector
}

func (x *savedVector) attach() {
	x.before = *x.at
	x.copy = layer.NewTrainableVector(x.before.Value)
	*x.at = *x.copy
}

func (x *savedVector) detach() { *x.at = x.before }

func (x *savedVector) params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) { yield(Prefix+x.name, x.copy.Param) }
}

func (x *savedVector) deltas() []merge.Delta {
	return []merge.Delta{wholeVector(x.tensor, x.copy.Value)}
}

func (x *savedVector) extras() []Extra { return nil }

func (x *savedVector) idle() bool { return slices.Equal(x.copy.Value, x.before.Value) }
