package lora

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// drawn is a matrix of N(0, 1).
func drawn(rng *rand.Rand, rows, cols int) kernel.Mat {
	m := kernel.NewMat(make([]float32, rows*cols), rows, cols)
	normal(m.Data, 1, rng)
	return m
}

// linearSlot is a slot of random weights [3, 7].
func linearSlot(rng *rand.Rand, transposed, bias bool) *layer.Slot {
	w := drawn(rng, 3, 7)
	f := &layer.Frozen{W: kernel.FrozenF32(w.Data, 3, 7)}
	if transposed {
		t := kernel.NewMat(make([]float32, 21), 7, 3)
		for i := range 3 {
			for j := range 7 {
				t.Row(j)[i] = w.Row(i)[j]
			}
		}
		f = &layer.Frozen{W: kernel.FrozenF32(t.Data, 7, 3), Transposed: true}
	}
	if bias {
		f.Bias = drawn(rng, 1, 3).Data
	}
	return &layer.Slot{Name: "x.proj", Projection: f, Base: f}
}

// newBranch is a branch of rank 2 with random factors on a slot.
func newBranch(slot *layer.Slot, rng *rand.Rand, dropout float64) *Projection {
	return &Projection{slot: slot, was: slot.Projection, base: slot.Projection, stream: 4, rank: 2, scale: 1.7, dropout: dropout,
		A: op.NewParam(drawn(rng, 2, 7).Data, 2, 7), B: op.NewParam(drawn(rng, 3, 2).Data, 3, 2)}
}

// reference is dora's formula in float64, with the lengths n and the dropped input given.
func reference(l *dora, n []float32, x, dropped kernel.Mat) []float64 {
	w, a, b, m := weightOf(l.slot.Base), op.Of(l.A).View(), op.Of(l.B).View(), op.Data(l.M)
	var y []float64
	for t := range x.Rows {
		for o := range w.Rows {
			plain, z, branch := 0.0, 0.0, 0.0
			for i := range w.Cols {
				plain += float64(w.Row(o)[i]) * float64(x.Row(t)[i])
				z += float64(w.Row(o)[i]) * float64(dropped.Row(t)[i])
			}
			for k := range a.Rows {
				s := 0.0
				for i := range a.Cols {
					s += float64(a.Row(k)[i]) * float64(dropped.Row(t)[i])
				}
				branch += float64(l.scale) * float64(b.Row(o)[k]) * s
			}
			g := float64(m[o]) / float64(n[o])
			v := plain + (g-1)*z + g*branch
			if l.bias != nil {
				v += float64(l.bias[o])
			}
			y = append(y, v)
		}
	}
	return y
}

// TestDoRA compares forward and backward with the formula and its central differences, in which the lengths are constant.
func TestDoRA(t *testing.T) {
	for _, c := range []struct {
		name                      string
		transposed, bias, trained bool
		dropout                   float64
	}{{"plain", false, false, false, 0}, {"a bias", false, true, false, 0}, {"a trained bias", false, true, true, 0}, {"a transposed weight", true, true, false, 0},
		{"dropout", false, false, false, 0.4}, {"dropout and a trained bias", true, true, true, 0.4}} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 5))
			slot := linearSlot(rng, c.transposed, c.bias)
			if c.trained {
				slot.Projection = layer.NewBiased(slot.Base)
			}
			l := newDora(newBranch(slot, rng, c.dropout))
			for i := range op.Data(l.M) {
				op.Data(l.M)[i] *= float32(1.3 + 0.2*float64(i))
			}
			x, dy := drawn(rng, 5, 7), drawn(rng, 5, 3)
			p := op.NewPass(nil, make([]int32, 5), kernel.ModeF32, op.NewArena())
			p.Grad, p.Train, p.Seed = true, true, 11
			y := kernel.NewMat(make([]float32, 15), 5, 3)
			in := op.NewInput(x)
			saved := l.Forward(p, y, in)
			n := l.lengths()
			f := func() (sum float64) {
				d, done := l.drop(p, x)
				defer done()
				for i, v := range reference(l, n, x, d) {
					sum += v * float64(dy.Data[i])
				}
				return sum
			}
			d, done := l.drop(p, x)
			for i, v := range reference(l, n, x, d) {
				if math.Abs(float64(y.Data[i])-v) > 1e-5 { // float32, sums of seven terms
					t.Errorf("y[%d] = %g, want %g", i, y.Data[i], v)
				}
			}
			done()
			dx := kernel.NewMat(make([]float32, 35), 5, 7)
			l.Backward(p, dx, dy, in, saved)
			differences(t, "x", x.Data, dx.Data, f)
			for name, q := range l.Params() {
				differences(t, name, op.Data(q), op.GradOf(q), f)
			}
			if c.trained {
				differences(t, "bias", op.Data(l.train), op.GradOf(l.train), f)
			}
		})
	}
}

// differences compares gradients with central differences of f.
func differences(t *testing.T, name string, value, grad []float32, f func() float64) {
	t.Helper()
	const h = 1e-2
	want := make([]float32, len(value))
	for i, v := range value {
		value[i] = v + h
		up := f()
		value[i] = v - h
		want[i] = float32((up - f()) / float64((v+h)-(v-h)))
		value[i] = v
	}
	check.Close(t, "gradient of "+name, grad, want, 2e-4, 2e-4) // float32 parameters: a step of 1e-2 is exact to 1e-5
}

func TestDoRAStartsAsTheBase(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	for _, transposed := range []bool{false, true} {
		slot := linearSlot(rng, transposed, true)
		b := newBranch(slot, rng, 0)
		clear(op.Data(b.B))
		l := newDora(b)
		x := drawn(rng, 5, 7)
		p := op.NewPass(nil, make([]int32, 5), kernel.ModeF32, op.NewArena())
		y, want := make([]float32, 15), make([]float32, 15)
		l.Forward(p, kernel.NewMat(y, 5, 3), op.NewInput(x))
		slot.Base.Forward(p, kernel.NewMat(want, 5, 3), op.NewInput(x))
		check.Close(t, "output", y, want, 0, 0)
		if !l.idle() {
			t.Error("idle() = false, want true")
		}
	}
}

// TestLengths compares with the whole sum, before and after the factors change.
func TestLengths(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 9))
	const rows, cols = 131, 67
	w := drawn(rng, rows, cols)
	for _, transposed := range []bool{false, true} {
		in, out := cols, rows
		if transposed {
			in, out = rows, cols
		}
		a, b := drawn(rng, 3, in), drawn(rng, out, 3)
		l := lengths{w: kernel.FrozenF32(w.Data, rows, cols), transposed: transposed}
		for range 2 {
			sum := kernel.NewMat(make([]float32, out*in), out, in)
			kernel.MatMul(sum, b, a, kernel.MatMulOpts{Alpha: 0.7})
			want := make([]float32, out)
			for o := range out {
				for i := range in {
					v := w.Data[o*in+i : o*in+i+1][0]
					if transposed {
						v = w.Row(i)[o]
					}
					s := float64(v) + float64(sum.Row(o)[i])
					want[o] += float32(s * s)
				}
				want[o] = float32(math.Sqrt(float64(want[o])))
			}
			check.Close(t, "lengths", l.of(a, b, 0.7), want, 0, 1e-5) // float32 sums of 131 squares
			b.Data[5] += 3
		}
	}
}
