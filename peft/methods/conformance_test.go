package methods_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/task"
	"github.com/nlpodyssey/spago/ag"
)

// conformance are behaviours that PEFT's own tests demand and that everybody relies on, by what they say. Most hold for every
// method and architecture (pefttest); here each is named and shown on a LoRA of a small llama.
var conformance = []struct {
	name string
	hold func(t *testing.T, x *conforming)
}{
	{"A1 a config survives its file, unknown keys only warn, peft_type is required", configSurvives},
	{"A2 a folder has adapter_config.json and adapter_model.safetensors, and no more", twoFiles},
	{"A3 saved and loaded it works as before; saved again it has the same bytes", savedIsLoaded},
	{"A5 a config that is given counts, not the file's", givenConfig},
	{"A6 a second adapter leaves nothing over", secondAdapter},
	{"B12 suffixes, patterns, exclusions, all-linear, layers, rank and alpha by pattern", selecting},
	{"B13 a target without a match is an error with names; null means the architecture's", unmatched},
	{"B14 only the adapter's parameters are trained, as many as the formula says", countsParams},
	{"C18 three large steps change every parameter of the adapter and nothing of the base", threeSteps},
	{"C19 of modules_to_save the copy changes, not the original", savedModules},
	{"C20 gradients are there however a batch is cut, to save memory", cutBatches},
	{"C21 no dropout outside training, twice the same", evaluating},
	{"D24 merged is unmerged, and not the base; taken off, the base is as before", mergedIsUnmerged},
	{"D25 a merged folder is a plain checkpoint", mergedIsPlain},
	{"D26 one after the other is both at once", mergedInTurn},
	{"D27 NaN and infinity are refused before anything is written", mergedFinite},
	{"D28 weights of two bytes", mergedHalf},
	{"D29 biases, DoRA, embeddings; repeated layers are refused", mergedOptions},
	{"D30 a tied weight is untied where one end changed", mergedTied},
	{"E32 disabled is the base, enabled again as before, also after an error", disabled},
	{"F38 a fresh adapter changes nothing; one whose B is drawn does", fresh},
}

// TestConformance holds graft to the list.
func TestConformance(t *testing.T) {
	dir, tied := modeltest.Write(t, modeltest.Tiny[0]), modeltest.Write(t, modeltest.Tiny[1])
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			b := modeltest.Open(t, dir)
			set := modeltest.Set(b.Config.VocabSize)
			c.hold(t, &conforming{base: b, dir: dir, tied: tied, batch: set.Batch(modeltest.All(set))})
		})
	}
}

// conforming is a model to show a behaviour on.
type conforming struct {
	base      *modeltest.Base
	dir, tied string // folders of this model, and of one with tied ends
	batch     *data.Batch
}

// config is a LoRA on two kinds of projection.
func (x *conforming) config() *lora.Config {
	c := lora.New()
	c.Rank, c.Alpha, c.TargetModules = 3, 7, peft.Names{List: []string{"q_proj", "down_proj"}}
	return c
}

// attach attaches a config whose parameters are all moved by the seed.
func (x *conforming) attach(t *testing.T, c *lora.Config, seed uint64) peft.Adapter {
	t.Helper()
	a, err := c.Attach(x.base.Model, rand.New(rand.NewPCG(seed, 1)))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	for _, p := range a.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i] += float32(0.2 * rng.NormFloat64())
		}
	}
	return a
}

func (x *conforming) logits(t *testing.T) []float32 { return x.base.Logits(t, x.batch) }

