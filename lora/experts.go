package lora

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// target is a parameter that target_parameters names: the weights of all experts as one of three dimensions.
type target struct {
	layer.Fused
	name string // in the file, of the module with what PEFT wraps around it
}

// parameters are the targets of target_parameters. As in PEFT they match by the end of the name; where both weights of a module are
// targets, the first is wrapped first, so that its name in the file goes through the second.
func (c *Config) parameters(m layer.Model) (list []target, err error) {
	if len(c.TargetParameters) == 0 {
		return nil, nil
	}
	var names []string
	hit := map[string]bool{}
	x, _ := m.(interface{ Fused() []layer.Fused })
	if x == nil {
		return nil, fmt.Errorf("lora: target_parameters %q: a model of type %q has no experts", c.TargetParameters, m.ModelType())
	}
	for _, f := range x.Fused() {
		full := f.Module + "." + f.Name
		names = append(names, f.Name)
		for _, t := range c.TargetParameters {
			if full != t && !strings.HasSuffix(full, "."+t) {
				continue
			}
			hit[t] = true
			if n := len(list); n > 0 && list[n-1].Module == f.Module {
				list[n-1].name += ".base_layer"
			}
			list = append(list, target{f, f.Module})
			break
		}
	}
	var errs []error
	for _, t := range c.TargetParameters {
		if !hit[t] {
			errs = append(errs, fmt.Errorf("lora: target_parameters %q matches nothing; the model has %s", t, strings.Join(dedupe(names), ", ")))
		}
	}
	return list, errors.Join(errs...)
}

// disjoint reports slots that are targets both by themselves and as a part of experts' weights.
func disjoint(list []target, slots []*layer.Slot) error {
	var errs []error
	for _, t := range list {
		for _, parts := range t.Parts {
			for _, s := range parts {
				if slices.Contains(slots, s) {
					errs = append(errs, fmt.Errorf("lora: target_modules and target_parameters both match %q, want one of them", s.Name))
				}
			}
		}
	}
	return errors.Join(errs...)
}

func dedupe(names []string) (list []string) {
	seen := map[string]bool{}
	for _, n := range names {
		if !seen[n] {
			list = append(list, n)
		}
		seen[n] = true
	}
	if list == nil {
		return []string{"no weights of experts"}
	}
	return list
}

// checkParameters reports settings that do not go with target_parameters, as PEFT does.
func (c *Config) checkParameters() error {
	if len(c.TargetParameters) == 0 {
		return nil
	}
	init, _, err := c.initialiser()
	var errs []error
	for _, x := range []struct {
		key string
		set bool
	}{{"lora_dropout", c.Dropout != 0}, {"use_dora", c.UseDoRA}, {"lora_bias", c.LoraBias}, {fmt.Sprintf("init_lora_weights %q", c.Init), err == nil && !init.plain && c.Init != "gaussian"}} {
		if x.set {
			errs = append(errs, fmt.Errorf("lora: target_parameters do not go with %s", x.key))
		}
	}
	return errors.Join(errs...)
}

// experts is the branch of the weights of all experts, [E, out, in]. Each expert has its own rows of A and columns of B:
//
//	ΔW[e] = scale·B_e·A_e     A [E·r, in], A_e its rows e·r to (e+1)·r     B [out, r·E], B_e [out, r] its columns e, E+e, 2E+e …
type experts struct {
	A, B  *nn.Param
	of    target
	rank  int
	scale float32
	list  []*expert
}

// expert is one slot of the weight: some rows of one expert's.
type expert struct {
	op.Projection // the base
	all           *experts
	slot          *layer.Slot
	number        int // of the expert
	lo, hi        int // rows of B
}

// experts makes the branch of a parameter.
func (c *Config) experts(t target, rng *rand.Rand) (*experts, error) {
	p, err := c.patterns()
	if err != nil {
		return nil, err
	}
	b, err := c.branch(p, t.Module+"."+t.Name)
	if err != nil {
		return nil, err
	}
	e := &experts{of: t, rank: b.rank, scale: float32(c.scaling(b))}
	in, out := 0, 0
	for n, parts := range t.Parts {
		out = 0
		for _, s := range parts {
			i, o := s.Dims()
			e.list = append(e.list, &expert{Projection: s.Projection, all: e, slot: s, number: n, lo: out, hi: out + o})
			in, out = i, out+o
		}
	}
	rows := e.rank * len(t.Parts)
	if n := float64(rows) * float64(in+out); n > max(smallAdapter, float64(len(t.Parts))*float64(in)*float64(out)) {
		return nil, fmt.Errorf("lora: r %d makes %.3g parameters for %s.%s, more than it has", e.rank, n, t.Module, t.Name)
	}
	d := &draft{a: kernel.NewMat(make([]float32, rows*in), rows, in), b: kernel.NewMat(make([]float32, out*rows), out, rows), scale: float64(e.scale), rng: rng}
	init, _, err := c.initialiser()
	if err == nil {
		err = init.draw(d)
	}
	e.A, e.B = op.NewParam(d.a.Data, rows, in), op.NewParam(d.b.Data, out, rows)
	return e, err
}

