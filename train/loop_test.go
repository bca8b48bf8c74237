package train

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
)

var identity = Identity{
	Recipe: []byte("[train]\nlearning_rate = 0.05\nmax_steps = 24\n"), BaseHash: "0123456789abcdef0123",
	Session: Session{Graft: "test", Kernel: "go", Compute: "f32", Seed: 9},
}

// saveRaw is a caller's Save: the parameters' bytes.
func saveRaw(m *bigram) func(dir string) error {
	return func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "adapter.json"), fmt.Appendf(nil, "%v", m.values()), 0o666)
	}
}

// start opens the folder and returns a job in it.
func start(t *testing.T, dir string, how Opening) (*bigram, Job) {
	t.Helper()
	f, err := Open(dir, identity, how)
	if err != nil {
		t.Fatal(err)
	}
	m := newBigram(13, 4)
	j := toyJob(m)
	j.Folder, j.Save = f, saveRaw(m)
	return m, j
}

func mustRun(t *testing.T, ctx context.Context, j Job) *Result {
	t.Helper()
	r, err := Run(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLossFalls(t *testing.T) {
	m := newBigram(13, 4)
	j := toyJob(m)
	j.Steps, j.LearningRate = 200, 0.1
	var first, last float64
	j.Report = func(e Event) {
		if e.Kind == Evaluated {
			if last = e.Eval[0].Value; first == 0 {
				first = last
			}
		}
	}
	r := mustRun(t, t.Context(), j)
	if !(last < 0.6*first) || r.Step != 200 || r.Best == nil {
		t.Errorf("eval_loss went from %g to %g in %d steps, want it to fall below 0.6 of its start in 200", first, last, r.Step)
	}
}

// TestAccumulationIsTheWholeBatch is law 6: how a step is cut into batches does not matter.
func TestAccumulationIsTheWholeBatch(t *testing.T) {
	train := func(micro int) []float32 {
		m := newBigram(13, 4)
		m.noise = 0 // dropout differs by batch
		j := toyJob(m)
		j.Source = newSequences(24, 13, 8, micro)
		mustRun(t, t.Context(), j)
		return m.values()
	}
	want := train(8)
	for _, micro := range []int{4, 3, 1} {
		t.Run(fmt.Sprintf("8 sequences are 8/%d batches of %d", micro, micro), func(t *testing.T) {
			// 24 updates of float32 gradients summed in another order; Adam divides by their size.
			check.Close(t, "parameters", train(micro), want, 1e-4, 1e-4)
		})
	}
}

func TestSameBytesWhateverGOMAXPROCS(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var want []float32
	for _, n := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(n)
		m := newBigram(13, 4)
		mustRun(t, t.Context(), toyJob(m))
		if got := m.values(); want == nil {
			want = got
		} else if !slices.Equal(got, want) {
			t.Errorf("parameters with GOMAXPROCS %d differ from those with 1", n)
		}
	}
}

// TestInterruptedIsUninterrupted is law 7 at every step: the same adapter bytes, the same metrics lines.
func TestInterruptedIsUninterrupted(t *testing.T) {
	every := map[string]int{"adamw and a linear schedule": 1} // the others are interrupted at every fifth step, twice
	settings := map[string]func(*Job){
		"adamw and a linear schedule": func(j *Job) {},
		"best checkpoint and a limit": func(j *Job) { j.LoadBest, j.SaveTotalLimit, j.EvalOnStart = true, 1, true },
		"momentum and no save_steps": func(j *Job) {
			j.Optimizer, j.OptimizerArguments, j.SaveSteps = "sgd", map[string]any{"momentum": 0.9}, 0
		},
		"a schedule that evaluates": func(j *Job) {
			j.Scheduler, j.SchedulerArguments = "reduce_lr_on_plateau", map[string]any{"patience": 0}
		},
		"an early stop":                func(j *Job) { j.EarlyStopping, j.LearningRate = 1, 2 },
		"plain descent, without state": func(j *Job) { j.Optimizer, j.LoggingSteps = "sgd", 1 },
	}
	for name, set := range settings {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time goes into syncing files
			whole := filepath.Join(t.TempDir(), "whole")
			_, j := start(t, whole, Fresh)
			set(&j)
			end := mustRun(t, t.Context(), j)
			for stop := 1; stop < end.Step; stop += cmp.Or(every[name], 5) {
				dir := filepath.Join(t.TempDir(), "run")
				interruptAt(t, dir, stop, set)
				if every[name] == 0 {
					interruptAt(t, dir, (stop+end.Step)/2, set)
				}
				m, j := start(t, dir, Resume)
				clear(m.a.Data().F32()) // what was trained must come from the checkpoint
				set(&j)
				mustRun(t, t.Context(), j)
				same(t, fmt.Sprintf("interrupted after step %d", stop), dir, whole)
			}
		})
	}
}

