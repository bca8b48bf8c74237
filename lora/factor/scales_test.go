package factor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
)

// ia3 writes an IA3 adapter of one vector.
func ia3(t *testing.T, tensor string, shape []int, data ...float32) string {
	t.Helper()
	dir := t.TempDir()
	if err := checkpoint.Write(filepath.Join(dir, "adapter_model.safetensors"), []checkpoint.Entry{checkpoint.FromFloats(tensor, shape, data)}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), []byte(`{"peft_type": "IA3", "target_modules": ["k"], "feedforward_modules": []}`), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

const aVector = "base_model.model.k.ia3_l"

// TestCombineScales: Σ w·(l − 1) is what is added to one, or Σ w·l as PEFT has it; the two are the same where weights sum to one.
func TestCombineScales(t *testing.T) {
	dirs := []string{ia3(t, aVector, []int{3, 1}, 1.5, 1, 0.25), ia3(t, aVector, []int{3, 1}, 0.5, 2, 1)}
	var list []*Scales
	for _, dir := range dirs {
		if !IsScales(dir) {
			t.Errorf("%s is no IA3 adapter", dir)
		}
		s, err := OpenScales(dir)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	for _, c := range []struct {
		weights []float64
		compat  string
		want    [3]float32
	}{
		{nil, "", [3]float32{1, 2, 0.25}},
		{[]float64{-1, 0}, "", [3]float32{0.5, 1, 1.75}},
		{[]float64{0.75, 0.25}, "", [3]float32{1.25, 1.25, 0.4375}},
		{[]float64{0.75, 0.25}, CompatPEFT, [3]float32{1.25, 1.25, 0.4375}},
		{[]float64{2, 1}, CompatPEFT, [3]float32{3.5, 4, 1.5}},
	} {
		sum, err := CombineScales(list, Options{Type: "linear", Weights: c.weights, Compat: c.compat})
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := sum.Save(out, false); err != nil {
			t.Fatal(err)
		}
		back, err := OpenScales(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := [3]float32(back.Tensors[0].Data); got != c.want || !IsScales(out) {
			t.Errorf("weights %v, compat %q: %v, want %v", c.weights, c.compat, got, c.want)
		}
	}
}

// TestCombineScalesRefuses: what means nothing for vectors, and vectors that do not belong together.
func TestCombineScalesRefuses(t *testing.T) {
	open := func(dir string) *Scales {
		s, err := OpenScales(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := open(ia3(t, aVector, []int{2, 1}, 1, 2))
	for want, c := range map[string]struct {
		list []*Scales
		o    Options
	}{
		`combination_type is "svd", want linear`: {[]*Scales{a}, Options{Type: "svd"}},
		"svd_rank, density and svd_clamp":        {[]*Scales{a}, Options{Type: "linear", Rank: 3}},
		"2 weights for 1 adapters":               {[]*Scales{a}, Options{Type: "linear", Weights: []float64{1, 2}}},
		"no adapters":                            {nil, Options{Type: "linear"}},
		"same modules":                           {[]*Scales{a, open(ia3(t, "base_model.model.v.ia3_l", []int{2, 1}, 1, 2))}, Options{Type: "cat"}},
		"one set of feedforward_modules":         {[]*Scales{a, open(ia3(t, aVector, []int{1, 2}, 1, 2))}, Options{Type: "cat"}},
	} {
		if _, err := CombineScales(c.list, c.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := OpenScales(ia3(t, "base_model.model.score.weight", []int{1}, 1)); err == nil || !strings.Contains(err.Error(), "trained in full") {
		t.Errorf("a module trained in full: %v", err)
	}
}
