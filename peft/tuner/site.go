package tuner

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// Bank makes tensors that all targets share, under their full names in the file.
type Bank struct {
	Slots []*layer.Slot // the targets
	Model string        // its model_type
	// FromFile says that numbers of a file are going to replace those of all tensors.
	FromFile bool
	rng      *rand.Rand
	budget   *budget
	params   []named
	buffers  []*peft.Buffer
	err      error
}

// named is a parameter under its name in the file.
type named struct {
	name string
	p    *nn.Param
}

// budget is how many numbers an adapter may still have, so that hostile settings cannot exhaust memory before anybody looks at
// them: a few times what it adapts, or a number that no one need ask about.
type budget struct{ left float64 }

func newBudget(slots []*layer.Slot) *budget {
	const small, times = 1 << 26, 4
	base := 0.0
	for _, s := range slots {
		in, out := s.Dims()
		base += float64(in) * float64(out)
	}
	return &budget{max(small, times*base)}
}

// TooLarge is what numbers panics with, and Guard returns: makers go on with what they asked for.
type TooLarge struct{ error }

// numbers makes the initial values of a tensor.
func (b *Bank) numbers(name string, draw Draw, shape []int) []float32 {
	n := 1.0
	for _, k := range shape {
		n *= float64(k)
	}
	if b.budget.left -= n; b.budget.left < 0 {
		panic(TooLarge{fmt.Errorf("the settings make tensor %q %v, which is more than the modules themselves have", name, shape)})
	}
	x := make([]float32, int(n))
	draw(x, b.rng)
	return x
}

// Param makes a trained tensor of the shape.
func (b *Bank) Param(name string, draw Draw, shape ...int) *nn.Param {
	p := op.NewShapedParam(b.numbers(name, draw, shape), shape...)
	b.params = append(b.params, named{name, p})
	return p
}

// Buffer makes a tensor that is stored but not trained.
func (b *Bank) Buffer(name string, draw Draw, shape ...int) *peft.Buffer {
	x := &peft.Buffer{Name: name, Data: b.numbers(name, draw, shape), Shape: shape}
	b.buffers = append(b.buffers, x)
	return x
}

// Whole makes a tensor of whole numbers that is stored but not trained.
func (b *Bank) Whole(name string, v []int, shape ...int) *peft.Buffer {
	x := &peft.Buffer{Name: name, Ints: v, Shape: shape}
	b.buffers = append(b.buffers, x)
	return x
}

// Rand is the source of initial values.
func (b *Bank) Rand() *rand.Rand { return b.rng }

// Widest are the largest numbers of inputs and outputs of a target.
func (b *Bank) Widest() (in, out int) {
	for _, s := range b.Slots {
		i, o := s.Dims()
		in, out = max(in, i), max(out, o)
	}
	return in, out
}

// Site is one target while its layer is made. Names of its tensors are those below the slot.
type Site struct {
	Bank
	Slot    *layer.Slot
	In, Out int

	patterns map[string]*peft.CompiledPattern
}

// Param makes a trained tensor of the shape.
func (s *Site) Param(name string, draw Draw, shape ...int) *nn.Param {
	return s.Bank.Param(peft.Prefix+s.Slot.Name+"."+name, draw, shape...)
}

// Buffer makes a tensor that is stored but not trained.
func (s *Site) Buffer(name string, draw Draw, shape ...int) *peft.Buffer {
	return s.Bank.Buffer(peft.Prefix+s.Slot.Name+"."+name, draw, shape...)
}

// Whole makes a tensor of whole numbers that is stored but not trained.
func (s *Site) Whole(name string, v []int, shape ...int) *peft.Buffer {
	return s.Bank.Whole(peft.Prefix+s.Slot.Name+"."+name, v, shape...)
}

// Number is what a pattern among the options says for this target, else the usual value.
func (s *Site) Number(pattern string, usual float64) float64 {
	p := s.patterns[pattern]
	if p == nil {
		return usual
	}
	v, ok, err := p.Lookup(s.Slot.Name)
	if err != nil {
		s.err = err
	}
	if !ok {
		return usual
	}
	f, _ := v.Float64() // checked by Validate
	return f
}

// Int is Number for whole numbers.
func (s *Site) Int(pattern string, usual int) int { return int(s.Number(pattern, float64(usual))) }

// Kaiming is U(±1/√n), torch's kaiming_uniform(a=√5) for n inputs.
func Kaiming(n int) Draw { return Uniform(1 / math.Sqrt(float64(n))) }
