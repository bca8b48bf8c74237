package op_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/mat"
)

// TestRowLosses compares the gradients of losses of whole rows with central differences.
func TestRowLosses(t *testing.T) {
	labels := [][]float32{{1, 0, .5}, {0, 0, 1}, {1, 1, 0}, {0, 1, 1}, {1, 0, 0}, {0, 0, 0}, {1, 1, 1}}
	for name, loss := range map[string]func(p *op.Pass, z mat.Tensor) (mat.Tensor, op.LossSums){
		"binary cross-entropy": func(p *op.Pass, z mat.Tensor) (mat.Tensor, op.LossSums) {
			return op.Labels(p, z, op.LabelsSpec{Loss: op.BinaryCrossEntropy, Labels: labels, Weights: []float32{1, .5, 2}, Scale: .3})
		},
		"squared error": func(p *op.Pass, z mat.Tensor) (mat.Tensor, op.LossSums) {
			return op.Labels(p, z, op.LabelsSpec{Loss: op.SquaredError, Labels: labels, Scale: .3})
		},
		"spans": func(p *op.Pass, z mat.Tensor) (mat.Tensor, op.LossSums) {
			return op.Spans(p, z, op.SpansSpec{Spans: [][2]int32{{0, 2}, {5, 5}}, Scale: .3})
		},
	} {
		t.Run(name, func(t *testing.T) {
			cols := 3
			if name == "spans" {
				cols = 2
			}
			x := param(rand.New(rand.NewPCG(5, 6)), rows, cols)
			value := func(grad bool) float64 {
				x.ZeroGrad()
				p := newPass()
				p.Grad = grad
				y, sums := loss(p, input(p, x))
				if grad {
					if err := ag.Backward(y); err != nil {
						t.Fatal(err)
					}
				}
				return .3 * sums.Loss
			}
			value(true)
			compare(t, "scores", op.Data(x), slices.Clone(op.GradOf(x)), func() float64 { return value(false) })
		})
	}
}

// TestSpans compares with the formula, segment by segment.
func TestSpans(t *testing.T) {
	x := param(rand.New(rand.NewPCG(7, 8)), rows, 2)
	at := [][2]int32{{1, 2}, {4, 6}}
	p := newPass()
	got := make([]float64, 2)
	_, sums := op.Spans(p, input(p, x), op.SpansSpec{Spans: at, Scale: 1, PerRow: got})
	if sums.Weight != 2 || sums.Targets != 2 {
		t.Errorf("sums %+v, want 2 targets", sums)
	}
	for i, s := range segments {
		want := 0.0
		for col := range 2 {
			sum := 0.0
			for r := s.Start; r < s.End; r++ {
				sum += math.Exp(float64(op.Data(x)[2*r+col]))
			}
			want += (math.Log(sum) - float64(op.Data(x)[2*int(at[i][col])+col])) / 2
		}
		if math.Abs(got[i]-want) > 1e-6 { // float32 logits of size 1
			t.Errorf("segment %d: loss %g, want %g", i, got[i], want)
		}
	}
}
