package op

import (
	"fmt"
	"sync"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// Tensor is the value of an operator or the matrix of a parameter: a spago matrix over a buffer that graft owns.
// It replaces spago's gradient bookkeeping, which clones the first gradient it is given: here a gradient changes owner.
type Tensor struct {
	mat.Matrix // a Dense over the same numbers, for what graft does not override
	data       []float32
	rows, cols int
	shape      []int  // of a parameter in files, where it is not [rows, cols]
	arena      *Arena // nil for parameters
	fleeting   fleeting

	mu   sync.Mutex
	grad *Tensor
}

// NewTensor wraps data [rows, cols] without copying it.
func NewTensor(data []float32, rows, cols int) *Tensor {
	if len(data) != rows*cols {
		panic(fmt.Sprintf("op: NewTensor: %d numbers for [%d, %d]", len(data), rows, cols))
	}
	return &Tensor{Matrix: mat.NewDense[float32](mat.WithShape(rows, cols), mat.WithBacking(data)), data: data, rows: rows, cols: cols}
}

// NewTensor takes a [rows, cols] tensor from the arena; its content is undefined.
func (a *Arena) NewTensor(rows, cols int) *Tensor {
	t := NewTensor(a.Get(rows*cols), rows, cols)
	t.arena = a
	return t
}

// Of returns the graft tensor behind a node of the graph or a parameter.
func Of(x mat.Tensor) *Tensor { return bare(x).present() }

// bare is Of for those who do not look at the numbers, which may not be there (see Fleeting).
func bare(x mat.Tensor) *Tensor {
	switch v := x.(type) {
	case *Tensor:
		return v
	case *nn.Param:
		return v.Matrix.(*Tensor)
	}
	switch v := x.Value().(type) {
	case *Tensor:
		return v
	default: // the 1 with which ag.Backward begins
		return NewTensor(v.Data().F32(), v.Shape()[0], v.Shape()[1])
	}
}

// View is the tensor's numbers as a matrix.
func (t *Tensor) View() kernel.Mat { return kernel.NewMat(t.data, t.rows, t.cols) }

// Values are the tensor's numbers, row by row; writing to them changes the tensor.
func (t *Tensor) Values() []float32 { return t.data }

// Value implements mat.Tensor.
func (t *Tensor) Value() mat.Tensor { return t }

// Grad implements mat.Tensor.
func (t *Tensor) Grad() mat.Tensor {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.grad == nil {
		return nil
	}
	return t.grad
}

// HasGrad implements mat.Tensor.
func (t *Tensor) HasGrad() bool { return t.Grad() != nil }

// AccGrad takes the gradient over: the caller must not use it afterwards.
func (t *Tensor) AccGrad(g mat.Tensor) {
	gt := Of(g)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.grad == gt { // see partsGrad
		return
	}
	if t.grad == nil {
		t.grad = gt
		return
	}
	kernel.Add(t.grad.data, gt.data)
	gt.release()
}

// partsGrad is the gradient of a value of which many operators read a part of their own, all zero when first asked for. Each
// adds to its part and then hands the whole to AccGrad, which only notes that it is done: no number is a sum of several
// operators', so their order does not matter. Where parts are shared (see Pass.Prefixes and AttentionSpec.Prefix), one of two layers
// comes behind the other, and so do their gradients.
func (p *Pass) partsGrad(x mat.Tensor) *Tensor {
	t := Of(x)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.grad == nil {
		t.grad = p.Arena.NewTensor(t.rows, t.cols)
		clear(t.grad.data)
	}
	return t.grad
}

// ZeroGrad drops the gradient of a value; the lasting buffer of a parameter is set to zero.
func (t *Tensor) ZeroGrad() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.grad == nil {
		return
	}
	if t.arena == nil {
		clear(t.grad.data)
		return
	}
	t.grad.release()
	t.grad = nil
}

// release gives the buffer back to the arena it came from.
func (t *Tensor) release() {
	if t.arena != nil {
		t.arena.Put(t.data)
		t.data = nil
	}
}

// takeOver returns a tensor [rows, cols] that owns t's buffer from now on; t itself must not be read again. It is for
// operators that change a value in place, whose producer never looks at its output again.
func (t *Tensor) takeOver(rows, cols int) *Tensor {
	n := NewTensor(t.data[:rows*cols], rows, cols)
	n.arena, t.arena = t.arena, nil
	return n
}

// NewParam makes a trainable parameter [rows, cols] over data, which it does not copy. (nn.NewParam would clone it.)
func NewParam(data []float32, rows, cols int) *nn.Param {
	p := &nn.Param{Matrix: NewTensor(data, rows, cols)}
	p.SetRequiresGrad(true)
	return p
}

// NewVectorParam makes a trainable vector [1, n] that files hold as [n]: a bias, the weight of a norm.
func NewVectorParam(data []float32) *nn.Param { return NewShapedParam(data, len(data)) }

// NewShapedParam makes a trainable parameter that files hold in the given shape. Here it has a row for each but the last
// dimension.
func NewShapedParam(data []float32, shape ...int) *nn.Param {
	cols := shape[len(shape)-1]
	rows := 1
	for _, n := range shape[:len(shape)-1] {
		rows *= n
	}
	p := NewParam(data, rows, cols)
	if len(shape) != 2 {
		Of(p).shape = shape
	}
	return p
}

// IsVector says that files hold the parameter in one dimension.
func IsVector(p *nn.Param) bool { return len(Of(p).shape) == 1 }

// FileShape is the parameter's shape in a file.
func FileShape(p *nn.Param) []int {
	t := Of(p)
	if t.shape != nil {
		return t.shape
	}
	return []int{t.rows, t.cols}
}

// Data are the numbers of a parameter, row by row.
func Data(p *nn.Param) []float32 { return Of(p).data }

// GradOf is the lasting gradient buffer of a parameter, all zero when first asked for. Backward functions add to it.
func GradOf(p *nn.Param) []float32 {
	t := Of(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.grad == nil {
		t.grad = NewTensor(make([]float32, len(t.data)), t.rows, t.cols)
	}
	return t.grad.data
}
