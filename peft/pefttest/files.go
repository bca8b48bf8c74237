package pefttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/peft"
)

// save attaches a trained adapter, saves and detaches it.
func (x *bench) save(t *testing.T) (dir string) {
	t.Helper()
	c, a := x.trained(t)
	dir = t.TempDir()
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	a.Detach()
	return dir
}

// saving saves, loads and saves again; what was loaded works as what was saved.
func saving(t *testing.T, x *bench) {
	c, a := x.trained(t)
	c.Shared().BaseModel, c.Shared().TaskType = "models/tiny", "CAUSAL_LM"
	want := x.logits(t)
	first, second := t.TempDir(), t.TempDir()
	if err := peft.Save(first, c, a); err != nil {
		t.Fatal(err)
	}
	for name := range a.Params() {
		if shared := "base_model."; !x.Virtual && !x.foreign() && !strings.HasPrefix(name, shared) { // what targets share is not within the model
			t.Errorf("parameter %q, want the prefix %q or %q", name, peft.Prefix, shared)
		}
	}
	a.Detach()
	c, a, err := x.load(first, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	if x.Converted {
		check.Close(t, "logits of the loaded adapter", x.logits(t), want, 1e-4, 1e-5) // a sum of twice as many terms; logits of size 10
	} else if !sameBits(x.logits(t), want) {
		t.Error("the loaded adapter gives other logits than the saved one")
	}
	if s := c.Shared(); s.BaseModel != "models/tiny" || s.TaskType != "CAUSAL_LM" || len(s.Warnings) > 0 {
		t.Errorf("loaded %+v, want base_model_name_or_path models/tiny, task_type CAUSAL_LM and no warnings", s)
	}
	if err := peft.Save(second, c, a); err != nil {
		t.Fatal(err)
	}
	for _, name := range x.files() {
		if !bytes.Equal(read(t, filepath.Join(first, name)), read(t, filepath.Join(second, name))) {
			t.Errorf("%s: saved, loaded and saved again it differs", name)
		}
	}
}

// foreign says that the method's files are not PEFT's.
func (x *bench) foreign() bool {
	_, ok := x.Method.New().(peft.Foreign)
	return ok
}

// files are the names of the adapter's files, those of its settings and of its tensors.
func (x *bench) files() []string {
	if f, ok := x.Method.New().(peft.Foreign); ok {
		return []string{peft.ConfigFile, f.Files()[0]}
	}
	return []string{peft.ConfigFile, peft.TensorsFile}
}

// object is the config as adapter_config.json has it.
func object(t *testing.T, c peft.Config) map[string]any {
	t.Helper()
	b, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	o := map[string]any{}
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// parse decodes an object as a file of the method.
func (x *bench) parse(t *testing.T, o map[string]any) peft.Config {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := peft.ParseConfig(b, []peft.Method{x.Method})
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return c
}

// configuring leaves out each key of a config in turn, as old files do, and adds one that no release knows.
func configuring(t *testing.T, x *bench) {
	if x.foreign() {
		x.configuringForeign(t)
		return
	}
	defaults := object(t, x.Method.New())
	full := object(t, x.Config(x.base.Model))
	for key := range full {
		if key == "peft_type" {
			continue
		}
		less := map[string]any{}
		for k, v := range full {
			if k != key {
				less[k] = v
			}
		}
		less["zz_unknown"] = map[string]any{"a": []any{1.5, "b"}}
		c := x.parse(t, less)
		got := object(t, c)
		if !reflect.DeepEqual(got[key], defaults[key]) {
			t.Errorf("without %s it is %v, want the default %v", key, got[key], defaults[key])
		}
		if !reflect.DeepEqual(got["zz_unknown"], less["zz_unknown"]) {
			t.Errorf("unknown key is %v after reading and writing, want %v", got["zz_unknown"], less["zz_unknown"])
		}
		if w := fmt.Sprint(c.Shared().Warnings); !strings.Contains(w, `"zz_unknown"`) {
			t.Errorf("warnings %s, want one of the key zz_unknown", w)
		}
	}
}

// configuringForeign is configuring for files whose settings are one object within.
func (x *bench) configuringForeign(t *testing.T) {
	full, ok := object(t, x.Config(x.base.Model))["config"].(map[string]any)
	if _, union := full["configs"]; !ok || union {
		return // a union's parts are tested as such
	}
	defaults := object(t, x.parse(t, map[string]any{"config": map[string]any{"architecture": full["architecture"]}}))["config"].(map[string]any)
	for key := range full {
		if key == "architecture" {
			continue
		}
		less := map[string]any{}
		for k, v := range full {
			if k != key {
				less[k] = v
			}
		}
		less["zz_unknown"] = map[string]any{"a": []any{1.5, "b"}}
		c := x.parse(t, map[string]any{"config": less, "zz_other": 1.0, "version": "adapters.1.3.0"})
		o := object(t, c)
		got := o["config"].(map[string]any)
		if !reflect.DeepEqual(got[key], defaults[key]) {
			t.Errorf("without %s it is %v, want the default %v", key, got[key], defaults[key])
		}
		if !reflect.DeepEqual(got["zz_unknown"], less["zz_unknown"]) || o["zz_other"] != 1.0 {
			t.Errorf("unknown keys are %v and %v after reading and writing", got["zz_unknown"], o["zz_other"])
		}
		if w := fmt.Sprint(c.Shared().Warnings); !strings.Contains(w, `zz_unknown"`) || !strings.Contains(w, `"zz_other"`) {
			t.Errorf("warnings %s, want one of the key zz_unknown and one of zz_other", w)
		}
	}
}

// idling loads an adapter that is as it started, and attaches to targets that are not there.
func idling(t *testing.T, x *bench) {
	before := x.logits(t)
	if x.Identity {
		c, a := x.attach(t)
		dir := t.TempDir()
		if err := peft.Save(dir, c, a); err != nil {
			t.Fatal(err)
		}
		a.Detach()
		x.refuses(t, dir, "changes nothing")
		if _, a, err := x.load(dir, peft.Allow{Idle: true}); err != nil {
			t.Errorf("with Allow.Idle: %v, want no error", err)
		} else {
			a.Detach()
		}
	}
	if x.Lost != nil {
		if _, err := x.Lost(x.base.Model).Attach(x.base.Model, rand.New(rand.NewPCG(1, 2))); err == nil || !strings.Contains(err.Error(), "match no module") {
			t.Errorf("Attach to targets that are not there: %v, want an error that they match no module", err)
		}
	}
	if !sameBits(before, x.logits(t)) {
		t.Error("what was refused left something behind in the model")
	}
}

// refuses loads a folder that has something wrong with it: the error says so, and the model is as before.
func (x *bench) refuses(t *testing.T, dir, want string) {
	t.Helper()
	before := x.slots()
	_, _, err := x.load(dir, peft.Allow{})
	switch {
	case err == nil:
		t.Errorf("loaded without an error, want one that says %q", want)
	case !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want one that says %q", err, want)
	case !strings.Contains(err.Error(), dir):
		t.Errorf("error %q does not name the folder %s", err, dir)
	}
	if !reflect.DeepEqual(before, x.slots()) {
		t.Fatal("what was refused is attached to the model")
	}
}

// slots lists what the model's slots hold.
func (x *bench) slots() (list []any) {
	for s := range x.base.Slots() {
		list = append(list, s.Projection, s.Lookup)
	}
	for _, b := range x.base.Layers() {
		list = append(list, b.AttentionEnd == nil, b.MLPEnd == nil)
	}
	return append(list, x.base.Beginning().After == nil, x.base.Prompter())
}

// misfitting changes one tensor of an adapter's file at a time.
func misfitting(t *testing.T, x *bench) {
	c, attached := x.trained(t)
	a := attached
	if v, ok := a.(peft.Converter); ok {
		c, a = v.Convert(c)
	}
	var name string
	var shape []int
	var values []float32
	for n, p := range a.Params() {
		name, shape, values = n, op.FileShape(p), op.Data(p) // the last one
	}
	others := slices.DeleteFunc(peft.Entries(a), func(e checkpoint.Entry) bool { return e.Name == name })
	attached.Detach()
	with := func(d checkpoint.DType, shape []int, values []float32) []checkpoint.Entry {
		b := make([]byte, len(values)*int(d.Size()))
		checkpoint.Encode(b, values, d)
		return append(others[:len(others):len(others)], checkpoint.FromBytes(name, d, shape, b))
	}
	poisoned := func(v float64) []float32 {
		p := append([]float32(nil), values...)
		p[len(p)-1] = float32(v)
		return p
	}
	longer := append([]int{shape[0] + 1}, shape[1:]...)
	whole := with(checkpoint.F32, shape, values)
	for _, m := range []struct {
		entries []checkpoint.Entry
		want    string
	}{
		{others, fmt.Sprintf("tensor %q is missing", name)},
		{append(whole, checkpoint.FromFloats("stranger.weight", []int{1}, []float32{1})), `tensor "stranger.weight" is unexpected`},
		{with(checkpoint.F32, longer, append(poisoned(1), make([]float32, len(values)/shape[0])...)), fmt.Sprintf("tensor %q is %v, want %v", name, longer, shape)},
		{with(checkpoint.F32, []int{len(values), 1, 1, 1}, values), fmt.Sprintf("tensor %q is [%d 1 1 1], want %v", name, len(values), shape)},
		{with(checkpoint.F32, shape, poisoned(math.NaN())), fmt.Sprintf("tensor %q has at %d no finite number", name, len(values)-1)},
		{with(checkpoint.BF16, shape, poisoned(math.Inf(-1))), fmt.Sprintf("tensor %q has at %d no finite number", name, len(values)-1)},
		{append(others[:len(others):len(others)], checkpoint.FromBytes(name, checkpoint.I32, shape, make([]byte, 4*len(values)))), fmt.Sprintf("tensor %q is I32, want F32, F16 or BF16", name)},
	} {
		dir := t.TempDir()
		if err := peft.Save(dir, c, a); err != nil {
			t.Fatal(err)
		}
		if err := checkpoint.Write(filepath.Join(dir, x.files()[1]), m.entries, nil); err != nil {
			t.Fatal(err)
		}
		x.refuses(t, dir, m.want)
	}
}

// truncating cuts both files of an adapter at twenty offsets; a test of package peft/methods cuts a small one at all.
func truncating(t *testing.T, x *bench) {
	dir := x.save(t)
	for _, name := range x.files() {
		path := filepath.Join(dir, name)
		whole := read(t, path)
		for n := 0; n < len(whole); n += 1 + len(whole)/20 {
			if err := os.WriteFile(path, whole[:n], 0o666); err != nil {
				t.Fatal(err)
			}
			x.refuses(t, dir, "")
			if t.Failed() {
				t.Fatalf("%s, cut to %d of %d bytes", name, n, len(whole))
			}
		}
		if err := os.WriteFile(path, whole, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := x.load(dir, peft.Allow{}); err != nil {
		t.Errorf("whole again: %v, want no error", err)
	}
}
