package tuner

import (
	"iter"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/tape"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// Adapter is a method attached to a model.
type Adapter struct {
	kind       *Kind
	config     *Config
	parts      []*part
	bank       *Bank
	maker      Maker
	companions *peft.Companions
}

// Params implements peft.Adapter.
func (a *Adapter) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, list := range a.tensors() {
			for _, x := range list.params {
				if !yield(x.name, x.p) {
					return
				}
			}
		}
		a.companions.Params()(yield)
	}
}

// tensors are the makers of all tensors.
func (a *Adapter) tensors() []*Bank {
	list := make([]*Bank, 0, len(a.parts)+1)
	for _, p := range a.parts {
		list = append(list, &p.site.Bank)
	}
	return append(list, a.bank)
}

// Buffers implements peft.Buffered.
func (a *Adapter) Buffers() (list []*peft.Buffer) {
	for _, b := range a.tensors() {
		list = append(list, b.buffers...)
	}
	return list
}

// Detach implements peft.Adapter.
func (a *Adapter) Detach() {
	for _, p := range slices.Backward(a.parts) {
		p.detach()
	}
	a.companions.Detach()
}

// Extras implements peft.Extended.
func (a *Adapter) Extras() []peft.Extra { return a.companions.Extras() }

// Modules lists the names of the slots that the adapter wraps.
func (a *Adapter) Modules() []string {
	names := make([]string, len(a.parts))
	for i, p := range a.parts {
		names[i] = p.site.Slot.Name
	}
	return names
}

// Deltas implements peft.Merger.
func (a *Adapter) Deltas() (list []merge.Delta) {
	for _, p := range a.parts {
		list = append(list, p.deltas()...)
	}
	return append(list, a.companions.Deltas()...)
}

// Idle implements peft.Idler: a probe with every input comes out as the base lets it.
func (a *Adapter) Idle() string {
	if !a.companions.Idle() || slices.ContainsFunc(a.parts, func(p *part) bool { return !p.idle() }) {
		return ""
	}
	return "every target computes what its base computes"
}

func (l *part) idle() bool {
	x := make([]float32, l.site.In)
	for i := range x {
		x[i] = 1 + float32(op.Random(1, 1, uint64(i))>>40)/(1<<24) // nothing that could cancel by design
	}
	c := l.call(&op.Pass{Arena: op.NewArena()})
	c.linear = true
	in := c.Const(kernel.NewMat(x, 1, len(x)))
	if l.layer.Add != nil {
		for _, v := range l.layer.Add(c, in).Value().Data {
			if v != 0 {
				return false
			}
		}
		return true
	}
	base := func(h *tape.Node) *tape.Node { return c.MatMulT(h, c.Weight()) }
	return slices.Equal(l.layer.Apply(c, in, base).Value().Data, base(in).Value().Data) && slices.Equal(l.bias(), l.site.Slot.Base.Bias)
}

// Penalty implements peft.Penalized: the mean of the layers' penalties.
func (a *Adapter) Penalty(grad bool) (sum float64) {
	for _, l := range a.parts {
		if l.layer.Penalty == nil {
			continue
		}
		c := l.call(&op.Pass{Arena: op.NewArena()})
		y := l.layer.Penalty(c)
		share := 1 / float32(len(a.parts))
		sum += float64(y.Value().Data[0]) * float64(share)
		if grad {
			c.Backward(y, kernel.NewMat([]float32{share}, 1, 1))
		}
		c.Free()
	}
	return sum
}

// Begin implements peft.Scheduled.
func (a *Adapter) Begin(steps int) error {
	if s, ok := a.maker.(Scheduler); ok {
		return s.Begin(steps)
	}
	return nil
}

// AfterStep implements peft.Scheduled.
func (a *Adapter) AfterStep(step int) {
	if s, ok := a.maker.(Scheduler); ok {
		s.AfterStep(step)
	}
}

// State implements peft.Scheduled.
func (a *Adapter) State() iter.Seq2[string, []float32] {
	if s, ok := a.maker.(Scheduler); ok {
		return s.State()
	}
	return func(func(string, []float32) bool) {}
}

// Convert implements peft.Converter.
func (a *Adapter) Convert(c peft.Config) (peft.Config, peft.Adapter) {
	s, ok := a.maker.(Storer)
	config, mine := c.(*Config)
	if !ok || !mine {
		return c, a
	}
	options, tensors := s.Stored()
	if options == nil {
		return c, a
	}
	copied := *config
	copied.Options = options
	return &copied, &stored{a, tensors}
}

// stored is an adapter with some tensors replaced, to be written.
type stored struct {
	*Adapter
	tensors map[string]*nn.Param
}

// Params implements peft.Adapter.
func (s *stored) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for name, p := range s.Adapter.Params() {
			if q, ok := s.tensors[name]; ok {
				p = q
			}
			if !yield(name, p) {
				return
			}
		}
	}
}
