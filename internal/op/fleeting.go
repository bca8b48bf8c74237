package op

import (
	"sync"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
)

// Fleeting says that x is read by one operator, and returns it. Where the operator that made x can make it again from what it keeps
// anyway, as norms and activations can, the operator that reads it gives its buffer back at once, and the backward pass has it made
// again if it looks at it. A second reader after all only costs time.
func Fleeting(x mat.Tensor) mat.Tensor {
	if t := bare(x); t.fleeting.again != nil {
		t.fleeting.once = true
	}
	return x
}

// fleeting is how a value is made again.
type fleeting struct {
	mu    sync.Mutex
	again func(y kernel.Mat) // nil = it cannot
	once  bool               // see Fleeting
}

// canAgain notes how to make the value again, in a pass whose backward pass might want it.
func (t *Tensor) canAgain(p *Pass, again func(y kernel.Mat)) {
	if p.Grad {
		t.fleeting.again = again
	}
}

// keep says that others hold the buffer, too.
func (t *Tensor) keep() { t.fleeting.once = false }

// letGo gives the buffer of a fleeting value back until it is asked for, if the projections that have read it allow.
func (t *Tensor) letGo(list ...Projection) {
	if t.fleeting.once && t.arena != nil && ReadingOf(list...) != Holds {
		t.release()
	}
}

// present is the tensor with its numbers.
func (t *Tensor) present() *Tensor {
	f := &t.fleeting
	if !f.once {
		return t
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.data == nil && t.arena != nil {
		t.data = t.arena.Get(t.rows * t.cols)
		f.again(kernel.NewMat(t.data, t.rows, t.cols))
	}
	return t
}

// Reading is what the Backward of a projection wants of the input x.
type Reading uint8

const (
	Holds Reading = iota // what Forward saved points into x: its buffer must stay
	Reads                // it looks at the x that it is given
	Blind                // nothing
)

// Reader is implemented by projections that do better than Holds.
type Reader interface{ Reading() Reading }

// ReadingOf is what the Backward of one of the projections wants of its input.
func ReadingOf(list ...Projection) Reading {
	least := Blind
	for _, q := range list {
		r, ok := q.(Reader)
		if !ok {
			return Holds
		}
		least = min(least, r.Reading())
	}
	return least
}

// inputAgain is x for the Backward of projections: its shape alone if none of them looks.
func inputAgain(x mat.Tensor, list ...Projection) *Input {
	if t := bare(x); ReadingOf(list...) == Blind {
		return NewInput(kernel.Mat{Rows: t.rows, Cols: t.cols, Stride: t.cols})
	}
	return NewInput(Of(x).View())
}
