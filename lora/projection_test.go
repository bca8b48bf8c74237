package lora

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
)

// Sizes of the projection under test: distinct primes.
const (
	rows = 7
	in   = 5
	out  = 3
	rank = 2
)

// projection is a base [3, 5] with a branch of rank 2, alpha 7 (scale 3.5) and the given dropout; nothing of it is zero.
func projection(dropout float64) *Projection {
	rng := rand.New(rand.NewPCG(1, 2))
	base := &layer.Frozen{W: kernel.FrozenF32(gauss(rng, out*in), out, in), Bias: gauss(rng, out)}
	s := &layer.Slot{Name: "model.layers.0.mlp.up_proj", Projection: base, Base: base}
	return &Projection{slot: s, base: base, was: base, stream: 3, rank: rank, scale: 3.5, dropout: dropout,
		A: op.NewParam(gauss(rng, rank*in), rank, in), B: op.NewParam(gauss(rng, out*rank), out, rank)}
}

func gauss(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func input(rng *rand.Rand) kernel.Mat { return kernel.NewMat(gauss(rng, rows*in), rows, in) }

func walk(seed uint64, training bool) *op.Pass {
	p := op.NewPass([]op.Segment{{End: rows}}, make([]int32, rows), kernel.ModeF32, op.NewArena())
	p.Grad, p.Train, p.Seed = true, training, seed
	return p
}

// forward returns y [rows, out] and what Backward needs.
func forward(l *Projection, p *op.Pass, x kernel.Mat) (kernel.Mat, any) {
	y := kernel.NewMat(make([]float32, rows*out), rows, out)
	return y, l.Forward(p, y, op.NewInput(x))
}

func TestFormula(t *testing.T) {
	l, x := projection(0), input(rand.New(rand.NewPCG(3, 4)))
	y, _ := forward(l, walk(0, true), x)
	base := l.base.(*layer.Frozen)
	a, b, w := op.Of(l.A).View(), op.Of(l.B).View(), make([]float32, in)
	want := make([]float32, 0, rows*out)
	for i := range rows {
		for o := range out {
			base.W.Row(w, o)
			sum := float64(base.Bias[o])
			for k := range in {
				delta := 0.0
				for r := range rank {
					delta += float64(b.Row(o)[r]) * float64(a.Row(r)[k])
				}
				sum += float64(x.Row(i)[k]) * (float64(w[k]) + 7.0/rank*delta)
			}
			want = append(want, float32(sum))
		}
	}
	check.Close(t, "y", y.Data, want, 1e-5, 1e-5) // float32 sums of 5 terms
}

// TestGradients holds dA, dB and dx against central differences, with and without dropout.
func TestGradients(t *testing.T) {
	for _, dropout := range []float64{0, 0.4} {
		t.Run(fmt.Sprintf("with dropout %g", dropout), func(t *testing.T) {
			l := projection(dropout)
			rng := rand.New(rand.NewPCG(5, 6))
			x, dy := input(rng), kernel.NewMat(gauss(rng, rows*out), rows, out)
			loss := func() (sum float64) {
				y, _ := forward(l, walk(9, true), x)
				for i, v := range y.Data {
					sum += float64(v) * float64(dy.Data[i])
				}
				return sum
			}
			p := walk(9, true)
			_, saved := forward(l, p, x)
			dx := kernel.NewMat(make([]float32, rows*in), rows, in)
			l.Backward(p, dx, dy, op.NewInput(x), saved)
			check.Slope(t, "A", op.Data(l.A), op.GradOf(l.A), rng, loss)
			check.Slope(t, "B", op.Data(l.B), op.GradOf(l.B), rng, loss)
			check.Slope(t, "x", x.Data, dx.Data, rng, loss)
		})
	}
}

// masked lists which inputs of the branch a pass drops, read off dropout applied to ones.
func masked(l *Projection, p *op.Pass) (mask []bool) {
	d, done := l.drop(p, kernel.NewMat(slices.Repeat([]float32{1}, rows*in), rows, in))
	defer done()
	for _, v := range d.Data {
		mask = append(mask, v == 0)
	}
	return mask
}

func TestDropout(t *testing.T) {
	l := projection(0.4)
	first := masked(l, walk(9, true))
	t.Run("the seed decides the mask", func(t *testing.T) {
		if !slices.Equal(first, masked(l, walk(9, true))) {
			t.Error("the same seed gave another mask")
		}
		if slices.Equal(first, masked(l, walk(10, true))) {
			t.Error("another seed gave the same mask")
		}
	})
	t.Run("every module has a mask of its own", func(t *testing.T) {
		other := projection(0.4)
		other.stream++
		if slices.Equal(first, masked(other, walk(9, true))) {
			t.Error("two modules share a mask")
		}
	})
	t.Run("evaluation drops nothing", func(t *testing.T) {
		x := input(rand.New(rand.NewPCG(3, 4)))
		got, _ := forward(l, walk(9, false), x)
		want, _ := forward(projection(0), walk(9, true), x)
		if !slices.Equal(got.Data, want.Data) {
			t.Error("the projection in evaluation is not the one without dropout")
		}
	})
	t.Run("what is kept is scaled so that the mean stays", func(t *testing.T) {
		wide := kernel.NewMat(slices.Repeat([]float32{1}, 200*50), 200, 50)
		d, done := l.drop(walk(1, true), wide)
		defer done()
		sum, zeros := 0.0, 0
		for _, v := range d.Data {
			if sum += float64(v); v == 0 {
				zeros++
			}
		}
		// 10,000 draws of probability 0.4: one standard deviation is 0.005 of the share, 0.008 of the mean.
		if share, mean := float64(zeros)/1e4, sum/1e4; math.Abs(share-0.4) > 0.02 || math.Abs(mean-1) > 0.03 {
			t.Errorf("dropped %.3f with mean %.3f, want 0.4 and 1", share, mean)
		}
	})
}

func TestScaling(t *testing.T) {
	for _, c := range []struct {
		rs    bool
		r     int
		alpha float64
		want  float64
	}{{false, 4, 6, 1.5}, {true, 4, 6, 3}, {false, 3, -6, -2}} {
		cfg := New()
		cfg.UseRSLoRA = c.rs
		if got := cfg.scaling(branch{rank: c.r, alpha: c.alpha}); got != c.want {
			t.Errorf("scaling of r %d, alpha %g, use_rslora %v = %g, want %g", c.r, c.alpha, c.rs, got, c.want)
		}
	}
}

// TestValidate checks that every bad setting is named at once.
func TestValidate(t *testing.T) {
	c := New()
	c.Rank, c.Alpha, c.Dropout, c.Init = 0, 0, 1, "magic"
	c.RankPattern = peft.Pattern{peft.NewEntry("q_proj", 0)}
	err := c.Validate()
	for _, want := range []string{"r is 0, want 1 to", "lora_alpha is 0", "lora_dropout is 1", `init_lora_weights is "magic"`, `rank_pattern "q_proj" is 0`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want %q in it", err, want)
		}
	}
	if err := New().Validate(); err != nil {
		t.Errorf("the defaults: %v, want no error", err)
	}
}

// TestIdle checks that a branch knows when it changes nothing.
func TestIdle(t *testing.T) {
	for _, c := range []struct {
		says string
		set  func(l *Projection)
		idle bool
	}{
		{"nothing is zero", func(*Projection) {}, false},
		{"A is zero", func(l *Projection) { clear(op.Data(l.A)) }, true},
		{"B is zero", func(l *Projection) { clear(op.Data(l.B)) }, true},
		{"alpha is zero", func(l *Projection) { l.scale = 0 }, true},
		{"one number of B is not zero", func(l *Projection) { clear(op.Data(l.B)); op.Data(l.B)[1] = 1e-3 }, false},
	} {
		l := projection(0)
		c.set(l)
		if got := l.idle(); got != c.idle {
			t.Errorf("%s: idle() = %v, want %v", c.says, got, c.idle)
		}
	}
}
