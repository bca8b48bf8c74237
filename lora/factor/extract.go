package factor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

// Place is a weight that can get factors.
type Place struct {
	Module     string // its name in the model, as in adapter files
	Tensor     string // its name in the checkpoint
	Transposed bool   // stored [in, out]: Conv1D, and embeddings, whose rows are the inputs
	Embedding  bool
}

// Places lists the weights of a model that can get factors. A weight that head and embedding share counts once.
func Places(m layer.Model) (list []Place) {
	for s := range m.Slots() {
		if s.Tied {
			continue
		}
		e := s.Kind == layer.Embedding
		list = append(list, Place{Module: s.Name, Tensor: s.Tensor("weight"), Transposed: e || s.Kind == layer.Conv1D, Embedding: e})
	}
	return list
}

// Difference is what a tuned checkpoint has learned.
type Difference struct {
	Base, Tuned *checkpoint.Checkpoint
	Places      []Place  // every weight of the model that can get factors
	Skip        []string // ends of module names that get none
	Choice      Choice
	// DropRest leaves out what differs and cannot get factors, or was to be skipped: norms, biases, embeddings. Otherwise these
	// are stored in full, as modules_to_save.
	DropRest bool
	Seed     uint64
	// Progress, if set, is told how many places are done.
	Progress func(done, total int)
}

// Extract makes a LoRA adapter of the difference tuned − base, by its singular values.
func Extract(ctx context.Context, d Difference) (*Adapter, *Report, error) {
	if err := errors.Join(d.Choice.check(), d.check()); err != nil {
		return nil, nil, err
	}
	out := &Adapter{Config: lora.New()}
	report := &Report{}
	placed := map[string]bool{}
	for i, p := range d.Places {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if skipped(p.Module, d.Skip) {
			continue
		}
		placed[p.Tensor] = true
		m, row, err := d.place(p, uint64(i))
		if err != nil {
			return nil, nil, fmt.Errorf("factor: %q: %w", p.Tensor, err)
		}
		if m != nil {
			out.Modules = append(out.Modules, *m)
			report.Modules = append(report.Modules, row)
		}
		if d.Progress != nil {
			d.Progress(i+1, len(d.Places))
		}
	}
	if len(out.Modules) == 0 {
		return nil, nil, errors.New("factor: no weight that can get factors differs between base and tuned")
	}
	slices.SortFunc(out.Modules, func(x, y Module) int { return strings.Compare(x.Name, y.Name) })
	if err := d.rest(out, report, placed); err != nil {
		return nil, nil, err
	}
	out.targets(d.Places)
	out.ranks(out.Config)
	report.sum()
	return out, report, nil
}

// check compares the two checkpoints.
func (d *Difference) check() error {
	var wrong []error
	for _, name := range d.Base.Names() {
		a, _ := d.Base.Info(name)
		b, ok := d.Tuned.Info(name)
		switch {
		case !ok:
			wrong = append(wrong, fmt.Errorf("factor: tensor %q of the base is missing in %s", name, d.Tuned.Path()))
		case !slices.Equal(a.Shape, b.Shape):
			wrong = append(wrong, fmt.Errorf("factor: tensor %q is %v in the base and %v in %s", name, a.Shape, b.Shape, d.Tuned.Path()))
		}
	}
	for _, name := range d.Tuned.Names() {
		if _, ok := d.Base.Info(name); !ok {
			wrong = append(wrong, fmt.Errorf("factor: tensor %q of %s is missing in the base", name, d.Tuned.Path()))
		}
	}
	const few = 5
	if n := len(wrong); n > few {
		wrong = append(wrong[:few:few], fmt.Errorf("factor: and %d more like these", n-few))
	}
	return errors.Join(wrong...)
}

// skipped tells whether a module ends with one of the names.
func skipped(module string, ends []string) bool {
	return slices.ContainsFunc(ends, func(e string) bool { return module == e || strings.HasSuffix(module, "."+e) })
}

