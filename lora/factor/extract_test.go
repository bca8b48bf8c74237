package factor

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
)

// TestGoldenExtract compares with the best approximations and singular values that NumPy gave in float64.
func TestGoldenExtract(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "fullmerge")
	if _, err := os.Stat(filepath.Join(dir, "extract-lora")); err != nil {
		t.Skipf("no golden extraction: %v", err)
	}
	suite := golden.NewSuite(t, "extract")
	base, tuned := opened(t, filepath.Join(dir, "checkpoints", "base")), opened(t, filepath.Join(dir, "checkpoints", "a"))
	ref := opened(t, filepath.Join(dir, "extract-lora", "reference.safetensors"))
	for name, rank := range map[string]int{"rank3": 3, "rank7": 7} {
		suite.Case(name, golden.Facts{}, func(t *testing.T) {
			d := Difference{Base: base, Tuned: tuned, Choice: Choice{Rank: rank}}
			for _, n := range ref.Names() {
				if tensor, ok := strings.CutPrefix(n, name+"."); ok {
					e := strings.Contains(n, "embed_tokens")
					d.Places = append(d.Places, Place{Module: strings.TrimSuffix(tensor, ".weight"), Tensor: tensor, Transposed: e, Embedding: e})
				}
			}
			a, report, err := Extract(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			compareExtract(t, a, report, ref, name)
		})
	}
}

func compareExtract(t *testing.T, a *Adapter, report *Report, ref *checkpoint.Checkpoint, name string) {
	for i, m := range a.Modules {
		want, err := ref.Floats(name + "." + m.Name + ".weight")
		if err != nil {
			t.Fatal(err)
		}
		got := m.Delta()
		if m.Embedding {
			got = linalg.Mat(transposed(got))
		}
		check.Close(t, m.Name, got.Data, want, 1e-6, 1e-5) // factors rounded to float32
		values, err := ref.Floats("singular_values." + m.Name + ".weight")
		if err != nil {
			t.Fatal(err)
		}
		for k, s := range report.Modules[i].Values {
			if math.Abs(s-float64(values[k])) > 1e-5*float64(values[0]) {
				t.Errorf("%s: singular value %d is %g, want %g", m.Name, k, s, values[k])
			}
		}
	}
}

func opened(t *testing.T, path string) *checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pair is a base and what was tuned of it: a weight of rank 3 with noise, a wide one, an embedding, a norm.
func pair(t *testing.T) (base, tuned *checkpoint.Checkpoint) {
	rng := rand.New(rand.NewPCG(2, 9))
	draw := func(n int, size float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * size)
		}
		return x
	}
	shapes := []struct {
		name  string
		shape []int
		rank  int
	}{{"h.0.q.weight", []int{37, 29}, 3}, {"h.0.wide.weight", []int{300, 270}, 5}, {"wte.weight", []int{41, 29}, 2}, {"h.0.norm.weight", []int{29}, 1}, {"h.0.norm.bias", []int{29}, 0}, {"h.0.same.weight", []int{7, 5}, 0}}
	var a, b []checkpoint.Entry
	for _, s := range shapes {
		n := s.shape[0]
		cols := 1
		if len(s.shape) == 2 {
			cols = s.shape[1]
			n *= cols
		}
		x := draw(n, 1)
		y := slices.Clone(x)
		if s.rank > 0 {
			kernel.MatMul(kernel.NewMat(y, s.shape[0], cols), kernel.NewMat(draw(s.shape[0]*s.rank, 0.3), s.shape[0], s.rank), kernel.NewMat(draw(s.rank*cols, 0.3), s.rank, cols), kernel.MatMulOpts{Add: true})
			kernel.Add(y, draw(n, 1e-3))
		}
		a, b = append(a, checkpoint.FromFloats(s.name, s.shape, x)), append(b, checkpoint.FromFloats(s.name, s.shape, y))
	}
	return parsed(t, a), parsed(t, b)
}