// interruptAt runs and cancels the context while step at is reported.
func interruptAt(t *testing.T, dir string, at int, set func(*Job)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, j := start(t, dir, Resume)
	set(&j)
	j.Report = func(e Event) {
		if e.Kind == Stepped && e.Step >= at {
			cancel()
		}
	}
	r := mustRun(t, ctx, j)
	if !r.Interrupted || r.Checkpoint == "" {
		t.Fatalf("cancelled at step %d: interrupted %v, checkpoint %q, want a checkpoint", at, r.Interrupted, r.Checkpoint)
	}
	if r.Step < at || r.Step > at {
		t.Fatalf("cancelled at step %d, stopped after step %d, want no further step", at, r.Step)
	}
}

// same compares what two runs made.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	for _, name := range []string{metricsFile, adapterDir + "/adapter.json", curveFile} {
		if g, w := read(t, got, name), read(t, want, name); !bytes.Equal(g, w) {
			t.Errorf("%s: %s differs from the uninterrupted run's:\n%s\nwant\n%s", what, name, head(g), head(w))
		}
	}
}

func head(b []byte) []byte { return b[:min(len(b), 2000)] }

func TestInterruptBeforeTheFirstStep(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, j := start(t, dir, Fresh)
	r := mustRun(t, ctx, j)
	if !r.Interrupted || r.Checkpoint != "" || r.Step != 0 {
		t.Errorf("Run() = %+v, want an interrupted run without a checkpoint", r)
	}
}

func TestInterruptWithinAStep(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m, j := start(t, dir, Fresh)
	passes := 0
	m.poisonLoss = func() bool {
		if passes++; passes == 11 { // the second of three batches of step 4
			cancel()
		}
		return false
	}
	r := mustRun(t, ctx, j)
	if !r.Interrupted || r.Step != 3 || filepath.Base(r.Checkpoint) != "step-3" {
		t.Errorf("Run() = %+v, want the half step given up and a checkpoint of step 3", r)
	}
}

func TestBadNumbersEndTheRun(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set        func(*bigram, *Job)
	}{
		{"a loss that is NaN", "train: step 8: loss is NaN (learning_rate 0.0404762, last finite loss ", func(m *bigram, j *Job) {
			n := 0
			m.poisonLoss = func() bool { n++; return n == 22 }
		}},
		{"a gradient that is Inf", "train: step 7: the gradient of layer.lora_A.weight is +Inf at [0, 1], loss ", func(m *bigram, j *Job) {
			n := 0
			m.poisonGrad = func() bool { n++; return n == 19 }
		}},
		{"a loss above the watchdog's threshold", "train: step 4: loss is ", func(m *bigram, j *Job) { j.WatchdogThreshold, j.WatchdogPatience = 0.001, 4 }},
		{"a parameter that is NaN before the first step", `train: parameter "layer.lora_B.weight": [1, 2] is NaN before the first step`, func(m *bigram, j *Job) {
			zero := float32(0)
			m.b.Data().F32()[6] = zero / zero
		}},
		{"a metric that nobody measures", `train: eval.metric is "eval_f1", which the evaluation does not measure`, func(m *bigram, j *Job) { j.Metric = "eval_f1" }},
		{"a metric that is NaN", "train: step 4: eval_f1 is NaN", func(m *bigram, j *Job) {
			zero := 0.0
			j.Metrics = func(context.Context) ([]Metric, error) { return []Metric{{"eval_f1", zero / zero}}, nil }
		}},
		{"data that end in an error", "train: step 3: rows.jsonl:7: bad row", func(m *bigram, j *Job) { j.Source = &failing{sequences: newSequences(9, 13, 4, 4), after: 2} }},
		{"an optimizer nobody knows", `train: optimizer is "adamv", want adamw, adam, `, func(m *bigram, j *Job) { j.Optimizer = "adamv" }},
		{"an argument nobody knows", `train: adamw: unknown argument "beta", want betas, eps, amsgrad`, func(m *bigram, j *Job) { j.OptimizerArguments = map[string]any{"beta": 1} }},
		{"an argument of the wrong type", `train: adamw: betas is high, want 2 numbers`, func(m *bigram, j *Job) { j.OptimizerArguments = map[string]any{"betas": "high"} }},
		{"an argument out of range", `train: adamw: betas[1] is 1, want at least 0 and below 1`, func(m *bigram, j *Job) { j.OptimizerArguments = map[string]any{"betas": []float64{0.9, 1}} }},
		{"a schedule nobody knows", `train: lr_scheduler is "cosin", want linear, cosine, `, func(m *bigram, j *Job) { j.Scheduler = "cosin" }},
		{"a negative number of steps", "train: config: max_steps is -1, want at least 0", func(m *bigram, j *Job) { j.Steps = -1 }},
		{"an early stop without evaluations", "train: config: early_stopping_patience is 2 without evaluation data", func(m *bigram, j *Job) { j.EarlyStopping, j.Eval = 2, nil }},
		{"no parameters", "train: the method has no trainable parameter", func(m *bigram, j *Job) { j.Params = nil }},
	} {
		t.Run(c.name+" is one clear line", func(t *testing.T) {
			dir := t.TempDir()
			m, j := start(t, dir, Fresh)
			c.set(m, &j)
			r, err := Run(t.Context(), j)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("Run() = %+v, %v, want an error %q…", r, err, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, adapterDir)); err == nil {
				t.Error("an adapter was written")
			}
			last, damaged, err := Latest(dir)
			if err != nil || len(damaged) > 0 || last != nil && last.State.Step > 6 {
				t.Errorf("Latest() = %+v, %v, %v, want no checkpoint after the last good one", last, damaged, err)
			}
		})
	}
}

