package pefttest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/train"
)

// steps of a run; with eight sequences, three to a step, it ends in its second epoch.
const steps = 5

// job is a run of an attached adapter with everything on that draws random numbers.
func (x *bench) job(t *testing.T, a peft.Adapter) train.Job {
	t.Helper()
	stream, err := data.NewStream(x.set, data.Schedule{BatchSize: 3, MicroTokens: 12})
	if err != nil {
		t.Fatal(err)
	}
	j := train.Job{
		Config: train.Config{Steps: steps, LearningRate: 0.02, WeightDecay: 0.01, MaxGradNorm: 1, LabelSmoothing: 0.1, NEFTuneAlpha: 3,
			Seed: 43, LoggingSteps: 1, NoTensorBoard: true},
		Params: train.NewParams(a.Params()), Objective: train.For(x.base.Model, x.task(t)), Source: data.NewAhead(stream), Mode: kernel.ModeF32,
		Eval: x.set.Batches(16),
	}
	if p, ok := a.(peft.Penalized); ok {
		j.Penalty = p.Penalty
	}
	if s, ok := a.(peft.Scheduled); ok {
		j.Schedule = s
	}
	return j
}

// training compares the checkpoint's bytes, its hash and the model without the adapter before and after a run.
func training(t *testing.T, x *bench) {
	file := filepath.Join(x.dir, "model.safetensors")
	before, logits := read(t, file), x.logits(t)
	hash, err := x.base.Source.Hash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, a := x.attach(t)
	j := x.job(t, a)
	var start [][]float32
	for _, p := range j.Params {
		start = append(start, slices.Clone(p.Value))
	}
	if _, err := train.Run(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	for i, p := range j.Params {
		if slices.Equal(start[i], p.Value) {
			t.Errorf("%s did not change in %d steps", p.Name, steps)
		}
	}
	a.Detach()
	if after, err := x.base.Source.Hash(t.Context()); err != nil || after != hash {
		t.Errorf("the mapped base has SHA-256 %s, %v, want %s", after, err, hash)
	}
	if !bytes.Equal(before, read(t, file)) {
		t.Error("the base's file changed")
	}
	if !sameBits(logits, x.logits(t)) {
		t.Error("the model without the adapter changed")
	}
}

// resuming interrupts a run within its first epoch and goes on with a new model. (The tests of package train interrupt a
// run of a smaller model at every step, with all optimizers and settings.)
func resuming(t *testing.T, x *bench) {
	const stop = 2
	whole, dir := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "run")
	x.runIn(t, whole, 0)
	x.runIn(t, dir, stop)
	x.runIn(t, dir, 0)
	for _, name := range []string{"metrics.jsonl", "adapter/" + x.files()[0], "adapter/" + x.files()[1]} {
		if got, want := read(t, filepath.Join(dir, name)), read(t, filepath.Join(whole, name)); !bytes.Equal(got, want) {
			t.Errorf("interrupted after step %d: %s differs:\n%.600s\nwant\n%.600s", stop, name, got, want)
		}
	}
}

// runIn starts a run in the folder, or resumes the one that is there, and interrupts it after a step; 0 lets it end.
func (x *bench) runIn(t *testing.T, dir string, stop int) {
	t.Helper()
	folder, err := train.Open(dir, train.Identity{Recipe: []byte("[train]\n"), BaseHash: fmt.Sprintf("%064d", 7)}, train.Resume)
	if err != nil {
		t.Fatal(err)
	}
	own := newBench(t, x.Case, x.dir)
	c, a := own.attach(t)
	j := own.job(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	j.Folder, j.Save = folder, func(to string) error { return peft.Save(to, c, a) }
	j.Report = func(e train.Event) {
		if e.Kind == train.Stepped && e.Step == stop {
			cancel()
		}
	}
	r, err := train.Run(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	if want := stop > 0; r.Interrupted != want {
		t.Fatalf("interrupted after step %d: %v, want %v", r.Step, r.Interrupted, want)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// threading trains with different numbers of threads.
func threading(t *testing.T, x *bench) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var first []float32
	for _, n := range []int{1, 2, 5} {
		runtime.GOMAXPROCS(n)
		own := newBench(t, x.Case, x.dir)
		_, a := own.attach(t)
		j := own.job(t, a)
		if _, err := train.Run(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		var all []float32
		for _, p := range j.Params {
			all = append(all, p.Value...)
		}
		if first == nil {
			first = all
		}
		if !sameBits(first, all) {
			t.Errorf("the trained parameters differ with %d threads", n)
		}
	}
}