// a are the rows of A of one expert in m, which is A or its gradient.
func (l *expert) a(m kernel.Mat) kernel.Mat {
	return m.RowRange(l.number*l.all.rank, (l.number+1)*l.all.rank)
}

// b copies the columns of B of the slot, [out, r].
func (l *expert) b(dst []float32) kernel.Mat {
	m, e, r := op.Of(l.all.B).View(), len(l.all.of.Parts), l.all.rank
	b := kernel.NewMat(dst, l.hi-l.lo, r)
	for i := range b.Rows {
		row := m.Row(l.lo + i)
		for k := range r {
			b.Row(i)[k] = row[k*e+l.number]
		}
	}
	return b
}

// Forward implements op.Projection: y = base(x) + scale·s·B_eᵀ, s = x·A_eᵀ.
func (l *expert) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	k := &saved{base: l.Projection.Forward(p, y, x)}
	if l.all.scale == 0 { // to MatMul a factor of 0 means none
		return k
	}
	r := l.all.rank
	k.s = p.Arena.Get(x.Rows * r)
	s := kernel.NewMat(k.s, x.Rows, r)
	kernel.MatMul(s, x.Mat, l.a(op.Of(l.all.A).View()), kernel.MatMulOpts{TransB: true})
	b := l.b(p.Arena.Get((l.hi - l.lo) * r))
	kernel.MatMul(y, s, b, kernel.MatMulOpts{TransB: true, Alpha: l.all.scale, Add: true})
	p.Arena.Put(b.Data)
	if !p.Grad {
		p.Arena.Put(k.s)
	}
	return k
}

// Backward implements op.Projection: dB_e += scale·dyᵀ·s   ds = scale·dy·B_e   dA_e += dsᵀ·x   dx += base + ds·A_e.
func (l *expert) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, kept any) {
	k := kept.(*saved)
	l.Projection.Backward(p, dx, dy, x, k.base)
	if l.all.scale == 0 {
		return
	}
	r, n := l.all.rank, len(l.all.of.Parts)
	ma, mb := op.Of(l.all.A).View(), op.Of(l.all.B).View()
	db := kernel.NewMat(p.Arena.Get(dy.Cols*r), dy.Cols, r)
	kernel.MatMul(db, dy, kernel.NewMat(k.s, x.Rows, r), kernel.MatMulOpts{TransA: true, Alpha: l.all.scale})
	g := kernel.NewMat(op.GradOf(l.all.B), mb.Rows, mb.Cols)
	for i := range db.Rows {
		for j, v := range db.Row(i) {
			g.Row(l.lo + i)[j*n+l.number] += v
		}
	}
	b := l.b(db.Data)
	ds := kernel.NewMat(p.Arena.Get(x.Rows*r), x.Rows, r)
	kernel.MatMul(ds, dy, b, kernel.MatMulOpts{Alpha: l.all.scale})
	kernel.MatMul(l.a(kernel.NewMat(op.GradOf(l.all.A), ma.Rows, ma.Cols)), ds, x.Mat, kernel.MatMulOpts{TransA: true, Add: true})
	if dx.Rows > 0 {
		kernel.MatMul(dx, ds, l.a(ma), kernel.MatMulOpts{Add: true})
	}
	for _, buf := range [][]float32{db.Data, ds.Data, k.s} {
		p.Arena.Put(buf)
	}
}

// Params implements op.Projection: the graph must know of the shared factors.
func (l *expert) Params() iter.Seq2[string, *nn.Param] { return l.all.Params() }

// Params implements part.
func (e *experts) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		if yield("lora_A.weight", e.A) {
			yield("lora_B.weight", e.B)
		}
	}
}

// place implements part: the module that has the weight in the file.
func (e *experts) place() *layer.Slot { return &layer.Slot{Name: e.of.name} }

func (e *experts) attach() {
	for _, l := range e.list {
		l.slot.Projection = l
	}
}

func (e *experts) detach() {
	for _, l := range e.list {
		l.slot.Projection = l.Projection
	}
}

// deltas implements part: the checkpoint has the experts one by one.
func (e *experts) deltas() (list []merge.Delta) {
	for _, l := range e.list {
		b := l.b(make([]float32, (l.hi-l.lo)*e.rank))
		list = append(list, &merge.LowRank{Tensor: l.slot.Tensor("weight"), A: l.a(op.Of(e.A).View()), B: b, Scale: e.scale})
	}
	return list
}

func (e *experts) idle() bool { return e.scale == 0 || zero(op.Data(e.A)) || zero(op.Data(e.B)) }

func (e *experts) extras(bool) []peft.Extra { return nil }
