package op

import "github.com/graft-ml/graft/internal/kernel"

// softCap replaces x by cap·tanh(x/cap), and writes the derivative 1 − tanh² to slope if that is not nil.
func softCap(x, slope []float32, cap float32) {
	var buf [256]float32
	for from := 0; from < len(x); from += len(buf) {
		part := x[from:min(from+len(buf), len(x))]
		t := buf[:len(part)]
		for i, v := range part {
			t[i] = v / cap
		}
		tanh(t, part)
		for i, v := range t {
			part[i] = cap * v
			if slope != nil {
				slope[from+i] = 1 - v*v
			}
		}
	}
}

// tanh replaces x by its hyperbolic tangent within 1e-6 of the value: 1 − 2/(1 + exp(2x)), or near 0, where that would
// cancel, the series. It spoils spare.
func tanh(x, spare []float32) {
	copy(spare, x)
	kernel.Scale(spare, 2)
	kernel.Exp(spare, spare)
	for i, v := range x {
		if v2 := v * v; v2 < 0.04 {
			x[i] = v * (1 + v2*(-1.0/3+v2*(2.0/15-v2*(17.0/315))))
		} else {
			x[i] = 1 - 2/(1+spare[i])
		}
	}
}

// Score turns the logits of a projection into scores: cap·tanh(scale·logit/cap) + bias. It is the end of models that scale their
// logits (Granite, T5), cap them (Gemma 2) or shift them (BART).
type Score struct {
	Projection
	Scale float32
	Cap   float32   // 0 = none
	Bias  []float32 // [out], frozen; nil = none
}

// scored is what Backward needs beyond x.
type scored struct {
	slope []float32 // [T, out] of the cap, nil without one
	inner any
}

// Forward implements Projection.
func (s *Score) Forward(p *Pass, y kernel.Mat, x *Input) any {
	k := &scored{inner: s.Projection.Forward(p, y, x)}
	if p.Grad && s.Cap > 0 {
		k.slope = p.Arena.Get(y.Rows * y.Cols)
	}
	kernel.Split(y.Rows, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row := y.Row(t)
			if s.Scale != 1 {
				kernel.Scale(row, s.Scale)
			}
			if s.Cap > 0 {
				softCap(row, k.row(t, y.Cols), s.Cap)
			}
			if s.Bias != nil {
				kernel.Add(row, s.Bias)
			}
		}
	})
	return k
}

// row is row t of the slopes, nil if there are none.
func (k *scored) row(t, cols int) []float32 {
	if k.slope == nil {
		return nil
	}
	return k.slope[t*cols : (t+1)*cols]
}

// Backward implements Projection: dlogit = scale·(1 − tanh²)·dy, over dy.
func (s *Score) Backward(p *Pass, dx, dy kernel.Mat, x *Input, saved any) {
	k := saved.(*scored)
	kernel.Split(dy.Rows, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row := dy.Row(t)
			if k.slope != nil {
				kernel.Mul(row, k.row(t, dy.Cols))
			}
			if s.Scale != 1 {
				kernel.Scale(row, s.Scale)
			}
		}
	})
	p.Arena.Put(k.slope)
	s.Projection.Backward(p, dx, dy, x, k.inner)
}
