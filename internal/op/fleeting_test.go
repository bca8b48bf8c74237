package op_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
)

// reader is a projection that says what it wants of its input.
type reader struct {
	*weight
	reading op.Reading
}

func (r reader) Reading() op.Reading { return r.reading }

// TestFleeting compares a block whose norm and activations are let go with one that keeps them: gradients are the same bit for bit,
// whatever its projections want, and memory is less where they allow it.
func TestFleeting(t *testing.T) {
	compute := func(reading op.Reading, fleeting, gated bool) (grads [][]float32, peak int64) {
		rng := rand.New(rand.NewPCG(5, 6))
		x, norm, in, out := param(rng, rows, 64), param(rng, 1, 64), param(rng, 256, 64), param(rng, 64, map[bool]int{true: 128, false: 256}[gated])
		once := func(x mat.Tensor) mat.Tensor {
			if fleeting {
				return op.Fleeting(x)
			}
			return x
		}
		var pass *op.Pass
		_, grads = run([]*nn.Param{x, norm, in, out}, func(p *op.Pass) mat.Tensor {
			pass = p
			stream := input(p, x)
			h := once(op.RMSNorm(p, stream, vector(norm), 1e-5))
			a := op.Project(p, h, reader{&weight{in}, reading})
			if gated {
				a = once(op.Gate(p, a, op.SiLU))
			} else {
				a = once(op.Activate(p, a, op.GELU))
			}
			return op.ProjectAdd(p, a, reader{&weight{out}, reading}, stream)
		}, true)
		return grads, pass.Arena.PeakBytes()
	}
	for _, gated := range []bool{false, true} {
		for _, reading := range []op.Reading{op.Holds, op.Reads} {
			t.Run(fmt.Sprint("gated ", gated, ", reading ", reading), func(t *testing.T) {
				want, before := compute(reading, false, gated)
				got, after := compute(reading, true, gated)
				if !reflect.DeepEqual(got, want) {
					t.Error("gradients differ")
				}
				if (after < before) != (reading != op.Holds) {
					t.Errorf("memory %d, without letting go %d", after, before)
				}
			})
		}
	}
}