func parsed(t *testing.T, entries []checkpoint.Entry) *checkpoint.Checkpoint {
	t.Helper()
	b, err := checkpoint.Marshal(entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var places = []Place{{Module: "m.h.0.q", Tensor: "h.0.q.weight"}, {Module: "m.h.0.wide", Tensor: "h.0.wide.weight"},
	{Module: "m.wte", Tensor: "wte.weight", Transposed: true, Embedding: true}, {Module: "m.h.0.same", Tensor: "h.0.same.weight"}}

// TestChoices: the rank by number, by energy and by error, whole decompositions and iterations alike; the report is what a look at
// the result says.
func TestChoices(t *testing.T) {
	base, tuned := pair(t)
	for _, c := range []struct {
		choice Choice
		ranks  []int // of q, wide, wte
	}{
		{Choice{Rank: 4}, []int{4, 4, 4}},
		{Choice{Energy: 0.98}, []int{3, 5, 2}},
		{Choice{Error: 0.1}, []int{3, 5, 2}},
		{Choice{Error: 0.1, Most: 2}, []int{2, 2, 2}},
		{Choice{Energy: 1}, []int{29, 270, 29}},
	} {
		a, report, err := Extract(t.Context(), Difference{Base: base, Tuned: tuned, Places: places, Choice: c.choice})
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range a.Modules {
			p := places[slices.IndexFunc(places, func(p Place) bool { return p.Module == m.Name })]
			if m.A.Rows != c.ranks[i] && !(c.choice.Energy == 1 && m.A.Rows <= c.ranks[i]) { // the last values may hold less than float64 tells
				t.Errorf("%+v: %s is of rank %d, want %d", c.choice, m.Name, m.A.Rows, c.ranks[i])
			}
			d := &Difference{Base: base, Tuned: tuned}
			want, err := d.delta(p)
			if err != nil {
				t.Fatal(err)
			}
			lost := m.Delta()
			kernel.Axpy(lost.Data, -1, want.Data)
			e := math.Sqrt(linalg.Energy(lost) / linalg.Energy(want))
			if row := report.Modules[i]; math.Abs(row.Error-e) > 1e-4 || c.choice.Error > 0 && c.choice.Most == 0 && e > c.choice.Error {
				t.Errorf("%+v: error of %s is %g, reported %g", c.choice, m.Name, e, row.Error)
			}
		}
		if got := a.Config.TargetModules.List; !slices.Equal(got, []string{"q", "wide", "wte"}) {
			t.Errorf("target_modules %v", got)
		}
		if saved := a.Config.Beside.ModulesToSave; !slices.Equal(saved, []string{"h.0.norm"}) || len(a.Rest) != 2 {
			t.Errorf("modules_to_save %v with %d tensors, want the norm's two", saved, len(a.Rest))
		}
		again(t, a)
	}
}

// TestSkipped: what is skipped is stored in full, or left out and reported.
func TestSkipped(t *testing.T) {
	base, tuned := pair(t)
	d := Difference{Base: base, Tuned: tuned, Places: places, Choice: Choice{Rank: 2}, Skip: []string{"wte"}}
	a, _, err := Extract(t.Context(), d)
	if err != nil || !slices.Equal(a.Config.Beside.ModulesToSave, []string{"h.0.norm", "m.wte"}) {
		t.Errorf("%v, %v: want the norm and the embedding in full", err, a.Config.Beside.ModulesToSave)
	}
	d.DropRest = true
	a, report, err := Extract(t.Context(), d)
	if err != nil || len(a.Rest) > 0 || len(report.Warnings) != 2 {
		t.Errorf("%v, %d tensors in full, warnings %v", err, len(a.Rest), report.Warnings)
	}
}

// TestExtractRefused are differences that are none.
func TestExtractRefused(t *testing.T) {
	base, tuned := pair(t)
	small := parsed(t, []checkpoint.Entry{checkpoint.FromFloats("h.0.q.weight", []int{1, 2}, make([]float32, 2))})
	for _, c := range []struct {
		d    Difference
		want string
	}{
		{Difference{Base: base, Tuned: tuned}, "want one of rank, energy and error"},
		{Difference{Base: base, Tuned: tuned, Choice: Choice{Rank: 1, Energy: 0.5}}, "want one of rank, energy and error"},
		{Difference{Base: base, Tuned: tuned, Choice: Choice{Rank: -1}}, "rank is -1"},
		{Difference{Base: base, Tuned: tuned, Choice: Choice{Energy: 1.5}}, "energy is 1.5"},
		{Difference{Base: base, Tuned: tuned, Choice: Choice{Error: math.NaN()}}, "error is NaN"},
		{Difference{Base: base, Tuned: base, Choice: Choice{Rank: 1}, Places: places}, "no weight that can get factors differs"},
		{Difference{Base: base, Tuned: small, Choice: Choice{Rank: 1}, Places: places}, `tensor "h.0.norm.bias" of the base is missing`},
		{Difference{Base: base, Tuned: tuned, Choice: Choice{Rank: 1}, Places: []Place{{Module: "n", Tensor: "h.0.norm.weight"}}}, "want a matrix of real numbers"},
	} {
		if _, _, err := Extract(t.Context(), c.d); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Extract(ctx, Difference{Base: base, Tuned: tuned, Choice: Choice{Rank: 1}, Places: places}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestResize: a rank that holds everything keeps the products, a smaller one keeps the best part of them, and the input stays.
func TestResize(t *testing.T) {
	a := from(t, 3, `{"peft_type": "LORA", "r": 4, "lora_alpha": 6, "use_rslora": true, "target_modules": ["q", "v", "wte"]}`, 4, checkpoint.F32)
	for _, c := range []struct {
		choice Choice
		rank   int
	}{{Choice{Rank: 9}, 4}, {Choice{Energy: 1}, 4}, {Choice{Rank: 2}, 2}} {
		b, report, err := Resize(a, c.choice)
		if err != nil {
			t.Fatal(err)
		}
		b = again(t, b)
		for i, m := range b.Modules {
			w := want([]*Adapter{a}, []float64{1}, m.Name)
			if m.A.Rows != c.rank {
				t.Errorf("%+v: %s is of rank %d, want %d", c.choice, m.Name, m.A.Rows, c.rank)
			}
			d := m.Delta()
			kernel.Axpy(d.Data, -1, w)
			e := math.Sqrt(linalg.Energy(d)) / report.Modules[i].Norm
			if math.Abs(e-report.Modules[i].Error) > 1e-5 {
				t.Errorf("%+v: error of %s is %g, reported %g", c.choice, m.Name, e, report.Modules[i].Error)
			}
		}
	}
	if a.Config.Rank != 4 || a.Modules[0].A.Rows != 4 {
		t.Error("the adapter that was read changed")
	}
}
