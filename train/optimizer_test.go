package train

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// hill is a separable quadratic with its minimum at target; sizes are no multiples of each other or of the grain.
type hill struct {
	params []Param
	target [][]float32
}

func newHill(sizes ...[2]int) *hill {
	rng := rand.New(rand.NewPCG(1, 2))
	h := &hill{}
	for i, s := range sizes {
		p := Param{Name: fmt.Sprint("p", i), Rows: s[0], Cols: s[1], Vector: s[0] == 1}
		target := make([]float32, s[0]*s[1])
		for j := range target {
			target[j] = float32(rng.NormFloat64())
		}
		p.Value, p.Grad = make([]float32, len(target)), make([]float32, len(target))
		h.params, h.target = append(h.params, p), append(h.target, target)
	}
	return h
}

// slope sets the gradients and returns the height.
func (h *hill) slope() (height float64) {
	for i, p := range h.params {
		for j, x := range p.Value {
			d := x - h.target[i][j]
			p.Grad[j] = d * float32(1+j%3)
			height += float64(d) * float64(d)
		}
	}
	return height
}

func TestEveryOptimizerDescends(t *testing.T) {
	for _, k := range Optimizers {
		t.Run(k.Name, func(t *testing.T) {
			h := newHill([2]int{7, 11}, [2]int{1, 13})
			o, err := NewOptimizer(k.Name, []Group{{h.params, 0.05, 0}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			first := h.slope()
			for range 100 {
				h.slope()
				o.Step(1)
			}
			if last := h.slope(); !(last < 0.5*first) {
				t.Errorf("100 steps went from height %g to %g, want below half", first, last)
			}
			if o.NumSteps() != 100 {
				t.Errorf("NumSteps() = %d, want 100", o.NumSteps())
			}
		})
	}
}

func TestEveryOptimizerIsIndependentOfGOMAXPROCS(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, k := range Optimizers {
		t.Run(k.Name, func(t *testing.T) {
			var want [][]float32
			for _, n := range []int{1, 2, 4} {
				runtime.GOMAXPROCS(n)
				h := newHill([2]int{131, 151}, [2]int{1, 40009}, [2]int{3, 5})
				o, err := NewOptimizer(k.Name, []Group{{h.params[:1], 0.05, 0.1}, {h.params[1:], 0.02, 0}}, nil)
				if err != nil {
					t.Fatal(err)
				}
				var got [][]float32
				for range 3 {
					h.slope()
					o.Clip(o.GradNorm(), 1)
					o.Step(0.5)
				}
				for _, p := range h.params {
					got = append(got, p.Value)
				}
				for _, s := range o.State() {
					got = append(got, s.Values)
				}
				if want == nil {
					want = got
				}
				for i := range got {
					if !slices.Equal(got[i], want[i]) {
						t.Errorf("GOMAXPROCS %d: buffer %d differs from that of 1", n, i)
					}
				}
			}
		})
	}
}

// TestEveryOptimizerAndScheduleResumes is law 7 over both tables.
func TestEveryOptimizerAndScheduleResumes(t *testing.T) {
	arguments := map[string]map[string]any{
		"cosine_with_min_lr":        {"min_lr": 0.001},
		"cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
		"warmup_stable_decay":       {"num_decay_steps": 6},
		"reduce_lr_on_plateau":      {"patience": 0, "threshold": 0.2},
	}
	for i := range max(len(Optimizers), len(Schedules)) {
		optimizer, schedule := Optimizers[i%len(Optimizers)].Name, Schedules[i%len(Schedules)].Name
		t.Run(optimizer+" with "+schedule, func(t *testing.T) {
			t.Parallel() // most of the time goes into syncing files
			set := func(j *Job) {
				j.Optimizer, j.Scheduler, j.SchedulerArguments = optimizer, schedule, arguments[schedule]
				j.LearningRate, j.SaveSteps = 0.02, 0
				if optimizer == "adafactor" {
					j.OptimizerArguments = map[string]any{"beta1": 0.9}
				}
			}
			whole, dir := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "run")
			_, j := start(t, whole, Fresh)
			set(&j)
			mustRun(t, context.Background(), j)
			interruptAt(t, dir, 13, set)
			_, j = start(t, dir, Resume)
			set(&j)
			mustRun(t, context.Background(), j)
			same(t, "resumed", dir, whole)
		})
	}
}

func TestNewParams(t *testing.T) {
	m := newBigram(5, 3)
	params := NewParams(m.params())
	if len(params) != 2 || params[0].Rows != 5 || params[0].Cols != 3 || params[0].Vector || params[1].Name != "layer.lora_B.weight" {
		t.Errorf("NewParams() = %+v", params)
	}
	params[1].Value[2] = 42
	if m.b.Data().F32()[2] != 42 {
		t.Error("a Param does not alias the parameter's numbers")
	}
}

func TestWarmupSteps(t *testing.T) {
	for _, c := range []struct {
		ratio    float64
		steps    int
		rounding Rounding
		want     int
	}{
		{0.1, 400, RoundNearest, 40}, {0.1, 400, RoundUp, 40},
		{0.1, 63, RoundNearest, 6}, {0.1, 63, RoundUp, 7},
		{0.5, 5, RoundNearest, 2}, {0.5, 7, RoundNearest, 4}, {0, 10, RoundUp, 0},
	} {
		if got := WarmupSteps(c.ratio, c.steps, c.rounding); got != c.want {
			t.Errorf("WarmupSteps(%g, %d, %q) = %d, want %d", c.ratio, c.steps, c.rounding, got, c.want)
		}
	}
}

func BenchmarkAdamW(b *testing.B) {
	// The trainable parameters of rank 16 on all linear layers of a 1.1B model.
	h := newHill([2]int{6150, 2048})
	o, err := NewOptimizer("adamw", []Group{{h.params, 0.05, 0}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	h.slope()
	for b.Loop() {
		o.Step(1)
	}
	b.ReportMetric(float64(len(h.params[0].Value))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mparam/s")
}
