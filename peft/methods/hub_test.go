package methods_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// TestGoldenAdapters compares adapters of the library `adapters` with what it makes of them: files, logits, losses, gradients, ten
// steps of AdamW.
func TestGoldenAdapters(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "adapters")
	suite := golden.NewSuite(t, "adapters")
	folders, err := os.ReadDir(dir)
	if err != nil {
		t.Skipf("no golden adapters: %v", err)
	}
	for _, f := range folders {
		path := filepath.Join(dir, f.Name())
		b, err := os.ReadFile(filepath.Join(path, "case.json"))
		if err != nil {
			continue
		}
		var c peftCase
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		facts := hubFacts(t, path)
		suite.Case(f.Name(), facts, func(t *testing.T) { runHub(t, path, c, facts["gated"] == "yes") })
	}
}

// hubFacts describe a case by what its settings need.
func hubFacts(t *testing.T, path string) golden.Facts {
	b, err := os.ReadFile(filepath.Join(path, "adapter", "adapter_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := peft.ParseObject(b)
	if err != nil {
		t.Fatal(err)
	}
	f := golden.Facts{"architecture": "bottleneck", "gated": "no", "model_type": o["model_type"].(string)}
	config := o["config"].(map[string]any)
	if a, ok := config["architecture"].(string); ok {
		f["architecture"] = a
	}
	if strings.Contains(string(b), `"use_gating": true`) {
		f["gated"] = "yes"
	}
	return f
}

// runHub compares one case. The library's gates average over padding, too, so gated cases pass it.
func runHub(t *testing.T, path string, c peftCase, gated bool) {
	x := newFixture(t, path, c)
	if gated {
		x.batch = x.withPads(t)
	}
	dir := filepath.Join(path, "adapter")
	var err error
	if x.config, x.adapter, err = methods.Load(dir, x.m, peft.Allow{}); err != nil {
		t.Fatal(err)
	}
	if w := x.config.Shared().Warnings; len(w) > 0 {
		t.Errorf("warnings %q, want none", w)
	}
	x.hubFiles(t, dir)
	x.outputs(t, kernel.ModeF32, max(2e-5, 5*c.Noise.Logits)) // a few times the reference's own distance from float64
	params := x.steps(t)
	trained := hubTensors(t, filepath.Join(path, "adapter_trained"))
	for _, p := range params {
		if _, ill := c.Train.F64.Over[p.Name]; !ill {
			check.Close(t, "trained "+p.Name, p.Value, trained[p.Name], 1e-4, 1e-3) // Adam turns 1e-7 of a small gradient into 1e-5 of a step
		}
	}
}

// withPads is the case's batch with its padding, for heads that read the first row.
func (x *fixture) withPads(t *testing.T) *data.Batch {
	t.Helper()
	info, _ := x.ref.Info("input_ids")
	ids, mask, types := integers(t, x.ref, "input_ids"), integers(t, x.ref, "attention_mask"), integers(t, x.ref, "token_type_ids")
	b, width := &data.Batch{Labels: x.batch.Labels}, info.Shape[1]
	for r := range info.Shape[0] {
		seg := data.Segment{Start: r * width, End: (r + 1) * width}
		for i := seg.Start; i < seg.End; i++ {
			at := i - seg.Start
			if mask[i] == 0 {
				seg.Pads++
				if x.m.Config.ModelType == "roberta" {
					at = -1 // the position of padding
				}
			}
			b.Tokens, b.Types, b.Positions = append(b.Tokens, int32(ids[i])), append(b.Types, int32(types[i])), append(b.Positions, int32(at))
		}
		b.Segments = append(b.Segments, seg)
	}
	return b
}

// hubTensors are the tensors of the adapter and of the head in a folder of the library.
func hubTensors(t *testing.T, dir string) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for _, name := range []string{"adapter.safetensors", "pytorch_adapter.bin", "model_head.safetensors", "pytorch_model_head.bin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			continue
		}
		file, err := checkpoint.OpenFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range file.Names() {
			all[n] = values(t, file, n)
		}
		file.Close()
	}
	return all
}

// hubFiles saves the adapter and compares with the library's own files, then loads and saves again.
func (x *fixture) hubFiles(t *testing.T, dir string) {
	out, again := t.TempDir(), t.TempDir()
	if err := peft.Save(out, x.config, x.adapter); err != nil {
		t.Fatal(err)
	}
	got, want := hubTensors(t, out), hubTensors(t, dir)
	if len(got) != len(want) {
		t.Errorf("%d tensors written, want %d", len(got), len(want))
	}
	for name, w := range want {
		if !slices.Equal(got[name], w) {
			t.Errorf("%s: written tensor differs", name)
		}
	}
	for _, name := range []string{"adapter_config.json", "head_config.json"} {
		ref, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if mine := read(t, filepath.Join(out, name)); !bytes.Equal(bytes.TrimSpace(ref), mine) {
			t.Errorf("%s is not the library's:\n%s\nwant\n%s", name, mine, ref)
		}
	}
	m, err := model.Load(x.src)
	if err != nil {
		t.Fatal(err)
	}
	c, a, err := methods.Load(out, m, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	if err := peft.Save(again, c, a); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !bytes.Equal(read(t, filepath.Join(out, e.Name())), read(t, filepath.Join(again, e.Name()))) {
			t.Errorf("%s: saved, loaded and saved again it differs", e.Name())
		}
	}
}
