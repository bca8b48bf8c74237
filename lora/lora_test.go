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

// projection is a base [3, 5] with a branch of rank 2, alpha 7 and the given dropout; nothing of it is zero.
func projection(dropout float64) *Projection {
	rng := rand.New(rand.NewPCG(1, 2))
	base := &layer.Frozen{W: kernel.FrozenF32(normal(rng, out*in), out, in), Bias: normal(rng, out)}
	s := &layer.Slot{Name: "model.layers.0.mlp.up_proj", Projection: base, Base: base}
	c := New()
	c.Rank, c.Alpha, c.Dropout, c.Init = rank, 7, dropout, "false"
	return c.part(branch{slot: s, rank: rank, alpha: 7}, 3, rng)
}

func normal(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func input(rng *rand.Rand) kernel.Mat { return kernel.NewMat(normal(rng, rows*in), rows, in) }

func pass(seed uint64, training bool) *op.Pass {
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
	y, _ := forward(l, pass(0, true), x)
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
			x, dy := input(rng), kernel.NewMat(normal(rng, rows*out), rows, out)
			loss := func() (sum float64) {
				y, _ := forward(l, pass(9, true), x)
				for i, v := range y.Data {
					sum += float64(v) * float64(dy.Data[i])
				}
				return sum
			}
			p := pass(9, true)
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
	first := masked(l, pass(9, true))
	t.Run("the seed decides the mask", func(t *testing.T) {
		if !slices.Equal(first, masked(l, pass(9, true))) {
			t.Error("the same seed gave another mask")
		}
		if slices.Equal(first, masked(l, pass(10, true))) {
			t.Error("another seed gave the same mask")
		}
	})
	t.Run("every module has a mask of its own", func(t *testing.T) {
		other := projection(0.4)
		other.stream++
		if slices.Equal(first, masked(other, pass(9, true))) {
			t.Error("two modules share a mask")
		}
	})
	t.Run("evaluation drops nothing", func(t *testing.T) {
		x := input(rand.New(rand.NewPCG(3, 4)))
		got, _ := forward(l, pass(9, false), x)
		want, _ := forward(projection(0), pass(9, true), x)
		if !slices.Equal(got.Data, want.Data) {
			t.Error("the projection in evaluation is not the one without dropout")
		}
	})
	t.Run("what is kept is scaled so that the mean stays", func(t *testing.T) {
		wide := kernel.NewMat(slices.Repeat([]float32{1}, 200*50), 200, 50)
		d, done := l.drop(pass(1, true), wide)
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

func TestInitialise(t *testing.T) {
	const wide = 4096 // of A; enough draws for the bounds below
	for _, c := range []struct {
		init      string
		deviation float64 // of A
		zeroB     bool
	}{
		{"true", 1 / math.Sqrt(3*wide), true}, // U(±1/√in)
		{"gaussian", 1.0 / rank, true},        // N(0, 1/r), as PEFT has it: 1/r is the deviation
		{"false", 1 / math.Sqrt(3*wide), false},
	} {
		cfg := New()
		cfg.Init = c.init
		a, b := make([]float32, rank*wide), make([]float32, out*rank)
		cfg.initialise(a, b, wide, rank, rand.New(rand.NewPCG(1, 2)))
		sum := 0.0
		for _, v := range a {
			sum += float64(v) * float64(v)
		}
		if got := math.Sqrt(sum / float64(len(a))); math.Abs(got-c.deviation) > 0.05*c.deviation { // 8192 draws: six deviations
			t.Errorf("init_lora_weights %s: A has the deviation %g, want %g", c.init, got, c.deviation)
		}
		if zero(b) != c.zeroB {
			t.Errorf("init_lora_weights %s: B is zero: %v, want %v", c.init, zero(b), c.zeroB)
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

// TestIdle checks that an adapter knows when it changes nothing.
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
		if why := (&Adapter{parts: []*Projection{l}}).Idle(); (why != "") != c.idle {
			t.Errorf("%s: Idle() = %q, want idle: %v", c.says, why, c.idle)
		}
	}
}
