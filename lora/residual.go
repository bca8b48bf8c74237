package lora

import (
	"iter"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/nn"
)

// start is what a branch began as where its initialiser takes it out of the base, which then counts as W − scale·B₀·A₀. The
// checkpoint's W stays as it is.
type start struct {
	a, b  kernel.Mat // [r, in], [out, r]
	scale float32
}

// under is the base without what was taken out of it; s may be nil.
func (s *start) under(base op.Projection) op.Projection {
	if s == nil {
		return base
	}
	return &residual{Projection: base, start: s}
}

// factors joins the branch and its start: s·B·A − s·B₀·A₀ = s·B'·A' with
//
//	A' = [A; A₀] [2r, in]   B' = [B, −B₀] [out, 2r]
//
// which is plain LoRA of doubled rank over W itself.
func (s *start) factors(a, b kernel.Mat) (kernel.Mat, kernel.Mat) {
	if s == nil {
		return a, b
	}
	r := a.Rows
	joined := kernel.NewMat(make([]float32, 2*r*a.Cols), 2*r, a.Cols)
	copy(joined.Data, a.Data)
	copy(joined.Data[r*a.Cols:], s.a.Data)
	wide := kernel.NewMat(make([]float32, b.Rows*2*r), b.Rows, 2*r)
	for i := range b.Rows {
		row := wide.Row(i)
		copy(row, b.Row(i))
		for k, v := range s.b.Row(i) {
			row[r+k] = -v
		}
	}
	return joined, wide
}

// residual is a projection by W − scale·B₀·A₀.
type residual struct {
	op.Projection
	*start
}

// Forward implements op.Projection.
func (l *residual) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	saved := l.Projection.Forward(p, y, x)
	s := kernel.NewMat(p.Arena.Get(x.Rows*l.a.Rows), x.Rows, l.a.Rows)
	kernel.MatMul(s, x.Mat, l.a, kernel.MatMulOpts{TransB: true})
	kernel.MatMul(y, s, l.b, kernel.MatMulOpts{TransB: true, Alpha: -l.scale, Add: true})
	p.Arena.Put(s.Data)
	return saved
}

// Backward implements op.Projection: dx += dy·W − scale·(dy·B₀)·A₀.
func (l *residual) Backward(p *op.Pass, dx, dy kernel.Mat, x *op.Input, saved any) {
	l.Projection.Backward(p, dx, dy, x, saved)
	if dx.Rows == 0 {
		return
	}
	s := kernel.NewMat(p.Arena.Get(dy.Rows*l.a.Rows), dy.Rows, l.a.Rows)
	kernel.MatMul(s, dy, l.b, kernel.MatMulOpts{})
	kernel.MatMul(dx, s, l.a, kernel.MatMulOpts{Alpha: -l.scale, Add: true})
	p.Arena.Put(s.Data)
}

// Params implements op.Projection: the start is frozen.
func (l *residual) Params() iter.Seq2[string, *nn.Param] { return l.Projection.Params() }