// saved attaches, saves and detaches.
func (x *conforming) saved(t *testing.T, c *lora.Config, seed uint64) (dir string) {
	t.Helper()
	a := x.attach(t, c, seed)
	defer a.Detach()
	dir = t.TempDir()
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (x *conforming) load(t *testing.T, dir string) (peft.Config, peft.Adapter) {
	t.Helper()
	c, a, err := methods.Load(dir, x.base.Model, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

// fold merges an adapter and opens what comes of it.
func (x *conforming) fold(t *testing.T, a peft.Adapter, dtype string) *modeltest.Base {
	t.Helper()
	out := filepath.Join(t.TempDir(), "merged")
	if _, err := merge.Fold(t.Context(), merge.Job{Base: x.base.Source, Deltas: a.(peft.Merger).Deltas(), Ties: peft.Ties(x.base.Model), Out: out, DType: dtype}); err != nil {
		t.Fatal(err)
	}
	return modeltest.Open(t, out)
}

// step adds gradients of the batch's mean loss to the adapter's parameters.
func (x *conforming) step(t *testing.T, b *data.Batch, scale float64) {
	t.Helper()
	own, _ := task.For(x.base.Model)
	p := op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena())
	p.Grad, p.Train = true, true
	node, _, err := own.Loss(x.base.Model, p, b, task.LossOptions{Scale: scale})
	if err != nil {
		t.Fatal(err)
	}
	if err := ag.Backward(node); err != nil {
		t.Fatal(err)
	}
}

func differ(a, b []float32) bool { return check.MaxDiff(a, b) > 1e-3 }

func configSurvives(t *testing.T, x *conforming) {
	c := x.config()
	b, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte("{"), []byte(`{"of_a_later_release": 7,`), 1)
	again, err := peft.ParseConfig(b, methods.All)
	if err != nil {
		t.Fatal(err)
	}
	if l := again.(*lora.Config); l.Rank != c.Rank || l.Alpha != c.Alpha || !slices.Equal(l.TargetModules.List, []string{"down_proj", "q_proj"}) {
		t.Errorf("read %+v, want %+v", l, c)
	}
	if w := again.Shared().Warnings; len(w) != 1 || !strings.Contains(w[0], "of_a_later_release") {
		t.Errorf("warnings %q, want one about the unknown key", w)
	}
	if j, err := again.JSON(); err != nil || !bytes.Contains(j, []byte(`"of_a_later_release": 7`)) {
		t.Errorf("the unknown key is lost: %v\n%s", err, j)
	}
	if _, err := peft.ParseConfig([]byte(`{"r": 8}`), methods.All); err == nil {
		t.Error("a config without peft_type is read, want an error")
	}
}

func twoFiles(t *testing.T, x *conforming) {
	list, err := os.ReadDir(x.saved(t, x.config(), 1))
	if err != nil || len(list) != 2 || list[0].Name() != peft.ConfigFile || list[1].Name() != peft.TensorsFile {
		t.Errorf("the folder has %v, %v", list, err)
	}
}

func savedIsLoaded(t *testing.T, x *conforming) {
	a := x.attach(t, x.config(), 1)
	want := x.logits(t)
	a.Detach()
	dir, again := x.saved(t, x.config(), 1), t.TempDir()
	c, b := x.load(t, dir)
	if got := x.logits(t); !slices.Equal(got, want) {
		t.Errorf("the logits differ by %g", check.MaxDiff(got, want))
	}
	if err := peft.Save(again, c, b); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{peft.ConfigFile, peft.TensorsFile} {
		if !bytes.Equal(read(t, filepath.Join(dir, name)), read(t, filepath.Join(again, name))) {
			t.Errorf("%s differs", name)
		}
	}
}

func givenConfig(t *testing.T, x *conforming) {
	dir := x.saved(t, x.config(), 1)
	_, a := x.load(t, dir)
	want := x.logits(t)
	a.Detach()
	c := x.config()
	c.Alpha *= 2
	a, err := c.Attach(x.base.Model, rand.New(rand.NewPCG(5, 5)))
	if err != nil {
		t.Fatal(err)
	}
	if err := peft.Fill(a, openFolder(t, dir), peft.Allow{}); err != nil {
		t.Fatal(err)
	}
	if !differ(x.logits(t), want) {
		t.Error("another lora_alpha changes nothing")
	}
}

func secondAdapter(t *testing.T, x *conforming) {
	one, two := x.saved(t, x.config(), 1), x.saved(t, x.config(), 2)
	x.load(t, one)
	first := x.logits(t)
	_, b := x.load(t, two) // strict: neither missing nor unexpected tensors
	if !differ(x.logits(t), first) {
		t.Error("the second adapter changes nothing")
	}
	b.Detach()
	if !slices.Equal(x.logits(t), first) {
		t.Error("without the second adapter the first works otherwise than before")
	}
}

func selecting(t *testing.T, x *conforming) {
	for _, s := range []struct {
		name string
		set  func(c *lora.Config)
		want int // modules
	}{
		{"suffixes", func(c *lora.Config) {}, 4},
		{"a pattern for whole names", func(c *lora.Config) { c.TargetModules = peft.Names{Pattern: `.*\.1\..*(q|k)_proj`} }, 2},
		{"an exact name", func(c *lora.Config) { c.TargetModules.List = []string{"model.layers.1.self_attn.v_proj"} }, 1},
		{"exclusions", func(c *lora.Config) { c.ExcludeModules.Pattern = `.*\.0\..*` }, 2},
		{"all-linear without the head", func(c *lora.Config) { c.TargetModules = peft.Names{Pattern: "all-linear"} }, 14},
		{"a layer", func(c *lora.Config) { c.LayersToTransform = []int{1} }, 2},
		{"a layer of a list by name", func(c *lora.Config) { c.LayersToTransform, c.LayersPattern = []int{0}, []string{"layers"} }, 2},
	} {
		c := x.config()
		s.set(c)
		a := x.attach(t, c, 1)
		if got := a.(*lora.Adapter).Modules(); len(got) != s.want {
			t.Errorf("%s: %q, want %d modules", s.name, got, s.want)
		}
		a.Detach()
	}
	c := x.config()
	c.RankPattern = peft.Pattern{peft.NewEntry(`^model\.layers\.0\..*`, 5)}
	c.AlphaPattern = peft.Pattern{peft.NewEntry("down_proj", 2)}
	a := x.attach(t, c, 1)
	for name, p := range a.Params() {
		want := 3
		if strings.Contains(name, "layers.0.") {
			want = 5
		}
		if s := op.FileShape(p); min(s[0], s[1]) != want {
			t.Errorf("%s is %v, want rank %d", name, s, want)
		}
	}
}

func unmatched(t *testing.T, x *conforming) {
	c := x.config()
	c.TargetModules.List = []string{"q_prjo"}
	if _, err := c.Attach(x.base.Model, rand.New(rand.NewPCG(1, 1))); err == nil || !strings.Contains(err.Error(), "q_proj") {
		t.Errorf("%v, want an error with the name q_proj", err)
	}
	c = x.config()
	c.ExcludeModules.List = []string{"c_attn"}
	if _, err := c.Attach(x.base.Model, rand.New(rand.NewPCG(1, 1))); err == nil {
		t.Error("an exclusion of nothing is accepted")
	}
	c = x.config()
	c.TargetModules = peft.Names{}
	a := x.attach(t, c, 1)
	if got := fmt.Sprint(a.(*lora.Adapter).Modules()); !strings.Contains(got, "v_proj") || strings.Contains(got, "k_proj") {
		t.Errorf("the default targets are %s, want q_proj and v_proj", got)
	}
}

func countsParams(t *testing.T, x *conforming) {
	a := x.attach(t, x.config(), 1)
	// q_proj is [24, 10], down_proj [10, 14], in two layers.
	if n, want := peft.NumParams(a), int64(2*3*(24+10+10+14)); n != want {
		t.Errorf("%d parameters, want %d", n, want)
	}
	for name := range a.Params() {
		if !strings.Contains(name, ".lora_") {
			t.Errorf("%s is trained", name)
		}
	}
}

func threeSteps(t *testing.T, x *conforming) {
	before, base := x.logits(t), read(t, filepath.Join(x.dir, "model.safetensors"))
	moved(t, x, x.config())
	for _, bias := range []string{"all", "lora_only"} { // of the other model, which has biases
		c := x.config()
		c.Beside.Bias = bias
		if bias == "lora_only" {
			c.TargetModules.List = []string{"q_proj", "v_proj"}
		}
		moved(t, &conforming{base: modeltest.Open(t, x.tied), batch: x.batch}, c)
	}
	if !slices.Equal(x.logits(t), before) || !bytes.Equal(base, read(t, filepath.Join(x.dir, "model.safetensors"))) {
		t.Error("the base changed")
	}
}

// moved takes three steps of 0.5 and wants every parameter to be another.
func moved(t *testing.T, x *conforming, c *lora.Config) {
	t.Helper()
	a, err := c.Attach(x.base.Model, rand.New(rand.NewPCG(3, 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	start := map[string][]float32{}
	for name, p := range a.Params() {
		start[name] = slices.Clone(op.Data(p))
	}
	for range 3 {
		x.step(t, x.batch, 1/float64(x.batch.NumTargets()))
		for _, p := range a.Params() {
			for i, g := range op.GradOf(p) {
				op.Data(p)[i] -= 0.5 * g
			}
			p.ZeroGrad()
		}
	}
	for name, p := range a.Params() {
		if slices.Equal(start[name], op.Data(p)) {
			t.Errorf("%s did not change", name)
		}
	}
}

func savedModules(t *testing.T, x *conforming) {
	before := x.logits(t)
	c := x.config()
	c.Beside.ModulesToSave = []string{"lm_head"}
	moved(t, x, c)
	if !slices.Equal(x.logits(t), before) {
		t.Error("the original changed")
	}
}

func cutBatches(t *testing.T, x *conforming) {
	a := x.attach(t, x.config(), 1)
	set := modeltest.Set(x.base.Config.VocabSize)
	gradient := func(batches ...*data.Batch) (all []float32) {
		for _, b := range batches {
			x.step(t, b, 1)
		}
		for name, p := range a.Params() {
			if g := op.GradOf(p); slices.Max(g) == slices.Min(g) {
				t.Errorf("%s has no gradient", name)
			}
			all = append(all, op.GradOf(p)...)
			p.ZeroGrad()
		}
		return all
	}
	whole := gradient(x.batch)
	var parts []*data.Batch
	for i := range set {
		parts = append(parts, set.Batch([]int32{int32(i)}))
	}
	check.Close(t, "gradients", gradient(parts...), whole, 1e-4, 1e-4) // sums in another order; gradients of size 10
}

func evaluating(t *testing.T, x *conforming) {
	plain := x.config()
	a := x.attach(t, plain, 1)
	want := x.logits(t)
	a.Detach()
	dropping := x.config()
	dropping.Dropout = 0.5
	x.attach(t, dropping, 1)
	if got := x.logits(t); !slices.Equal(got, want) || !slices.Equal(x.logits(t), got) {
		t.Error("dropout works outside training, or a second pass differs from the first")
	}
}

func mergedIsUnmerged(t *testing.T, x *conforming) {
	before := x.logits(t)
	a := x.attach(t, x.config(), 1)
	want := x.logits(t)
	got := x.fold(t, a, "").Logits(t, x.batch)
	check.Close(t, "logits", got, want, 1e-4, 1e-5) // each weight rounds once more; logits of size 10
	if !differ(got, before) {
		t.Error("the merged model is the base")
	}
	if a.Detach(); !slices.Equal(x.logits(t), before) {
		t.Error("the base changed")
	}
}

func mergedIsPlain(t *testing.T, x *conforming) {
	m := x.fold(t, x.attach(t, x.config(), 1), "")
	if !slices.Equal(m.Source.Names(), x.base.Source.Names()) {
		t.Errorf("tensors %q, want the base's", m.Source.Names())
	}
	for _, f := range []string{peft.ConfigFile, peft.TensorsFile} {
		if _, err := m.Source.ReadFile(f); err == nil {
			t.Errorf("the merged folder has %s", f)
		}
	}
}

func mergedInTurn(t *testing.T, x *conforming) {
	one, two := x.saved(t, x.config(), 1), x.saved(t, x.config(), 2)
	x.load(t, one)
	_, b := x.load(t, two)
	want := x.logits(t)
	b.Detach()
	first := x.folded(t, one)
	y := &conforming{base: first, batch: x.batch}
	_, b2, err := methods.Load(two, first.Model, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "logits of one merge after the other", y.fold(t, b2, "").Logits(t, x.batch), want, 1e-3, 1e-4) // two roundings
}

// folded merges the adapter of a folder into a fresh model.
func (x *conforming) folded(t *testing.T, dir string) *modeltest.Base {
	t.Helper()
	y := &conforming{base: modeltest.Open(t, x.dir), batch: x.batch}
	_, a := y.load(t, dir)
	return y.fold(t, a, "")
}

func mergedFinite(t *testing.T, x *conforming) {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		a := x.attach(t, x.config(), 1)
		for _, p := range a.Params() {
			op.Data(p)[0] = float32(v)
		}
		out := filepath.Join(t.TempDir(), "merged")
		_, err := merge.Fold(t.Context(), merge.Job{Base: x.base.Source, Deltas: a.(peft.Merger).Deltas(), Out: out})
		if _, there := os.Stat(out); err == nil || there == nil {
			t.Errorf("%g: merged with %v, want an error and no folder", v, err)
		}
		a.Detach()
	}
}

func mergedHalf(t *testing.T, x *conforming) {
	a := x.attach(t, x.config(), 1)
	want := x.logits(t)
	// Weights of size 0.4 in f16 are off by 2^-13; ten logits add up some hundreds of them.
	check.Close(t, "logits", x.fold(t, a, "f16").Logits(t, x.batch), want, 0.05, 0.01)
}

func mergedOptions(t *testing.T, x *conforming) {
	for _, o := range []struct {
		name string
		set  func(c *lora.Config)
	}{
		{"DoRA", func(c *lora.Config) { c.UseDoRA = true }},
		{"embeddings and heads", func(c *lora.Config) { c.TargetModules.List = []string{"embed_tokens", "lm_head", "q_proj"} }},
		{"modules_to_save", func(c *lora.Config) { c.Beside.ModulesToSave = []string{"norm", "lm_head"} }},
		{"single tokens", func(c *lora.Config) { c.Beside.TokenIndices.List = []int{3, 5} }},
	} {
		c := x.config()
		o.set(c)
		a := x.attach(t, c, 1)
		check.Close(t, "logits with "+o.name, x.fold(t, a, "").Logits(t, x.batch), x.logits(t), 1e-3, 1e-4) // DoRA divides by lengths
		a.Detach()
	}
	c := x.config()
	if err := c.Parse([]byte(`{"peft_type": "LORA", "layer_replication": [[0, 2], [1, 2]]}`)); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "layer_replication") {
		t.Errorf("%v, want an error about layer_replication", err)
	}
}

func mergedTied(t *testing.T, x *conforming) {
	b := modeltest.Open(t, x.tied)
	y := &conforming{base: b, batch: x.batch}
	c := x.config()
	c.TargetModules.List = []string{"lm_head"}
	a := y.attach(t, c, 1)
	m := y.fold(t, a, "")
	check.Close(t, "logits", m.Logits(t, x.batch), y.logits(t), 1e-4, 1e-5)
	if m.Config.TieWordEmbeddings {
		t.Error("config.json says that the ends are tied still")
	}
}

func disabled(t *testing.T, x *conforming) {
	before := x.logits(t)
	dir := x.saved(t, x.config(), 1)
	_, a := x.load(t, dir)
	with := x.logits(t)
	if a.Detach(); !slices.Equal(x.logits(t), before) {
		t.Error("without the adapter the model is not the base")
	}
	bad := t.TempDir()
	if err := os.CopyFS(bad, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.Write(filepath.Join(bad, peft.TensorsFile), nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := methods.Load(bad, x.base.Model, peft.Allow{}); err == nil || !slices.Equal(x.logits(t), before) {
		t.Errorf("%v: what failed is attached", err)
	}
	if x.load(t, dir); !slices.Equal(x.logits(t), with) {
		t.Error("attached again the adapter works otherwise")
	}
}

func fresh(t *testing.T, x *conforming) {
	before := x.logits(t)
	for init, same := range map[string]bool{"true": true, "gaussian": true, "false": false} {
		c := x.config()
		c.Init = init
		a, err := c.Attach(x.base.Model, rand.New(rand.NewPCG(7, 7)))
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Equal(x.logits(t), before); got != same {
			t.Errorf("init_lora_weights %s: the model is as before %v, want %v", init, got, same)
		}
		a.Detach()
	}
}
