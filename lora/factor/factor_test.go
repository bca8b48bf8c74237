package factor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/linalg"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/peft"
	"gonum.org/v1/gonum/mat"
)

// made is an adapter of two layers and an embedding, read from files of the dtype.
func made(t *testing.T, seed uint64, rank int, alpha float64, d checkpoint.DType, modules ...string) *Adapter {
	t.Helper()
	return from(t, seed, fmt.Sprintf(`{"peft_type": "LORA", "r": %d, "lora_alpha": %g, "target_modules": ["q", "v", "wte"]}`, rank, alpha), rank, d, modules...)
}

func from(t *testing.T, seed uint64, config string, rank int, d checkpoint.DType, modules ...string) *Adapter {
	t.Helper()
	a, err := Open(folder(t, seed, config, rank, d, modules...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sizes are outputs and inputs of the modules.
var sizes = map[string][2]int{"h.0.q": {13, 11}, "h.0.v": {5, 11}, "h.1.q": {13, 11}, "wte": {11, 17}}

// folder writes an adapter.
func folder(t *testing.T, seed uint64, config string, rank int, d checkpoint.DType, modules ...string) string {
	t.Helper()
	if modules == nil {
		modules = []string{"h.0.q", "h.0.v", "h.1.q", "wte"}
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	var entries []checkpoint.Entry
	add := func(name string, rows, cols int) {
		x := make([]float32, rows*cols)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		b := make([]byte, len(x)*int(d.Size()))
		checkpoint.Encode(b, x, d)
		entries = append(entries, checkpoint.FromBytes(peft.Prefix+name, d, []int{rows, cols}, b))
	}
	for _, m := range modules {
		k := kinds[0]
		if m == "wte" {
			k = kinds[1]
		}
		add(m+k.a, rank, sizes[m][1])
		add(m+k.b, sizes[m][0], rank)
	}
	dir := t.TempDir()
	if err := checkpoint.Write(filepath.Join(dir, peft.TensorsFile), entries, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, peft.ConfigFile), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// want is Σ w·ΔW of a module in float64.
func want(list []*Adapter, weights []float64, name string) []float32 {
	n := sizes[name]
	sum := make([]float64, n[0]*n[1])
	for k, a := range list {
		m := a.find(name)
		if m == nil {
			continue
		}
		for i := range n[0] {
			for j := range n[1] {
				for r := range m.A.Rows {
					sum[i*n[1]+j] += weights[k] * m.Scale * float64(m.B.Row(i)[r]) * float64(m.A.Row(r)[j])
				}
			}
		}
	}
	y := make([]float32, len(sum))
	for i, v := range sum {
		y[i] = float32(v)
	}
	return y
}

// again saves an adapter and reads it back.
func again(t *testing.T, a *Adapter) *Adapter {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	if err := a.Save(dir, false); err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// several are adapters of different ranks, dtypes, scalings and modules.
func several(t *testing.T) []*Adapter {
	return []*Adapter{
		made(t, 1, 3, 5, checkpoint.F32),
		made(t, 2, 2, 7, checkpoint.BF16),
		from(t, 3, `{"peft_type": "LORA", "r": 4, "lora_alpha": 6, "use_rslora": true, "alpha_pattern": {"h.0.q": 3}, "target_modules": "h.0.q|wte"}`, 4, checkpoint.F16, "h.0.q", "wte"),
	}
}

// TestSumIsExact: cat, linear and svd of full rank are Σ w·ΔW, each scaling used once, weights of either sign, from the files on
// disk; and the inputs stay as they were.
func TestSumIsExact(t *testing.T) {
	weights := []float64{0.7, -0.4, 1.3}
	for _, o := range []Options{{Type: "cat"}, {Type: "linear"}, {Type: "svd", Rank: 99}, {Type: "cat", Compat: CompatPEFT}, {Type: "svd", Rank: 99, Compat: CompatPEFT}} {
		list := several(t)
		o.Weights = weights
		got, report, err := Combine(list, o)
		if err != nil {
			t.Fatal(err)
		}
		got = again(t, got)
		if len(got.Modules) != len(sizes) || report.Error > 1e-6 {
			t.Errorf("%s: %d modules, error %g", o.Type, len(got.Modules), report.Error)
		}
		for _, m := range got.Modules {
			check.Close(t, o.Type+" "+m.Name, m.Delta().Data, want(list, weights, m.Name), 2e-5, 1e-5) // factors and products of size 10 in float32
		}
		for i, a := range several(t) {
			for k, m := range a.Modules {
				if !slices.Equal(m.A.Data, list[i].Modules[k].A.Data) || !slices.Equal(m.B.Data, list[i].Modules[k].B.Data) {
					t.Errorf("%s: adapter %d changed", o.Type, i)
				}
			}
		}
	}
}

// TestMergeOfOne: every way to combine gives one adapter of weight 1 back where nothing is taken away.
func TestMergeOfOne(t *testing.T) {
	for _, typ := range Types() {
		for _, compat := range []string{"", CompatPEFT} {
			list := []*Adapter{made(t, 5, 3, 5, checkpoint.F32)}
			o := Options{Type: typ.Name, Compat: compat}
			if typ.Density {
				o.Density = 1
			}
			got, _, err := Combine(list, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range again(t, got).Modules {
				check.Close(t, typ.Name+" "+m.Name, m.Delta().Data, want(list, []float64{1}, m.Name), 2e-5, 1e-5)
			}
		}
	}
}

// TestOrder: what does not draw numbers does not depend on the order of the adapters.
func TestOrder(t *testing.T) {
	for _, typ := range Types() {
		if strings.HasPrefix(typ.Name, "dare") {
			continue
		}
		a, b := made(t, 5, 3, 5, checkpoint.F32), made(t, 6, 3, 4, checkpoint.F32)
		o := Options{Type: typ.Name, Weights: []float64{0.6, -0.3}}
		if typ.Density {
			o.Density = 0.5
		}
		ab, _, err1 := Combine([]*Adapter{a, b}, o)
		o.Weights = []float64{-0.3, 0.6}
		ba, _, err2 := Combine([]*Adapter{b, a}, o)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		for i, m := range ab.Modules {
			check.Close(t, typ.Name+" "+m.Name, m.Delta().Data, ba.Modules[i].Delta().Data, 2e-5, 1e-5)
		}
	}
}

// TestDare: each number is kept with probability density and divided by it, the same ones for the same seed.
func TestDare(t *testing.T) {
	x := slices.Repeat([]float32{3}, 10_000)
	y := slices.Clone(x)
	keepSome(x, Options{Density: 0.3, Seed: 7}, 1)
	keepSome(y, Options{Density: 0.3, Seed: 7}, 1)
	n := 0
	for _, v := range x {
		if v != 0 && v != 3/float32(0.3) {
			t.Fatalf("a kept number is %g, want %g", v, 3/float32(0.3))
		}
		if v != 0 {
			n++
		}
	}
	if math.Abs(float64(n)-3000) > 4*46 || !slices.Equal(x, y) { // four deviations of a binomial, √(10000·0.3·0.7)
		t.Errorf("%d of 10000 kept, want about 3000; the same twice: %v", n, slices.Equal(x, y))
	}
}

// TestKeepLargest: of equal numbers the first stay, and so many as density says.
func TestKeepLargest(t *testing.T) {
	x := []float32{1, -2, 2, 0, -2, 3}
	keepLargest(x, Options{Density: 0.5}, 0)
	if want := []float32{0, -2, 2, 0, 0, 3}; !slices.Equal(x, want) {
		t.Errorf("half of them: %v, want %v", x, want)
	}
}

// TestTruncation: the reported error is that of the result.
func TestTruncation(t *testing.T) {
	list := several(t)
	weights := []float64{0.7, -0.4, 1.3}
	got, report, err := Combine(list, Options{Type: "svd", Weights: weights, Rank: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range got.Modules {
		w := want(list, weights, m.Name)
		lost, all := 0.0, 0.0
		for k, v := range m.Delta().Data {
			lost += math.Pow(float64(v-w[k]), 2)
			all += math.Pow(float64(w[k]), 2)
		}
		if row := report.Modules[i]; math.Abs(row.Error-math.Sqrt(lost/all)) > 1e-5 || math.Abs(row.Norm-math.Sqrt(all)) > 1e-4 || row.Rank != 2 {
			t.Errorf("%+v, want error %g and norm %g", row, math.Sqrt(lost/all), math.Sqrt(all))
		}
	}
}

// TestRefusals are combinations that cannot be.
func TestRefusals(t *testing.T) {
	a := made(t, 1, 3, 5, checkpoint.F32)
	other := made(t, 1, 3, 5, checkpoint.F32)
	other.Modules[0].A = kernel.NewMat(make([]float32, 3*7), 3, 7)
	full := made(t, 1, 3, 5, checkpoint.F32)
	full.Rest = []checkpoint.Entry{checkpoint.FromFloats(peft.Prefix+"score.weight", []int{1}, []float32{1})}
	for _, c := range []struct {
		name string
		list []*Adapter
		o    Options
		want string
	}{
		{"unknown type", []*Adapter{a}, Options{Type: "cats"}, `combination_type is "cats", want one of cat, linear, svd, ties, ties_svd`},
		{"no adapters", nil, Options{Type: "cat"}, "no adapters"},
		{"weights of another number", []*Adapter{a, a}, Options{Type: "cat", Weights: []float64{1}}, "1 weights for 2 adapters"},
		{"weight that is none", []*Adapter{a}, Options{Type: "cat", Weights: []float64{math.NaN()}}, "a weight is NaN"},
		{"no density", []*Adapter{a}, Options{Type: "ties"}, "density is 0, want above 0"},
		{"density of no use", []*Adapter{a}, Options{Type: "cat", Density: 0.5}, "density is 0.5, which cat has no use for"},
		{"density above one", []*Adapter{a}, Options{Type: "ties", Density: 1.5}, "density is 1.5"},
		{"majority of another kind", []*Adapter{a}, Options{Type: "ties", Density: 1, MajoritySign: "most"}, `majority_sign_method is "most"`},
		{"rank below zero", []*Adapter{a}, Options{Type: "svd", Rank: -1}, "svd_rank is -1"},
		{"compat of another tool", []*Adapter{a}, Options{Type: "cat", Compat: "torch"}, `compat is "torch"`},
		{"other shapes", []*Adapter{a, other}, Options{Type: "cat"}, `"h.0.q": the products are [13, 11] and [13, 7]`},
		{"trained in full", []*Adapter{a, full}, Options{Type: "cat"}, `tensor "base_model.model.score.weight" is no factor`},
		{"unequal ranks, by factors", []*Adapter{a, made(t, 2, 2, 5, checkpoint.F32)}, Options{Type: "ties", Density: 0.5, Compat: CompatPEFT}, "ranks from 2 to 3"},
		{"nothing left", []*Adapter{a, a}, Options{Type: "cat", Weights: []float64{0, 0}}, "the result changes nothing"},
		{"adapters that cancel", []*Adapter{a, a}, Options{Type: "cat", Weights: []float64{0.7, -0.7}}, "the result changes nothing"},
		{"adapters that cancel, decomposed", []*Adapter{a, a}, Options{Type: "svd", Weights: []float64{0.7, -0.7}}, "the result changes nothing"},
	} {
		if _, _, err := Combine(c.list, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestRefusedFiles are adapters whose factors do not say what they do, and files that hold no pairs of factors.
func TestRefusedFiles(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{"peft_type": "LORA", "r": 3, "use_dora": true, "target_modules": ["q"]}`, "use_dora is true"},
		{`{"peft_type": "LORA", "r": 3, "lora_bias": true, "target_modules": ["q"]}`, "lora_bias is true"},
		{`{"peft_type": "LORA", "r": 3, "init_lora_weights": "pissa", "target_modules": ["q"]}`, `init_lora_weights is "pissa"`},
		{`{"peft_type": "LORA", "r": 4, "target_modules": ["q"]}`, `"h.0.q" is of rank 3, want r 4`},
		{`{"peft_type": "IA3", "target_modules": ["q"]}`, `peft_type is "IA3"`},
	} {
		if _, err := Open(folder(t, 1, c.config, 3, checkpoint.F32)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.config, err, c.want)
		}
	}
	nan := checkpoint.FromFloats("m.lora_A.weight", []int{1, 1}, []float32{float32(math.NaN())})
	a := checkpoint.FromFloats("m.lora_A.weight", []int{1, 2}, make([]float32, 2))
	b := checkpoint.FromFloats("m.lora_B.weight", []int{2, 1}, make([]float32, 2))
	long := checkpoint.FromFloats("m.lora_B.weight", []int{2}, make([]float32, 2))
	for _, c := range []struct {
		entries []checkpoint.Entry
		want    string
	}{{[]checkpoint.Entry{a}, `"m.lora_B.weight" is missing`}, {[]checkpoint.Entry{b}, `"m.lora_A.weight" is missing`}, {nil, "no factors"},
		{[]checkpoint.Entry{a, long}, `"m.lora_B.weight" is [2], want a matrix`}, {[]checkpoint.Entry{nan, b}, "no finite number"}} {
		src, err := checkpoint.Marshal(c.entries, nil)
		if err != nil {
			t.Fatal(err)
		}
		file, err := checkpoint.Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(&lora.Config{Rank: 1, Alpha: 1, Init: "true"}, file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// transposed is mᵀ.
func transposed(m kernel.Mat) *mat.Dense { return mat.DenseCopyOf(linalg.Dense(m).T()) }

// FuzzRead reads a file of factors by whatever settings.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"peft_type": "LORA", "r": 1, "lora_alpha": 3, "rank_pattern": {"m": 1}, "target_modules": ["m"]}`))
	f.Add([]byte(`{"peft_type": "LORA", "r": 1, "alpha_pattern": {"(": 1}}`))
	src, err := checkpoint.Marshal([]checkpoint.Entry{checkpoint.FromFloats("m.lora_A.weight", []int{1, 2}, []float32{1, 2}), checkpoint.FromFloats("m.lora_B.weight", []int{2, 1}, []float32{1, 2})}, nil)
	if err != nil {
		f.Fatal(err)
	}
	file, err := checkpoint.Parse(src)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		c, err := peft.ParseConfig(config, []peft.Method{lora.Method})
		if err != nil {
			return
		}
		a, err := Read(c.(*lora.Config), file)
		if err != nil {
			return
		}
		if _, _, err := Combine([]*Adapter{a, a}, Options{Type: "svd"}); err != nil {
			t.Logf("%v", err) // a scaling of zero changes nothing
		}
	})
}
