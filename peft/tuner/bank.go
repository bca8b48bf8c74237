package tuner

import (
	"iter"
	"math/rand/v2"

	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// NewBank makes the tensors of a method that changes more of a model than projections.
func NewBank(m layer.Model, rng *rand.Rand) *Bank {
	b := &Bank{Model: m.ModelType(), rng: rng}
	for s := range m.Slots() {
		if s.Kind != layer.Embedding {
			b.Slots = append(b.Slots, s)
		}
	}
	b.budget = newBudget(b.Slots)
	return b
}

// Guard runs what makes tensors and returns its error, or that its settings make tensors beyond what the model itself has.
func Guard(f func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case TooLarge:
			err = r
		default:
			panic(r)
		}
	}()
	return f()
}

// Params yields the trained tensors in the order of their making.
func (b *Bank) Params() iter.Seq2[string, *nn.Param] {
	return func(yield func(string, *nn.Param) bool) {
		for _, x := range b.params {
			if !yield(x.name, x.p) {
				return
			}
		}
	}
}

// Site is a target of a method that names its tensors itself.
func (b *Bank) Site(s *layer.Slot) *Site {
	in, out := s.Dims()
	shared := *b
	shared.params, shared.buffers = nil, nil
	return &Site{Slot: s, In: in, Out: out, Bank: shared}
}

// Read notes parameters that the layer of the site reads but that were made elsewhere.
func (s *Site) Read(list ...*nn.Param) {
	for _, p := range list {
		s.params = append(s.params, named{"", p})
	}
}

// Placed is a layer in its slot.
type Placed struct{ part *part }

// Place makes a layer ready for its slot. stream tells its dropout from that of other layers.
func (s *Site) Place(l *Layer, stream uint64) *Placed {
	return &Placed{&part{site: s, layer: l, stream: stream}}
}

// Attach puts the layer into its slot.
func (p *Placed) Attach() { p.part.attach() }

// Detach puts back what the slot held.
func (p *Placed) Detach() { p.part.detach() }

// Deltas fold the layer into the base.
func (p *Placed) Deltas() []merge.Delta { return p.part.deltas() }

// Idle says that the layer changes nothing.
func (p *Placed) Idle() bool { return p.part.idle() }

// Buffers are the tensors that are stored but not trained.
func (b *Bank) Buffers() []*peft.Buffer { return b.buffers }
