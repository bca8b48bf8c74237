package merge

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/internal/kernel"
)

// LowRank is the delta of LoRA.
//
//	ΔW = scale·B·A     A [rank, in]   B [out, rank]   ΔW [out, in]
//
// or its transpose [in, out] where the checkpoint stores the weight so: Conv1D of GPT-2, and embeddings, whose rows are
// the inputs.
type LowRank struct {
	Tensor     string // the target's name
	A          kernel.Mat
	B          kernel.Mat
	Scale      float32
	Transposed bool // the target is stored [in, out]
	BothEnds   bool // see AtBothEnds
}

// Target implements Delta.
func (l *LowRank) Target() string { return l.Tensor }

// Dims implements Delta.
func (l *LowRank) Dims() (rows, cols int) {
	if l.Transposed {
		return l.A.Cols, l.B.Rows
	}
	return l.B.Rows, l.A.Cols
}

// AtBothEnds says that embedding and head stay equal, if these are tied.
func (l *LowRank) AtBothEnds() bool { return l.BothEnds }

// AddTo implements Adder.
func (l *LowRank) AddTo(lo, hi int, dst []float32) {
	_, cols := l.Dims()
	y := kernel.NewMat(dst, hi-lo, cols)
	opts := kernel.MatMulOpts{Alpha: l.Scale, Add: true, Serial: true}
	if l.Scale == 0 { // to MatMul a factor of 0 means none
		return
	}
	if l.Transposed { // (B·A)ᵀ = Aᵀ·Bᵀ
		opts.TransA, opts.TransB = true, true
		kernel.MatMul(y, l.A.ColRange(lo, hi), l.B, opts)
		return
	}
	kernel.MatMul(y, l.B.RowRange(lo, hi), l.A, opts)
}

// Check implements Checker: the factors fit each other and are finite.
func (l *LowRank) Check() error {
	if l.A.Rows != l.B.Cols {
		return fmt.Errorf("A is [%d, %d] and B is [%d, %d], want one rank", l.A.Rows, l.A.Cols, l.B.Rows, l.B.Cols)
	}
	if s := float64(l.Scale); math.IsNaN(s) || math.IsInf(s, 0) {
		return fmt.Errorf("scale is %g", s)
	}
	for name, m := range map[string]kernel.Mat{"A": l.A, "B": l.B} {
		for i := range m.Rows {
			for j, x := range m.Row(i) {
				if x-x != 0 {
					return fmt.Errorf("%s[%d, %d] is %g, want finite numbers", name, i, j, x)
				}
			}
		}
	}
	return nil
}
