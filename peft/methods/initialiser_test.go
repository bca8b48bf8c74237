package methods_test

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// runInitialiser compares what init_lora_weights does: the start, training from PEFT's start, an adapter of PEFT's, and
// what graft stores of it. Factors are unique up to sign and rotation only, so their products count.
func runInitialiser(t *testing.T, path string, c peftCase) {
	x := newFixture(t, path, c)
	t.Run("a new branch begins as PEFT's", x.begins)
	t.Run("training from PEFT's start", x.trains)
	t.Run("a trained adapter loads, is stored and merges", x.stores)
}

// begins attaches the settings of the file as a new adapter.
func (x *fixture) begins(t *testing.T) {
	cfg, err := methods.ReadConfig(filepath.Join(x.path, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := cfg.Attach(x.m, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	logits, _ := x.pass(t, kernel.ModeF32, false)
	check.Close(t, "initial logits", logits, values(t, x.ref, "initial_logits"), 2e-5, 1e-5)
	if !strings.Contains(x.path, "orthogonal") { // which is drawn, with B·A = 0
		x.products(t, "initial_delta.", a, cfg.(*lora.Config))
	}
}

// products compares scale·B·A of every module.
func (x *fixture) products(t *testing.T, prefix string, a peft.Adapter, cfg *lora.Config) {
	t.Helper()
	scale := float32(cfg.Alpha / float64(cfg.Rank))
	params := map[string]kernel.Mat{}
	for name, p := range a.Params() {
		params[name] = op.Of(p).View()
	}
	n := 0
	for _, name := range x.ref.Names() {
		module, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		n++
		fa, fb := params[peft.Prefix+module+".lora_A.weight"], params[peft.Prefix+module+".lora_B.weight"]
		got := kernel.NewMat(make([]float32, fb.Rows*fa.Cols), fb.Rows, fa.Cols)
		kernel.MatMul(got, fb, fa, kernel.MatMulOpts{Alpha: scale})
		if info, _ := x.ref.Info(name); info.Shape[0] != got.Rows { // as Conv1D stores it
			got = kernel.NewMat(got.Data, fa.Cols, fb.Rows)
			kernel.MatMul(got, fa, fb, kernel.MatMulOpts{TransA: true, TransB: true, Alpha: scale})
		}
		tol := 2e-6 // float32 decompositions of weights around 0.15
		if prefix != "initial_delta." {
			tol = 1e-4 // after ten steps of Adam
		}
		check.Close(t, name, got.Data, values(t, x.ref, name), tol, 1e-3)
	}
	if n == 0 {
		t.Errorf("no %s* in the reference", prefix)
	}
}

// trains takes PEFT's start and does ten steps.
func (x *fixture) trains(t *testing.T) {
	cfg, a, err := methods.Load(filepath.Join(x.path, "adapter"), x.m, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	if err := peft.Fill(a, open(t, filepath.Join(x.path, "adapter_init", peft.TensorsFile)), peft.Allow{Idle: true}); err != nil {
		t.Fatal(err)
	}
	x.adapter = a
	x.steps(t)
	x.products(t, "trained_delta.", a, cfg.(*lora.Config))
}

// stores loads the trained adapter, saves it, and compares with PEFT's own conversion to plain LoRA.
func (x *fixture) stores(t *testing.T) {
	var err error
	if x.config, x.adapter, err = methods.Load(filepath.Join(x.path, "adapter"), x.m, peft.Allow{}); err != nil {
		t.Fatal(err)
	}
	defer x.adapter.Detach()
	logits, loss := x.pass(t, kernel.ModeF32, false)
	check.Close(t, "logits", logits, values(t, x.ref, "logits"), 5e-5, 1e-5)
	if math.Abs(loss-x.c.Loss) > 1e-5 {
		t.Errorf("loss %.7f, want %.7f", loss, x.c.Loss)
	}
	out := t.TempDir()
	if err := peft.Save(out, x.config, x.adapter); err != nil {
		t.Fatal(err)
	}
	want := "adapter_converted"
	if strings.Contains(x.path, "orthogonal") {
		want = "adapter" // the base is untouched
	}
	if got, ref := read(t, filepath.Join(out, peft.ConfigFile)), read(t, filepath.Join(x.path, want, peft.ConfigFile)); string(got) != string(ref) {
		t.Errorf("config is\n%s\nwant\n%s", got, ref)
	}
	m, err := model.Load(x.src)
	if err != nil {
		t.Fatal(err)
	}
	y := *x
	y.m = m
	_, again, err := methods.Load(out, m, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Detach()
	stored, _ := y.pass(t, kernel.ModeF32, false)
	check.Close(t, "logits of the stored adapter", stored, logits, 5e-5, 1e-5)
	src, _ := x.fold(t)
	x.loadedLogits(t, src, logits, 5e-5)
}
