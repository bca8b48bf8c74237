package pefttest

import (
	"path/filepath"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
)

// merging saves an adapter, loads it, folds it into the base and compares the folder that comes of it.
func merging(t *testing.T, x *bench) {
	if x.Quantised != kernel.F32 { // what an adapter is folded into is the file's weight, not what the quantised one stands for
		c := x.Case
		c.Quantised = kernel.F32
		x = newBench(t, c, x.dir)
	}
	c, a := x.trained(t)
	if _, can := a.(peft.Merger); can != x.Mergeable {
		t.Fatalf("the adapter is a peft.Merger: %v, want %v", can, x.Mergeable)
	}
	if !x.Mergeable {
		return
	}
	dir := t.TempDir()
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	a.Detach()
	_, a, err := x.load(dir, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "merged")
	if _, err := merge.Fold(t.Context(), merge.Job{Base: x.base.Source, Deltas: a.(peft.Merger).Deltas(), Ties: peft.Ties(x.base.Model), Out: out}); err != nil {
		t.Fatal(err)
	}
	merged := modeltest.Open(t, out)
	check.Close(t, "logits of the merged model", merged.Logits(t, x.all), x.logits(t), 1e-4, 1e-5) // each weight rounds once more; logits of size 10
}
