package methods_test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/task/tasktest"
)

// TestBareBase folds an adapter into a checkpoint of the bare model, whose tensors lack the prefix that modules have, as
// GPT-2's own do.
func TestBareBase(t *testing.T) {
	path := filepath.Join(golden.Dir(t), "models", "gpt2-no-prefix")
	x := &fixture{path: path, src: open(t, path), ref: open(t, filepath.Join(path, "reference.safetensors"))}
	x.batch, x.task = tasktest.Batch(t, x.ref, "causal"), tasktest.Lookup(t, "causal")
	var err error
	if x.m, err = model.Load(x.src); err != nil {
		t.Fatal(err)
	}
	c := lora.New()
	c.Init = "false" // B is drawn, too
	c.Beside = peft.Beside{ModulesToSave: []string{"wpe", "ln_f"}, Bias: "all"}
	adapter, err := c.Attach(x.m, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	if !c.FanInFanOut {
		t.Error("fan_in_fan_out is false for weights that are stored [in, out]")
	}
	for _, p := range adapter.Params() {
		op.Data(p)[0] += 0.1 // what is trained of the base is not what it was
	}
	want, _ := x.pass(t, kernel.ModeF32, false)
	out := filepath.Join(t.TempDir(), "merged")
	if _, err := merge.Fold(t.Context(), merge.Job{Base: x.src, Deltas: adapter.(peft.Merger).Deltas(), Ties: peft.Ties(x.m), Out: out}); err != nil {
		t.Fatal(err)
	}
	if x.m, err = model.Load(open(t, out)); err != nil {
		t.Fatal(err)
	}
	got, _ := x.pass(t, kernel.ModeF32, false)
	check.Close(t, "merged logits", got, want, 2e-5, 1e-5) // sums of 48 terms in another order
}