// place decomposes the difference of one weight; nil if there is none.
func (d *Difference) place(p Place, stream uint64) (*Module, Row, error) {
	delta, err := d.delta(p)
	if err != nil || linalg.Energy(delta) == 0 {
		return nil, Row{}, err
	}
	f, r, err := d.Choice.decompose(delta, rand.New(rand.NewPCG(d.Seed, stream)))
	if err != nil {
		return nil, Row{}, err
	}
	m := &Module{Name: p.Module, Embedding: p.Embedding, Scale: 1}
	m.A, m.B = split(f, r, true)
	return m, newRow(p.Module, f.S, r, linalg.Energy(delta)), nil
}

// delta is tuned − base as [out, in].
func (d *Difference) delta(p Place) (kernel.Mat, error) {
	info, ok := d.Base.Info(p.Tensor)
	if !ok || len(info.Shape) != 2 || !checkpoint.IsFloat(info.DType) {
		return kernel.Mat{}, fmt.Errorf("it is %s %v, want a matrix of real numbers", info.DType, info.Shape)
	}
	base, e1 := d.Base.Floats(p.Tensor)
	tuned, e2 := d.Tuned.Floats(p.Tensor)
	if err := errors.Join(e1, e2); err != nil {
		return kernel.Mat{}, err
	}
	x := slices.Clone(tuned)
	kernel.Axpy(x, -1, base)
	m := kernel.NewMat(x, info.Shape[0], info.Shape[1])
	if !p.Transposed {
		return m, linalg.Finite(m)
	}
	t := kernel.NewMat(make([]float32, len(x)), m.Cols, m.Rows)
	for i := range m.Rows {
		for j, v := range m.Row(i) {
			t.Row(j)[i] = v
		}
	}
	return t, linalg.Finite(t)
}

// rest stores in full, or reports, what differs and got no factors.
func (d *Difference) rest(a *Adapter, r *Report, placed map[string]bool) error {
	modules := map[string]string{} // of checkpoint names: that of the model
	for _, p := range d.Places {
		modules[strings.TrimSuffix(p.Tensor, ".weight")] = p.Module
	}
	save := map[string]bool{}
	for _, name := range d.Tuned.Names() {
		if placed[name] || d.same(name) {
			continue
		}
		stem := name[:max(0, strings.LastIndexByte(name, '.'))]
		if d.DropRest || stem == "" || placed[stem+".weight"] {
			r.Warnings = append(r.Warnings, fmt.Sprintf("tensor %q differs and is left out", name))
			continue
		}
		save[stem] = true
	}
	for _, stem := range slices.Sorted(maps.Keys(save)) {
		module := stem
		if m, ok := modules[stem]; ok {
			module = m
		}
		a.Config.Beside.ModulesToSave = append(a.Config.Beside.ModulesToSave, module)
		for _, name := range d.Tuned.Names() {
			end, ok := strings.CutPrefix(name, stem+".")
			if !ok || strings.Contains(end, ".") {
				continue
			}
			info, _ := d.Tuned.Info(name)
			v, err := d.Tuned.Floats(name)
			if err != nil {
				return err
			}
			a.Rest = append(a.Rest, checkpoint.FromFloats(peft.Prefix+module+"."+end, info.Shape, slices.Clone(v)))
		}
	}
	return nil
}

// same tells whether a tensor has the same numbers in both, whatever their dtypes.
func (d *Difference) same(name string) bool {
	info, _ := d.Tuned.Info(name)
	if !checkpoint.IsFloat(info.DType) {
		return true // buffers: nothing that is trained
	}
	a, e1 := d.Base.Floats(name)
	b, e2 := d.Tuned.Floats(name)
	return e1 == nil && e2 == nil && slices.Equal(a, b)
}

// targets names the modules: by the last parts of their names where all places of that name have factors, else one by one.
func (a *Adapter) targets(places []Place) {
	last := func(s string) string { return s[strings.LastIndexByte(s, '.')+1:] }
	have := map[string]bool{}
	var ends []string
	for _, m := range a.Modules {
		have[m.Name] = true
		ends = append(ends, last(m.Name))
	}
	slices.Sort(ends)
	ends = slices.Compact(ends)
	for _, p := range places {
		if slices.Contains(ends, last(p.Module)) && !have[p.Module] {
			a.nameAll(a.Config)
			return
		}
	}
	a.Config.TargetModules = peft.Names{List: ends}
}
