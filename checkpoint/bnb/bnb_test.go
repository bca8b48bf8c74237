package bnb

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
)

// TestUnpack holds every kind to what bitsandbytes itself unpacks: see testdata/gen/make.py.
func TestUnpack(t *testing.T) {
	want := open(t, "testdata/plain.safetensors")
	w, err := Find(open(t, "testdata/packed.safetensors"), checkpoint.F32)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.Packed(), w.Kinds(), w.DTypes()); got != "4 [fp4 int8 nf4] [F32]" {
		t.Errorf("found %s", got)
	}
	got := written(t, w)
	if !slices.Equal(got.Names(), want.Names()) {
		t.Fatalf("tensors %v, want %v", got.Names(), want.Names())
	}
	for _, name := range want.Names() {
		x, _ := got.Floats(name)
		y, _ := want.Floats(name)
		info, _ := got.Info(name)
		wantInfo, _ := want.Info(name)
		if !slices.Equal(info.Shape, wantInfo.Shape) {
			t.Errorf("%s is %v, want %v", name, info.Shape, wantInfo.Shape)
			continue
		}
		for i := range y {
			if x[i] != y[i] {
				t.Fatalf("%s[%d] = %g, want %g", name, i, x[i], y[i])
			}
		}
	}
}

func open(t *testing.T, path string) *checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func written(t *testing.T, w *Weights) *checkpoint.Checkpoint {
	t.Helper()
	data, err := checkpoint.Marshal(w.Entries(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPack packs, finds and unpacks: within half a step of each row.
func TestPack(t *testing.T) {
	const rows, cols = 37, 11
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(rng.NormFloat64()) * float32(i/cols) // the first row is zero
	}
	entries := Pack("m", rows, cols, func(lo, hi int, dst []float32) error { copy(dst, x[lo*cols:hi*cols]); return nil })
	data, err := checkpoint.Marshal(entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Find(c, checkpoint.F32)
	if err != nil {
		t.Fatal(err)
	}
	got, err := written(t, w).Floats("m.weight")
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range x {
		most := 0.0
		for _, u := range x[i/cols*cols : i/cols*cols+cols] {
			most = math.Max(most, math.Abs(float64(u)))
		}
		if bound := most / 127 / 2 * 1.0001; math.Abs(float64(got[i]-v)) > bound { // half a step, and roundings in float32
			t.Errorf("row %d: %g became %g, beyond %g", i/cols, v, got[i], bound)
		}
	}
	bad := Pack("m", 1, 2, func(_, _ int, dst []float32) error { copy(dst, []float32{1, float32(math.Inf(1))}); return nil })
	if _, err := checkpoint.Marshal(bad, nil); err == nil || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("infinity packed: %v", err)
	}
}

// changed is the packed file with one tensor's bytes replaced by others.
func changed(t testing.TB, name string, change func([]byte) []byte) *checkpoint.Checkpoint {
	c, err := checkpoint.Open("testdata/packed.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var list []checkpoint.Entry
	for _, n := range c.Names() {
		info, _ := c.Info(n)
		b, _ := c.Bytes(n)
		b = slices.Clone(b)
		e := checkpoint.FromBytes(n, info.DType, info.Shape, b)
		if n == name {
			if b = change(b); b == nil {
				continue
			}
			size := int(info.DType.Size())
			b = b[:len(b)/size*size]
			e = checkpoint.FromBytes(n, info.DType, []int{len(b) / size}, b)
		}
		list = append(list, e)
	}
	data, err := checkpoint.Marshal(list, nil)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := checkpoint.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return bad
}

const stateOfC = "c.weight" + stateMark + NF4

// TestFindRefuses: each part of each kind that is missing or cut, and a state that says something else, is an error that names it.
func TestFindRefuses(t *testing.T) {
	parts := []string{"a.weight", "a.weight.absmax", "a.weight.quant_map", "c.weight.absmax", "c.weight.nested_absmax", "c.weight.nested_quant_map", "d.SCB"}
	for _, name := range parts {
		for what, change := range map[string]func([]byte) []byte{"missing": func([]byte) []byte { return nil }, "cut": func(b []byte) []byte { return b[:len(b)-4] }} {
			if name == "d.SCB" && what == "missing" {
				continue // then nothing says that d.weight is packed
			}
			_, err := Find(changed(t, name, change), checkpoint.F32)
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s %s: %v", name, what, err)
			}
		}
	}
	for from, to := range map[string]string{`"nf4"`: `"fp4"`, `"blocksize": 64`: `"blocksize": 0`, `"float32", "shape"`: `"float64", "shape"`, `[48, 64]`: `[48, -1]`,
		`"nested_blocksize": 32`: `"nested_blocksize": 0`, `[48, `: `[4611686018427387904, `, `{`: `[`} {
		_, err := Find(changed(t, stateOfC, func(b []byte) []byte { return []byte(strings.Replace(string(b), from, to, 1)) }), checkpoint.F32)
		if err == nil || !strings.Contains(err.Error(), "c.weight") {
			t.Errorf("%s for %s: %v", to, from, err)
		}
	}
	if _, err := Find(changed(t, "d.weight_format", func([]byte) []byte { return []byte{2} }), checkpoint.F32); err == nil || !strings.Contains(err.Error(), "only rows") {
		t.Errorf("another order of eight bits: %v", err)
	}
}

// TestStateCut cuts the state at every offset.
func TestStateCut(t *testing.T) {
	c := open(t, "testdata/packed.safetensors")
	text, err := c.Bytes(stateOfC)
	if err != nil {
		t.Fatal(err)
	}
	for n := range text {
		if _, _, err := parseState(text[:n], NF4); err == nil {
			t.Errorf("cut at %d: no error", n)
		}
	}
}

// FuzzState: whatever the state says, what is found can be unpacked.
func FuzzState(f *testing.F) {
	c, err := checkpoint.Open("testdata/packed.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	text, _ := c.Bytes(stateOfC)
	f.Add(string(text))
	f.Add(`{"quant_type":"nf4","blocksize":1,"dtype":"float16","shape":[0]}`)
	c.Close()
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return
		}
		w, err := Find(changed(t, stateOfC, func([]byte) []byte { return []byte(text) }), checkpoint.F32)
		if err != nil {
			return
		}
		if _, err := checkpoint.Marshal(w.Entries(context.Background()), nil); err != nil {
			t.Error(err)
		}
	})
}
