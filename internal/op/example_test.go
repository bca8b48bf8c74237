package op_test

import (
	"fmt"
	"log"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/ag"
)

// The gradient of a norm's weight, by a pass over one segment of two rows.
func Example() {
	w := op.NewParam([]float32{1, 2}, 1, 2)
	arena := op.NewArena()
	p := op.NewPass([]op.Segment{{End: 2}}, []int32{0, 1}, kernel.ModeF32, arena)
	p.Grad = true

	x := op.NewTensor([]float32{3, -3, 5, 5}, 2, 2)
	y := op.RMSNorm(p, x, &op.Vector{Value: op.Data(w), Param: w}, 0)
	fmt.Println(op.Of(y).Values())

	dy := arena.NewTensor(2, 2) // changes owner
	copy(dy.Values(), []float32{1, 1, 1, 1})
	y.AccGrad(dy)
	if err := ag.Backward(y); err != nil {
		log.Fatal(err)
	}
	fmt.Println(op.GradOf(w))
	arena.Reset() // takes all buffers of the pass back
	// Output:
	// [1 -2 1 2]
	// [2 0]
}
