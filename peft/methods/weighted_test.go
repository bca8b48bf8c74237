package methods_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/lora/factor"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/task/tasktest"
)

// weightedCase is case.json of the add_weighted_adapter cases.
type weightedCase struct {
	Adapters     map[string]string `json:"adapters"`
	Combinations []combination     `json:"combinations"`
	Refused      []combination     `json:"refused"`
}

type combination struct {
	Name         string    `json:"name"`
	Adapters     []string  `json:"adapters"`
	Weights      []float64 `json:"weights"`
	Type         string    `json:"combination_type"`
	Density      float64   `json:"density"`
	Rank         int       `json:"svd_rank"`
	Clamp        float64   `json:"svd_clamp"`
	MajoritySign string    `json:"majority_sign_method"`
	Unique       bool      `json:"factors_unique"`
	Loss         float64   `json:"loss"`
	Result       struct {
		Rank          int      `json:"r"`
		Alpha         float64  `json:"lora_alpha"`
		TargetModules []string `json:"target_modules"`
	} `json:"result"`
}

// runWeighted makes one adapter of several as PEFT does, and compares its settings, factors, products and logits.
func runWeighted(t *testing.T, path string, c peftCase) {
	var w weightedCase
	if err := json.Unmarshal(read(t, filepath.Join(path, "case.json")), &w); err != nil {
		t.Fatal(err)
	}
	x := newFixture(t, path, c)
	for _, one := range w.Combinations {
		t.Run(one.Name+" "+one.Type, func(t *testing.T) { x.combine(t, w, one) })
	}
	for _, one := range w.Refused {
		if _, err := one.run(x, w); err == nil {
			t.Errorf("%s of %v is combined, PEFT refuses", one.Type, one.Adapters)
		}
	}
}

// run makes the adapter.
func (o combination) run(x *fixture, w weightedCase) (*factor.Adapter, error) {
	var list []*factor.Adapter
	for _, name := range o.Adapters {
		if w.Adapters[name] == "" {
			return nil, fmt.Errorf("no adapter %q", name)
		}
		a, err := factor.Open(filepath.Join(x.path, w.Adapters[name]))
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	a, _, err := factor.Combine(list, factor.Options{Type: o.Type, Weights: o.Weights, Density: o.Density, Rank: o.Rank, Clamp: o.Clamp,
		MajoritySign: o.MajoritySign, Compat: factor.CompatPEFT})
	return a, err
}

func (x *fixture) combine(t *testing.T, w weightedCase, o combination) {
	a, err := o.run(x, w)
	if err != nil {
		t.Fatal(err)
	}
	if r := o.Result; a.Config.Rank != r.Rank || a.Config.Alpha != r.Alpha || !slices.Equal(a.Config.TargetModules.List, r.TargetModules) {
		t.Errorf("r %d, lora_alpha %g, target_modules %v, want %+v", a.Config.Rank, a.Config.Alpha, a.Config.TargetModules.List, r)
	}
	if o.Clamp > 0 {
		x.clamped(t, o, w)
		return
	}
	// Products of the reference are sums of float32; a decomposition in float32 adds a few units more.
	const tol = 3e-6
	for _, m := range a.Modules {
		if _, ok := x.ref.Info(o.Name + ".delta." + m.Name); !ok {
			t.Errorf("module %q is none of the reference's", m.Name)
			continue
		}
		check.Close(t, m.Name, oriented(x, m, values(t, x.ref, o.Name+".delta."+m.Name)), m.Delta().Data, tol, 1e-5)
	}
	if o.Unique {
		x.factors(t, o.Name, a)
	}
	out := filepath.Join(t.TempDir(), "combined")
	if err := a.Save(out, false); err != nil {
		t.Fatal(err)
	}
	y := *x
	if _, y.adapter, err = methods.Load(out, x.m, peft.Allow{}); err != nil {
		t.Fatal(err)
	}
	defer y.adapter.Detach()
	logits, loss := y.pass(t, kernel.ModeF32, false)
	check.Close(t, "logits", logits, tasktest.Logits(t, x.ref, o.Name+"."), 3e-5, 1e-5) // as for other adapters, and the factors' own rounding
	if d := loss - o.Loss; d > 1e-5 || d < -1e-5 {
		t.Errorf("loss %.7f, want %.7f", loss, o.Loss)
	}
}

// clamped compares a case with svd_clamp. PEFT cuts at a quantile of the signed numbers of both factors, so its result depends on
// the signs that its LAPACK gave singular vectors: one of the choices of signs must give the reference.
func (x *fixture) clamped(t *testing.T, o combination, w weightedCase) {
	q := o.Clamp
	o.Clamp = 0
	a, err := o.run(x, w)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range a.Modules {
		want := oriented(x, m, values(t, x.ref, o.Name+".delta."+m.Name))
		best := 1.0
		for signs := range 1 << m.A.Rows {
			best = min(best, check.MaxDiff(cut(m, signs, float32(q)), want))
		}
		if best > 3e-6 { // as for the other products
			t.Errorf("%s: with no signs of singular vectors nearer than %g", m.Name, best)
		}
	}
}

// cut is the product of the factors with the signs of some ranks turned, cut at the quantile q of their numbers.
func cut(m factor.Module, signs int, q float32) []float32 {
	a, b := slices.Clone(m.A.Data), slices.Clone(m.B.Data)
	for i := range a {
		if signs>>(i/m.A.Cols)&1 == 1 {
			a[i] = -a[i]
		}
	}
	for i := range b {
		if signs>>(i%m.B.Cols)&1 == 1 {
			b[i] = -b[i]
		}
	}
	all := slices.Sorted(slices.Values(slices.Concat(a, b)))
	at := q * float32(len(all)-1)
	lo := int(at)
	most := all[lo] + (at-float32(lo))*(all[min(lo+1, len(all)-1)]-all[lo])
	for _, x := range [][]float32{a, b} {
		for i, v := range x {
			x[i] = min(max(v, -most), most)
		}
	}
	n := factor.Module{A: kernel.NewMat(a, m.A.Rows, m.A.Cols), B: kernel.NewMat(b, m.B.Rows, m.B.Cols), Scale: 1}
	return n.Delta().Data
}

// oriented turns a product as the checkpoint stores it, [in, out] for Conv1D and embeddings, into [out, in].
func oriented(x *fixture, m factor.Module, v []float32) []float32 {
	if !m.Embedding && !strings.Contains(x.path, "gpt2") {
		return v
	}
	out, in := m.B.Rows, m.A.Cols
	y := make([]float32, len(v))
	for i := range out {
		for j := range in {
			y[i*in+j] = v[j*out+i]
		}
	}
	return y
}

// factors compares A and B themselves.
func (x *fixture) factors(t *testing.T, name string, a *factor.Adapter) {
	for _, m := range a.Modules {
		ends := []string{".lora_A.weight", ".lora_B.weight"}
		if m.Embedding {
			ends = []string{".lora_embedding_A", ".lora_embedding_B"}
		}
		for i, f := range []kernel.Mat{m.A, m.B} {
			full := name + "." + m.Name + ends[i]
			if _, ok := x.ref.Info(full); !ok {
				t.Errorf("no reference %q", full)
				continue
			}
			check.Close(t, full, f.Data, values(t, x.ref, full), 1e-6, 1e-6)
		}
	}
}