type failing struct {
	*sequences
	after int
}

func (f *failing) Next() (Step, error) {
	if f.after--; f.after < 0 {
		return Step{}, errors.New("rows.jsonl:7: bad row")
	}
	return f.sequences.Next()
}

func TestEarlyStopKeepsTheBest(t *testing.T) {
	for _, folder := range []bool{true, false} {
		t.Run(fmt.Sprint("with a folder: ", folder), func(t *testing.T) {
			m, j := start(t, t.TempDir(), Fresh)
			if !folder {
				j.Folder = nil
			}
			// An evaluation that is best at step 8, whatever the model does.
			step, at := 0, map[int][]float32{}
			j.Report = func(e Event) {
				if e.Kind == Stepped {
					step, at[e.Step] = e.Step, m.values()
				}
			}
			j.Eval = nil
			j.Metrics = func(context.Context) ([]Metric, error) {
				d := float64(step - 8)
				return []Metric{{"eval_score", -d * d}}, nil
			}
			j.Metric, j.GreaterIsBetter, j.LoadBest, j.EarlyStopping = "eval_score", true, true, 2
			r := mustRun(t, t.Context(), j)
			if r.Step != 16 || r.Best.Step != 8 || !strings.HasPrefix(r.Stopped, "early stopping: eval_score has not improved on -0 of step 8 for 2") {
				t.Errorf("Run() = %+v, want a stop after step 16 with the best of step 8", r)
			}
			if !slices.Equal(m.values(), at[8]) {
				t.Error("the parameters at the end are not those of step 8")
			}
		})
	}
}

func TestSaveTotalLimitKeepsNewestAndBest(t *testing.T) {
	dir := t.TempDir()
	m, j := start(t, dir, Fresh)
	step := 0
	j.Report = func(e Event) {
		if e.Kind == Stepped {
			step = e.Step
		}
	}
	j.Eval, j.Metric = nil, "eval_badness"
	j.Metrics = func(context.Context) ([]Metric, error) {
		return []Metric{{"eval_badness", float64((step - 4) * (step - 4))}}, nil
	}
	j.SaveSteps, j.SaveTotalLimit = 3, 2
	mustRun(t, t.Context(), j)
	steps, err := listSteps(filepath.Join(dir, checkpointDir))
	if want := []int{4, 21, 24}; err != nil || !slices.Equal(steps, want) {
		t.Errorf("checkpoints of steps %v, %v, want %v", steps, err, want)
	}
	_ = m
}

func TestMetricsLines(t *testing.T) {
	dir := t.TempDir()
	_, j := start(t, dir, Fresh)
	mustRun(t, t.Context(), j)
	lines := strings.Split(strings.TrimSpace(string(read(t, dir, metricsFile))), "\n")
	logged, evaluated := 0, 0
	for _, line := range lines {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if _, ok := v["loss"]; ok {
			logged++
		}
		if _, ok := v["eval_loss"]; ok {
			evaluated++
		}
	}
	// 24 steps: lines after 5, 10, 15, 20 and 24; evaluations after 4, 8, …, 24.
	if logged != 5 || evaluated != 6 || len(lines) != 11 {
		t.Errorf("%d lines with %d losses and %d evaluations, want 11, 5, 6", len(lines), logged, evaluated)
	}
	if !strings.HasPrefix(lines[0], `{"step":4,"epoch":1.3478260869565217,"eval_loss":`) || !strings.HasPrefix(lines[1], `{"step":5,"total_steps":24,"epoch":1.6956521739130435,"loss":`) {
		t.Errorf("the first lines are\n%s\n%s", lines[0], lines[1])
	}
	for _, name := range []string{recipeFile, environmentFile, timingFile, curveFile} {
		if len(read(t, dir, name)) == 0 {
			t.Errorf("%s is empty", name)
		}
	}
}
