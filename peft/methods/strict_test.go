package methods_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// respoil writes the tensors of an adapter's file again after change has had them.
func respoil(t *testing.T, dir string, change func(list []checkpoint.Entry) []checkpoint.Entry) {
	t.Helper()
	file := openFolder(t, dir)
	var list []checkpoint.Entry
	for _, name := range file.Names() {
		v, err := file.Floats(name)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := file.Info(name)
		list = append(list, checkpoint.FromFloats(name, info.Shape, slices.Clone(v)))
	}
	if err := checkpoint.Write(filepath.Join(dir, peft.TensorsFile), change(list), nil); err != nil {
		t.Fatal(err)
	}
}

// TestStrict gives a file that is wrong in one way each: the error says which tensor, and the switch of that name, and no other, puts
// up with it.
func TestStrict(t *testing.T) {
	base := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[0]))
	const q = "base_model.model.model.layers.1.self_attn.q_proj." // lora_A [1, 10], lora_B [24, 1]
	ten := make([]float32, 10)
	poisoned := slices.Clone(ten)
	poisoned[3], poisoned[4] = 1, float32(math.NaN())
	a := func(v []float32) func([]checkpoint.Entry) []checkpoint.Entry {
		return func(list []checkpoint.Entry) []checkpoint.Entry {
			list[0] = checkpoint.FromFloats(q+"lora_A.weight", []int{1, 10}, v)
			return list
		}
	}
	every := func(set func(a *peft.Allow)) peft.Allow {
		x := peft.Allow{Missing: true, Unexpected: true, Mismatched: true, NonFinite: true, Zero: true, Idle: true, OtherBase: true}
		set(&x)
		return x
	}
	for _, x := range []struct {
		name   string
		change func(list []checkpoint.Entry) []checkpoint.Entry
		want   string
		only   peft.Allow // is enough
		but    peft.Allow // is not
	}{
		{"missing", func(l []checkpoint.Entry) []checkpoint.Entry { return l[1:] }, `tensor "` + q + `lora_A.weight" is missing`,
			peft.Allow{Missing: true}, every(func(a *peft.Allow) { a.Missing = false })},
		{"misspelt", func(l []checkpoint.Entry) []checkpoint.Entry {
			l[0].Name = strings.Replace(l[0].Name, "model.layers", "language_model.layers", 1)
			return l
		}, `is missing; did you mean "base_model.model.language_model.layers.1.self_attn.q_proj.lora_A.weight"?`,
			peft.Allow{Missing: true, Unexpected: true}, every(func(a *peft.Allow) { a.Unexpected = false })},
		{"unexpected", func(l []checkpoint.Entry) []checkpoint.Entry {
			return append(l, checkpoint.FromFloats("module."+q+"lora_A.weight", []int{1}, []float32{1}))
		}, `"module.` + q + `lora_A.weight" is unexpected; did you mean "` + q + `lora_A.weight"?`,
			peft.Allow{Unexpected: true}, every(func(a *peft.Allow) { a.Unexpected = false })},
		{"of another shape", func(l []checkpoint.Entry) []checkpoint.Entry {
			l[0] = checkpoint.FromFloats(q+"lora_A.weight", []int{1, 11}, append(slices.Clone(ten), 1))
			return l
		}, "lora_A.weight\" is [1 11], want [1 10]", peft.Allow{Mismatched: true}, every(func(a *peft.Allow) { a.Mismatched = false })},
		{"not finite", a(poisoned), "lora_A.weight\" has at 4 no finite number", peft.Allow{NonFinite: true}, every(func(a *peft.Allow) { a.NonFinite = false })},
		{"idle", a(ten), "the adapter changes nothing", peft.Allow{Idle: true}, every(func(a *peft.Allow) { a.Idle = false })},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := smallAdapter(t, base)
			respoil(t, dir, x.change)
			if _, _, err := methods.Load(dir, base.Model, peft.Allow{}); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, want %s", err, x.want)
			}
			if _, _, err := methods.Load(dir, base.Model, x.but); err == nil {
				t.Error("loads with every other switch")
			}
			_, a, err := methods.Load(dir, base.Model, x.only)
			if err != nil {
				t.Fatal(err)
			}
			a.Detach()
		})
	}
}

// TestZeroMatrices refuses an adapter of which a part was not trained.
func TestZeroMatrices(t *testing.T) {
	base := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[0]))
	x := &conforming{base: base}
	dir := x.saved(t, x.config(), 1)
	respoil(t, dir, func(list []checkpoint.Entry) []checkpoint.Entry {
		for i, e := range list {
			if strings.Contains(e.Name, "layers.1") && strings.HasSuffix(e.Name, "lora_B.weight") {
				n := e.Shape[0] * e.Shape[1]
				list[i] = checkpoint.FromFloats(e.Name, e.Shape, make([]float32, n))
			}
		}
		return list
	})
	want := `layers.1.self_attn.q_proj.lora_B.weight" is all zero (one of 2): it was not trained`
	if _, _, err := methods.Load(dir, base.Model, peft.Allow{Idle: true}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	x.mustLoad(t, dir, peft.Allow{Zero: true})
}

func (x *conforming) mustLoad(t *testing.T, dir string, allow peft.Allow) peft.Config {
	t.Helper()
	c, a, err := methods.Load(dir, x.base.Model, allow)
	if err != nil {
		t.Fatal(err)
	}
	a.Detach()
	return c
}

// TestOtherBase attaches an adapter that knows its base to it, to a copy of it in other files, and to another.
func TestOtherBase(t *testing.T) {
	dir := modeltest.Write(t, modeltest.Tiny[0])
	x := &conforming{base: modeltest.Open(t, dir)}
	c := x.config()
	if err := peft.Identify(t.Context(), c, x.base.Model); err != nil {
		t.Fatal(err)
	}
	adapter := x.saved(t, c, 1)
	hash, err := x.base.Source.Hash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := openFolder(t, adapter).Metadata(); got[peft.BaseKey] != hash || got["format"] != "pt" {
		t.Errorf("metadata %v, want %s %s beside the format", got, peft.BaseKey, hash)
	}
	if got := x.mustLoad(t, adapter, peft.Allow{}).Shared().BaseHash; got != hash {
		t.Errorf("loaded, the base is %q, want %q", got, hash)
	}

	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	(&conforming{base: modeltest.Open(t, other)}).mustLoad(t, adapter, peft.Allow{})
	file := filepath.Join(other, "model.safetensors")
	b := read(t, file)
	b[len(b)-3] ^= 1 // within the last number
	if err := os.WriteFile(file, b, 0o666); err != nil {
		t.Fatal(err)
	}
	y := &conforming{base: modeltest.Open(t, other)}
	changed, err := y.base.Source.Hash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = methods.Load(adapter, y.base.Model, peft.Allow{})
	if err == nil || !strings.Contains(err.Error(), "SHA-256 "+changed+", want "+hash+": the adapter was trained on another base") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want one line with both hashes", err)
	}
	if got := y.mustLoad(t, adapter, peft.Allow{OtherBase: true}).Shared().BaseHash; got != hash {
		t.Errorf("loaded all the same, the base is %q, want the file's %q", got, hash)
	}
}
