package layer

import (
	"iter"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// Sinusoids are positions that are not learned [vaswani2017], sines before cosines as Marian has them:
//
//	row[j] = sin(t / 10000^(2j/dim))   row[⌈dim/2⌉ + j] = cos(t / 10000^(2j/dim))
//
// They have no end.
type Sinusoids struct{ Dim int }

// Size implements op.Lookup.
func (e *Sinusoids) Size() (rows, dim int) { return math.MaxInt32, e.Dim }

// Look implements op.Lookup.
func (e *Sinusoids) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	half := (e.Dim + 1) / 2
	period := make([]float64, half)
	for j := range period {
		period[j] = math.Pow(10000, 2*float64(j)/float64(e.Dim))
	}
	kernel.Split(len(ids), 16, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row := y.Row(t)
			for j, w := range period {
				sin, cos := math.Sincos(float64(ids[t]) / w)
				row[j] = float32(sin)
				if half+j < e.Dim {
					row[half+j] = float32(cos)
				}
			}
		}
	})
}

// LookBackward implements op.Lookup: nothing is trained.
func (e *Sinusoids) LookBackward(p *op.Pass, dy kernel.Mat, ids []int32) {}

// Params implements op.Lookup: there are none.
func (e *Sinusoids) Params() iter.Seq2[string, *nn.Param] {
	return func(func(string, *nn.Param) bool) {}
}
