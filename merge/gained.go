package merge

import (
	"fmt"

	"github.com/graft-ml/graft/internal/kernel"
)

// Gained is the delta of DoRA: every output of the sum is scaled.
//
//	W' = diag(gain)·(W + scale·B·A)
//
// or its transpose, as in LowRank.
type Gained struct {
	Sum  LowRank
	Gain []float32 // [out]
}

// Target implements Delta.
func (g *Gained) Target() string { return g.Sum.Tensor }

// Dims implements Delta.
func (g *Gained) Dims() (rows, cols int) { return g.Sum.Dims() }

// AtBothEnds says that embedding and head stay equal, if these are tied.
func (g *Gained) AtBothEnds() bool { return g.Sum.BothEnds }

// Change implements Changer.
func (g *Gained) Change(lo, hi int, base, dst []float32) {
	copy(dst, base)
	g.Sum.AddTo(lo, hi, dst)
	_, cols := g.Dims()
	for i := range hi - lo {
		row := dst[i*cols : (i+1)*cols]
		if g.Sum.Transposed {
			kernel.Mul(row, g.Gain)
		} else {
			kernel.Scale(row, g.Gain[lo+i])
		}
	}
}

// Check implements Checker.
func (g *Gained) Check() error {
	if len(g.Gain) != g.Sum.B.Rows {
		return fmt.Errorf("%d gains for B [%d, %d]", len(g.Gain), g.Sum.B.Rows, g.Sum.B.Cols)
	}
	for i, v := range g.Gain {
		if v-v != 0 {
			return fmt.Errorf("gain[%d] is %g, want finite numbers", i, v)
		}
	}
	return g.Sum.Check()
}
