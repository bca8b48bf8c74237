// Package pefttest holds the laws that every fine-tuning method obeys on every architecture. A method joins by a Case in
// the test of package peft/methods:
//
//	pefttest.Run(t, pefttest.Case{
//		Name: "plain", Method: lora.Method, Identity: true, Mergeable: true,
//		Config: func(m layer.Model) peft.Config {
//			c := lora.New()
//			c.Rank, c.Alpha = 3, 7
//			return c
//		},
//	}, nil)
//
// Settings must not sit where the mathematics has a fixed point: alpha = r, zero, one.
package pefttest

import (
	"math/rand/v2"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/task"
	"github.com/nlpodyssey/spago/ag"
)

// Case is a method with settings, and what it promises.
type Case struct {
	Name   string
	Method peft.Method
	// Config gives the settings for a model; nil if it has no place for them.
	Config func(m layer.Model) peft.Config
	// Lost gives settings whose targets the model does not have; nil for methods that choose no targets.
	Lost func(m layer.Model) peft.Config

	Identity  bool // attaching changes nothing until training does
	Nearly    bool // attaching changes no more than rounding does: what it adds and what it takes away are equal but for that
	Mergeable bool // the adapter can be folded into its base
	// Converted says that the file holds the adapter in another form (peft.Converter), so that what is loaded works as what
	// was saved within rounding only.
	Converted bool
	// Approximate names the parameters whose gradient leaves out, by the method's definition, a part of the derivative; only
	// the reference's gradients can check these. Nil means none.
	Approximate func(name string) bool
	// Virtual says that the adapter is of virtual tokens, whose names in files have no prefix.
	Virtual bool
	// Quantised is how the base's projections are kept; F32 = as the file has them.
	Quantised kernel.DType
	// Variant marks other settings of a method, whose first case holds the laws that do not depend on settings.
	Variant bool
}

// law is one thing that every method promises.
type law struct {
	says  string
	hold  func(t *testing.T, x *bench)
	once  bool // does not depend on settings or models, so variants need not show it again
	alone bool // changes what all tests share
}

// laws in the order of docs/architecture.md.
var laws = []law{
	{says: "attaching starts as it says", hold: attaching},
	{says: "detaching restores the model", hold: detaching},
	{says: "only the adapter's parameters change in training", hold: training},
	{says: "gradients match central differences", hold: gradients},
	{says: "merged is unmerged", hold: merging},
	{says: "packed is one by one", hold: packing},
	{says: "in a mixed batch as alone", hold: mixing},
	{says: "several at once are one over the other", hold: nesting},
	{says: "cached is uncached", hold: caching, once: true},
	{says: "how a step is cut into batches does not matter", hold: accumulating},
	{says: "computed again is kept", hold: recomputing},
	{says: "rows that nobody reads change nothing", hold: leaving},
	{says: "a beginning that texts share is computed once", hold: sharing},
	{says: "interrupted and resumed is uninterrupted", hold: resuming, once: true},
	{says: "the number of threads changes no bit", hold: threading, once: true, alone: true},
	{says: "saved, loaded and saved again it is the same", hold: saving},
	{says: "settings that a file leaves out are the defaults, unknown ones survive", hold: configuring},
	{says: "an adapter or a target without effect is an error", hold: idling},
	{says: "a file that does not fit is refused by tensor", hold: misfitting, once: true},
	{says: "a file cut off anywhere is refused", hold: truncating, once: true},
}

// Extent is how many laws are looked at.
type Extent uint8

// Extents.
const (
	Nothing Extent = iota
	Most           // all that depend on model and settings
	All
)

// Run holds the case to the laws on every architecture, to as many of them as are wanted of a model; nil = all.
func Run(t *testing.T, c Case, wanted func(model string) Extent) {
	for _, tiny := range modeltest.Tiny {
		extent := All
		if wanted != nil {
			extent = wanted(tiny.Name)
		}
		if extent == Nothing {
			continue
		}
		if c.Variant && modeltest.Like[tiny.Name] != "" {
			continue
		}
		t.Run(tiny.Name, func(t *testing.T) {
			dir := modeltest.Write(t, tiny)
			if c.Config(modeltest.Open(t, dir).Model) == nil {
				return
			}
			for _, l := range laws {
				if l.once && (c.Variant || extent == Most) {
					continue
				}
				t.Run(l.says, func(t *testing.T) {
					if !l.alone {
						t.Parallel() // much of the time goes into syncing files
					}
					l.hold(t, newBench(t, c, dir))
				})
			}
		})
	}
}

// bench is a case on a freshly loaded model.
type bench struct {
	Case
	dir  string // of the model
	base *modeltest.Base
	set  data.Set
	all  *data.Batch

	recompute bool // losses are of passes that keep the results of blocks alone,
	attended  bool // and those of their attention
}

func newBench(t *testing.T, c Case, dir string) *bench {
	base := modeltest.Open(t, dir)
	if c.Quantised != kernel.F32 {
		base.Quantise(c.Quantised)
	}
	set := base.Set()
	return &bench{Case: c, dir: dir, base: base, set: set, all: set.Batch(modeltest.All(set))}
}

// attach attaches the method as it starts.
func (x *bench) attach(t *testing.T) (peft.Config, peft.Adapter) {
	t.Helper()
	c := x.Config(x.base.Model)
	a, err := c.Attach(x.base.Model, rand.New(rand.NewPCG(23, 29)))
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

// trained attaches the method and moves every parameter, as training would.
func (x *bench) trained(t *testing.T) (peft.Config, peft.Adapter) {
	t.Helper()
	c, a := x.attach(t)
	move(a)
	return c, a
}

// logits of the whole set.
func (x *bench) logits(t *testing.T) []float32 {
	t.Helper()
	return x.base.Logits(t, x.all)
}

// loss is Σ weight·loss of a batch times scale. With grad, gradients are added to the parameters; dropout is on then and when
// training is. perRow, if not nil, receives the loss of each row.
func (x *bench) loss(t *testing.T, b *data.Batch, scale float64, training, grad bool, perRow []float64) float64 {
	t.Helper()
	p := op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena())
	p.Grad, p.Train, p.Seed, p.Recompute, p.KeepAttention = grad, training, 41, x.recompute, x.attended
	node, sums, err := x.task(t).Loss(x.base.Model, p, b, task.LossOptions{Scale: scale, PerRow: perRow})
	if err != nil {
		t.Fatal(err)
	}
	if grad {
		if err := ag.Backward(node); err != nil {
			t.Fatal(err)
		}
	}
	return scale * sums.Loss
}

// task is what the model's head is for.
func (x *bench) task(t *testing.T) task.Task {
	t.Helper()
	own, ok := task.For(x.base.Model)
	if !ok {
		t.Fatal("the model has no head")
	}
	return own
}

// load loads an adapter's folder with nothing but the case's method in the table.
func (x *bench) load(dir string, allow peft.Allow) (peft.Config, peft.Adapter, error) {
	return peft.Load(dir, x.base.Model, []peft.Method{x.Method}, allow)
}
