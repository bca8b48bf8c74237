package lora

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// part is what LoRA puts into one slot.
type part interface {
	place() *layer.Slot
	// attach puts the part into its slot, detach what was there before.
	attach()
	detach()
	// Params are the trainable parameters by their names below the slot.
	Params() iter.Seq2[string, *nn.Param]
	// deltas fold the part into the base.
	deltas() []merge.Delta
	// idle says that the part changes nothing.
	idle() bool
	// extras are tensors that its file may hold beside the parameters; saves says that PEFT writes the base's weight.
	extras(saves bool) []peft.Extra
}

// part makes the part of one slot.
func (c *Config) part(b branch, stream uint64, rng *rand.Rand) (part, error) {
	if b.slot.Kind == layer.Embedding {
		return c.embedding(b, rng), nil
	}
	l, err := c.projection(b, stream, rng)
	switch {
	case err != nil:
		return nil, err
	case c.UseDoRA:
		return newDora(l), nil
	case c.LoraBias:
		return newBiased(l), nil
	}
	return l, nil
}

// projection makes the low-rank branch of a linear layer.
func (c *Config) projection(b branch, stream uint64, rng *rand.Rand) (*Projection, error) {
	in, out := b.dims()
	d := &draft{a: kernel.NewMat(make([]float32, b.rank*in), b.rank, in), b: kernel.NewMat(make([]float32, out*b.rank), out, b.rank),
		scale: c.scaling(b), rng: rng, weight: func() kernel.Mat { return weightOf(b.slot.Base) }}
	init, n, err := c.initialiser()
	if err != nil {
		return nil, err
	}
	d.iterations, d.known, d.loftq = n, b.known, c.LoftQ
	if init.takes && init.looks != nil && d.known == nil {
		return nil, fmt.Errorf("lora: init_lora_weights %q was computed from samples that the file does not hold; convert the adapter to one over the base itself", c.Init)
	}
	if err := init.draw(d); err != nil {
		return nil, fmt.Errorf("%w (%s)", err, b.slot.Name)
	}
	l := &Projection{slot: b.slot, base: b.slot.Projection, was: b.slot.Projection, stream: stream, rank: b.rank, scale: float32(d.scale), dropout: c.Dropout,
		A: op.NewParam(d.a.Data, b.rank, in), B: op.NewParam(d.b.Data, out, b.rank)}
	if d.base.Rows > 0 {
		l.replaced = d.base
		l.base = &layer.Frozen{W: kernel.FrozenF32(d.base.Data, out, in), Bias: b.slot.Base.Bias}
	}
	if init.takes {
		l.start = &start{a: cloned(d.a), b: cloned(d.b), scale: l.scale}
		l.base = l.start.under(l.base)
	}
	return l, nil
}

func cloned(m kernel.Mat) kernel.Mat { return kernel.NewMat(slices.Clone(m.Data), m.Rows, m.Cols) }

// weightOf is a copy of a frozen weight as [out, in].
func weightOf(f *layer.Frozen) kernel.Mat {
	in, out := f.Dims()
	m := kernel.NewMat(make([]float32, in*out), out, in)
	row := make([]float32, f.W.Cols)
	for i := range f.W.Rows {
		if f.W.Row(row, i); !f.Transposed {
			copy(m.Row(i), row)
			continue
		}
		for o, v := range row {
			m.Row(o)[i] = v
		}
	}
	return m
}

// embedding makes the low-rank branch of an embedding.
func (c *Config) embedding(b branch, rng *rand.Rand) *embedding {
	rows, dim := b.dims()
	wa, wb := make([]float32, b.rank*rows), make([]float32, dim*b.rank)
	embeddingStart(c.Init, wa, wb, rng)
	e := &embedding{slot: b.slot, base: b.slot.Lookup, rank: b.rank, scale: float32(c.scaling(b)), A: op.NewParam(wa, b.rank, rows), B: op.NewParam(wb, dim, b.rank)}
	if c.UseDoRA {
		e.weigh()
	}
	return e
}

// adaptable reports what the settings cannot do to a slot.
func (c *Config) adaptable(s *layer.Slot) error {
	init, _, err := c.initialiser()
	switch s.Projection.(type) {
	case nil, *layer.Frozen, *layer.Biased:
	default:
		if c.UseDoRA || init.takes || c.Init == "loftq" {
			return fmt.Errorf("lora: use_dora and init_lora_weights %q need %q as the checkpoint has it, but it is adapted already", c.Init, s.Name)
		}
	}
	if c.LoraBias && s.Kind == layer.Embedding {
		return errors.Join(err, fmt.Errorf("lora: lora_bias is true, but target_modules match the embedding %q, which has none", s.Name))
	}
	return err
}

// tie lets heads that share an adapted embedding's weight share its factors, too (ensure_weight_tying). Their own parts, if
// they were targets, give way.
func (c *Config) tie(parts []part, m layer.Model) []part {
	for _, p := range slices.Clone(parts) {
		e, ok := p.(*embedding)
		if !ok || !c.Beside.Tie {
			continue
		}
		for s := range m.Slots() {
			if !s.Tied || s.Base != e.slot.Base {
				continue
			}
			e.both = true
			parts = slices.DeleteFunc(parts, func(q part) bool { return q.place() == s })
			parts = append(parts, &tiedHead{Projection: s.Projection, of: e, slot: s})
		}
	}
	return parts
}
