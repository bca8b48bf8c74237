package methods_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/task"
	"github.com/graft-ml/graft/task/tasktest"
	"github.com/graft-ml/graft/train"
	"github.com/nlpodyssey/spago/ag"
)

// peftCase is case.json of golden/peft.
type peftCase struct {
	Base       string  `json:"base"`
	Task       string  `json:"task"`
	Type       string  `json:"peft_type"`
	Kind       string  `json:"kind"`
	Loss       float64 `json:"loss"`
	Mergeable  bool    `json:"mergeable"`
	Params     int64   `json:"trainable_params"`
	MergeError string  `json:"merge_error"`
	Noise      struct {
		Logits float64 `json:"logits_f32_vs_f64"`
		Grad   float64 `json:"grad_f32_vs_f64"`
	} `json:"noise"`
	Greedy *struct {
		Continuations [][]int32 `json:"continuations"`
	} `json:"greedy"`
	Merge struct {
		Changed   []string `json:"changed"`
		Loss      float64  `json:"loss"`
		VsAdapter float64  `json:"logits_vs_adapter"`
	} `json:"merge"`
	Train *struct {
		Losses      []float64 `json:"losses"`
		GradNorms   []float64 `json:"grad_norms"`
		LRs         []float64 `json:"lrs"`
		MaxGradNorm *float64  `json:"max_grad_norm"`
		Steps       int       `json:"steps"`
		Optimizer   struct {
			LR          float64   `json:"lr"`
			Betas       []float64 `json:"betas"`
			Eps         float64   `json:"eps"`
			WeightDecay float64   `json:"weight_decay"`
		} `json:"optimizer"`
		F64 struct {
			Over map[string]float64 `json:"over_1e-5"`
		} `json:"trained_f32_vs_f64"`
	} `json:"train"`
}

// TestGoldenPeft compares adapters with what PEFT makes of them: files, logits, losses, gradients, ten steps of AdamW,
// merged weights.
func TestGoldenPeft(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "peft")
	suite := golden.NewSuite(t, "peft")
	folders, err := os.ReadDir(dir)
	if err != nil {
		t.Skipf("no golden adapters: %v", err)
	}
	for _, f := range folders {
		path := filepath.Join(dir, f.Name())
		c, ok := readCase(t, path)
		if !ok {
			continue
		}
		f := facts(t, path, c)
		run := runs[f["form"]]
		suite.Case(filepath.Base(path), f, func(t *testing.T) { run(t, path, c) })
	}
}

// runs are the forms of cases.
var runs = map[string]func(t *testing.T, path string, c peftCase){"adapter": runPeft, "initialiser": runInitialiser, "several adapters": runSeveral, "weighted": runWeighted}

// readCase reads case.json of a folder, if there is one.
func readCase(t *testing.T, path string) (c peftCase, ok bool) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path, "case.json"))
	if err != nil {
		return c, false
	}
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return c, true
}

// facts describe a case by what it needs, not by its name.
func facts(t *testing.T, path string, c peftCase) golden.Facts {
	f := golden.Facts{"peft_type": c.Type, "task": c.Task, "needs": "nothing", "model_type": "?", "form": "adapter"}
	if b, err := os.ReadFile(filepath.Join(path, c.Base, "config.json")); err == nil {
		var base struct {
			ModelType string `json:"model_type"`
		}
		if json.Unmarshal(b, &base) == nil {
			f["model_type"] = base.ModelType
		}
	}
	b, err := os.ReadFile(filepath.Join(path, "adapter", "adapter_config.json"))
	if err != nil {
		f["form"] = "several adapters"
		if c.Kind == "add_weighted_adapter" {
			f["form"] = "weighted"
		}
		return f
	}
	if _, err := os.Stat(filepath.Join(path, "residual.safetensors")); err == nil {
		f["form"] = "initialiser"
	}
	o, err := peft.ParseObject(b)
	if err != nil {
		t.Fatal(err)
	}
	no := func(v any) bool {
		l, isList := v.([]any)
		m, isMap := v.(map[string]any)
		return v == nil || v == false || v == "" || v == "none" || isList && len(l) == 0 || isMap && len(m) == 0
	}
	for _, key := range []string{"alora_invocation_tokens", "layer_replication", "target_parameters", "use_qalora", "use_bdlora"} {
		if !no(o[key]) {
			f["needs"] = key
		}
	}
	if v, ok := o["init_lora_weights"].(string); ok && v != "gaussian" {
		f["form"] = "initialiser"
	}
	return f
}

// fixture is a case with its model and adapter.
type fixture struct {
	path    string
	c       peftCase
	src     *checkpoint.Checkpoint
	ref     *checkpoint.Checkpoint
	m       *model.Model
	folded  *model.Model // m, if the adapter is in its weights
	adapter peft.Adapter
	config  peft.Config
	batch   *data.Batch
	task    task.Task
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

func openAdapter(t *testing.T, dir string) *checkpoint.Checkpoint {
	t.Helper()
	c, err := peft.OpenTensors(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func runPeft(t *testing.T, path string, c peftCase) {
	x := newFixture(t, path, c)
	dir := filepath.Join(path, "adapter")
	file := openAdapter(t, dir)
	allow := peft.Allow{}
	if unfit(x, dir) {
		allow = peft.Allow{Missing: true, Unexpected: true}
	}
	var err error
	if x.config, x.adapter, err = methods.Load(dir, x.m, allow); err != nil {
		t.Fatal(err)
	}
	abs := max(2e-5, 5*c.Noise.Logits) // a few times the reference's own distance from float64
	x.outputs(t, kernel.ModeF32, abs)
	x.greedy(t)
	if !allow.Missing {
		x.roundTrip(t, dir, file)
	}
	x.merged(t, abs)
	x.reencode(t)
	if n := peft.NumParams(x.adapter) + twice(x.adapter); c.Params > 0 && n != c.Params {
		t.Errorf("%d trainable parameters, want %d", n, c.Params)
	}
	if c.Train != nil && !x.padded() {
		x.train(t)
	}
}

// newFixture opens a case without its adapter.
func newFixture(t *testing.T, path string, c peftCase) *fixture {
	x := &fixture{path: path, c: c, src: open(t, filepath.Join(path, c.Base)), ref: open(t, filepath.Join(path, "reference.safetensors"))}
	var err error
	if x.m, err = model.Load(x.src); err != nil {
		t.Fatal(err)
	}
	x.task = tasktest.Lookup(t, c.Task)
	x.batch = tasktest.Batch(t, x.ref, c.Task)
	tasktest.Begin(x.m, x.batch)
	return x
}

// padded says that the reference's losses are no use: its softmax over the rows of an answer runs over padding, too.
func (x *fixture) padded() bool { return x.c.Task == "qa" }

// twice counts the numbers that PEFT counts under two names: factors that a tied head shares with its embedding.
func twice(a peft.Adapter) (n int64) {
	x, ok := a.(peft.Extended)
	if !ok {
		return 0
	}
	for _, e := range x.Extras() {
		if strings.Contains(e.Name, ".lora_") {
			n += int64(e.Shape[0] * e.Shape[1])
		}
	}
	return n
}

// unfit says that strict loading refuses the adapter, listing what is missing and unexpected: the case is about that.
func unfit(x *fixture, dir string) bool {
	_, a, err := methods.Load(dir, x.m, peft.Allow{})
	if err == nil {
		a.Detach()
		return false
	}
	return strings.Contains(err.Error(), "is missing") && strings.Contains(err.Error(), "is unexpected")
}

// pass runs the model and returns logits and mean loss; with grad, gradients are added to the parameters.
func (x *fixture) pass(t *testing.T, mode kernel.Mode, grad bool) ([]float32, float64) {
	t.Helper()
	p := op.NewPass(x.batch.Segments, x.batch.Positions, mode, op.NewArena())
	p.Grad = grad
	weight := x.task.Weigh(x.m, x.batch, task.LossOptions{})
	node, sums, err := x.task.Loss(x.m, p, x.batch, task.LossOptions{Scale: 1 / weight})
	if err != nil {
		t.Fatal(err)
	}
	loss := sums.Loss / weight
	if a, ok := x.adapter.(peft.Penalized); ok && mode == kernel.ModeF32 && x.m != x.folded {
		loss += a.Penalty(grad)
	}
	if grad {
		if err := ag.Backward(node); err != nil {
			t.Fatal(err)
		}
		return nil, loss
	}
	scores, err := x.task.Predict(x.m, op.NewPass(x.batch.Segments, x.batch.Positions, mode, op.NewArena()), x.batch)
	if err != nil {
		t.Fatal(err)
	}
	return scores.Data, loss
}

func (x *fixture) outputs(t *testing.T, mode kernel.Mode, abs float64) {
	logits, loss := x.pass(t, mode, false)
	check.Close(t, "logits", logits, tasktest.Logits(t, x.ref, ""), abs, 1e-5)
	if !x.padded() && math.Abs(loss-x.c.Loss) > 1e-5 {
		t.Errorf("loss %.7f, want %.7f", loss, x.c.Loss)
	}
	for _, other := range []kernel.Mode{kernel.ModeSplit, kernel.ModeBF16} {
		l, s := x.pass(t, other, false)
		t.Logf("%s: logits within %.2g of f32, loss within %.2g", other, check.MaxDiff(l, logits), math.Abs(s-loss))
	}
}

// greedy continues the case's rows with a cache.
func (x *fixture) greedy(t *testing.T) {
	if x.c.Greedy == nil {
		return
	}
	var prompts [][]int32
	for _, s := range x.batch.Segments {
		prompts = append(prompts, x.batch.Tokens[s.Start:s.End])
	}
	want := x.c.Greedy.Continuations
	got, err := generate.Tokens(t.Context(), generate.NewSession(x.m, kernel.ModeF32), prompts, generate.Options{MaxNewTokens: len(want[0])}, nil)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("greedy: %v, %v, want %v", got, err, want)
	}
}

// roundTrip saves the adapter and compares with PEFT's own files.
func (x *fixture) roundTrip(t *testing.T, dir string, file *checkpoint.Checkpoint) {
	out := t.TempDir()
	if err := peft.Save(out, x.config, x.adapter); err != nil {
		t.Fatal(err)
	}
	again := open(t, filepath.Join(out, peft.TensorsFile))
	if len(again.Names()) != len(file.Names()) {
		t.Errorf("%d tensors written, want %d", len(again.Names()), len(file.Names()))
	}
	for _, name := range file.Names() {
		full := name
		if _, ok := again.Info(name); !ok {
			full = peft.Prefix + name
		}
		if info, _ := file.Info(name); !checkpoint.IsFloat(info.DType) {
			if !slices.Equal(integers(t, again, full), integers(t, file, name)) {
				t.Errorf("%s: written tensor differs", name)
			}
			continue
		}
		if want := values(t, file, name); !slices.Equal(values(t, again, full), want) {
			t.Errorf("%s: written tensor differs", name)
		}
	}
	var got, want map[string]any
	for path, to := range map[string]*map[string]any{filepath.Join(out, peft.ConfigFile): &got, filepath.Join(dir, peft.ConfigFile): &want} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, to); err != nil {
			t.Fatal(err)
		}
	}
	want["inference_mode"] = true
	for k, w := range want {
		if g, ok := got[k]; !ok || fmt.Sprint(g) != fmt.Sprint(w) {
			t.Errorf("config: %s is %v, want %v", k, g, w)
		}
	}
	first, second := read(t, filepath.Join(out, peft.ConfigFile)), t.TempDir()
	cfg, a, err := reload(x, out)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach()
	if err := peft.Save(second, cfg, a); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{peft.ConfigFile, peft.TensorsFile} {
		if !bytes.Equal(read(t, filepath.Join(out, name)), read(t, filepath.Join(second, name))) {
			t.Errorf("%s: saved, loaded and saved again it differs", name)
		}
	}
	if ref := read(t, filepath.Join(dir, peft.ConfigFile)); len(want) > 30 && !bytes.Equal(first, ref) {
		t.Errorf("config is not byte for byte PEFT's:\n%s\nwant\n%s", first, ref)
	}
}

// reload attaches the saved adapter to a second model.
func reload(x *fixture, dir string) (peft.Config, peft.Adapter, error) {
	m, err := model.Load(x.src)
	if err != nil {
		return nil, nil, err
	}
	return methods.Load(dir, m, peft.Allow{})
}

// bothEnds are the embeddings and heads of the bases whose two are tied.
var bothEnds = []string{"model.embed_tokens.weight", "transformer.wte.weight", "lm_head.weight"}

// merged folds the adapter into the base on disk, loads the result and compares.
func (x *fixture) merged(t *testing.T, abs float64) {
	if !x.c.Mergeable {
		x.unmergeable(t)
		return
	}
	ref := open(t, filepath.Join(x.path, "merged.safetensors"))
	src, changed := x.fold(t)
	want := x.c.Merge.Changed
	right := x.c.Merge.VsAdapter < 1e-3 // PEFT adds the changes of both ends to a tied weight
	_, untied := src.Info("lm_head.weight")
	if !untied || !right && !slices.Contains(changed, "lm_head.weight") { // PEFT names the one tensor twice
		want = slices.DeleteFunc(slices.Clone(want), func(n string) bool { return n == "lm_head.weight" })
	}
	slices.Sort(want)
	parts := x.fused(changed)
	if changed = slices.Sorted(maps.Keys(parts)); !slices.Equal(changed, want) {
		t.Errorf("merged tensors %v, want %v", changed, want)
	}
	for _, name := range changed {
		if right || !slices.Contains(bothEnds, name) {
			var got []float32
			for _, part := range parts[name] {
				got = append(got, values(t, src, part)...)
			}
			check.Close(t, name, got, values(t, ref, name), 1e-6, 1e-6) // one float32 rounding of sums of r terms
		}
	}
	logits := tasktest.Logits(t, x.ref, "")
	if right {
		logits = tasktest.Logits(t, ref, "reference.")
	}
	x.loadedLogits(t, src, logits, 2*abs)
}

// fused are the tensors that a merge changed, with their parts in the checkpoint, which has the weights of experts one by one.
func (x *fixture) fused(changed []string) map[string][]string {
	parts := map[string][]string{}
	within := map[string]bool{}
	for _, f := range x.m.Fused() {
		var list []string
		for _, expert := range f.Parts {
			for _, s := range expert {
				list = append(list, s.Tensor("weight"))
			}
		}
		if slices.Contains(changed, list[0]) {
			parts[f.Module+"."+f.Name] = list
		}
		for _, name := range list {
			within[name] = true
		}
	}
	for _, name := range changed {
		if !within[name] {
			parts[name] = []string{name}
		}
	}
	return parts
}

// fold writes the merged model and returns it with the names of what changed.
func (x *fixture) fold(t *testing.T) (*checkpoint.Checkpoint, []string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "merged")
	report, err := merge.Fold(t.Context(), merge.Job{Base: x.src, Deltas: x.adapter.(peft.Merger).Deltas(), Ties: peft.Ties(x.m), Out: out})
	if err != nil {
		t.Fatal(err)
	}
	var changed []string
	for _, c := range report.Changed {
		changed = append(changed, c.Tensor)
	}
	return open(t, out), changed
}

// loadedLogits compares the outputs of a model folder.
func (x *fixture) loadedLogits(t *testing.T, src *checkpoint.Checkpoint, want []float32, abs float64) {
	t.Helper()
	m, err := model.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	y := *x
	y.m, y.folded = m, m
	logits, _ := y.pass(t, kernel.ModeF32, false)
	check.Close(t, "merged logits", logits, want, abs, 1e-5)
}

// unmergeable wants a reason where PEFT fails to merge.
func (x *fixture) unmergeable(t *testing.T) {
	if x.c.MergeError == "" {
		return
	}
	if strings.Contains(x.c.MergeError, "RobertaClassificationHead") { // PEFT cannot merge beside a saved head of two layers; the files hold all it takes
		src, _ := x.fold(t)
		x.loadedLogits(t, src, tasktest.Logits(t, x.ref, ""), max(4e-5, 10*x.c.Noise.Logits)) // each weight rounds once more
		return
	}
	_, err := merge.Fold(t.Context(), merge.Job{Base: x.src, Deltas: x.adapter.(peft.Merger).Deltas(), Ties: peft.Ties(x.m), Out: filepath.Join(t.TempDir(), "merged")})
	if err == nil || !strings.Contains(err.Error(), "lora_bias cannot be folded") {
		t.Errorf("merge: %v, want a reason as in PEFT's %q", err, x.c.MergeError)
	}
}

// train compares the gradients, ten steps of AdamW and their result.
func (x *fixture) train(t *testing.T) {
	params := x.steps(t)
	file := open(t, filepath.Join(x.path, "adapter_trained", peft.TensorsFile))
	a := x.adapter
	if s, ok := a.(peft.Converter); ok && x.c.Type != "LORA" {
		_, a = s.Convert(x.config)
	}
	x.encoderTrained(t, params)
	for _, p := range train.NewParams(a.Params()) {
		if _, ill := x.c.Train.F64.Over[p.Name]; ill {
			continue // the reference itself is not within 1e-5 of its float64 run there
		}
		check.Close(t, "trained "+p.Name, x.used(p.Value), x.used(values(t, file, p.Name)), 1e-4, 1e-3) // Adam turns 1e-7 of a small gradient into 1e-5 of a step
	}
}

// steps runs ten steps of AdamW and compares losses and norms on the way.
func (x *fixture) steps(t *testing.T) []train.Param {
	c := x.c.Train
	if c.LRs == nil {
		c.LRs = slices.Repeat([]float64{c.Optimizer.LR}, c.Steps)
	}
	params := train.NewParams(x.adapter.Params())
	// One group with decay, as torch's AdamW was given.
	o, err := train.NewOptimizer("adamw", []train.Group{{Params: params, LearningRate: 1, WeightDecay: c.Optimizer.WeightDecay}},
		map[string]any{"betas": []any{c.Optimizer.Betas[0], c.Optimizer.Betas[1]}, "eps": c.Optimizer.Eps})
	if err != nil {
		t.Fatal(err)
	}
	a, scheduled := x.adapter.(peft.Scheduled)
	if scheduled {
		if err := a.Begin(c.Steps); err != nil {
			t.Fatal(err)
		}
	}
	for i := range c.Steps {
		o.ZeroGrad()
		_, loss := x.pass(t, kernel.ModeF32, true)
		if i == 0 {
			x.gradients(t, params)
		}
		if math.Abs(loss-c.Losses[i]) > 1e-4*c.Losses[i] {
			t.Errorf("step %d: loss %.7f, want %.7f", i, loss, c.Losses[i])
		}
		norm := o.GradNorm()
		if !isNorm(norm, c.GradNorms[i]) && !x.otherSide(t, o, params, c.GradNorms[i]) {
			t.Errorf("step %d: gradient norm %.6f, want %.6f", i, norm, c.GradNorms[i])
		}
		if c.MaxGradNorm != nil {
			o.Clip(norm, *c.MaxGradNorm)
		}
		o.Step(c.LRs[i])
		if scheduled {
			a.AfterStep(i)
		}
	}
	_, last := x.pass(t, kernel.ModeF32, false)
	if math.Abs(last-c.Losses[c.Steps]) > 1e-4*c.Losses[c.Steps] {
		t.Errorf("after training: loss %.7f, want %.7f", last, c.Losses[c.Steps])
	}
	return params
}

func isNorm(norm, want float64) bool { return math.Abs(norm-want) <= 1e-3*want }

// otherSide looks for the wanted gradients within rounding of the parameters, and leaves them there if that is where they are. A ReLU
// whose input is 0 within rounding makes the gradients jump, and the reference may have been on its other side.
func (x *fixture) otherSide(t *testing.T, o *train.Optimizer, params []train.Param, want float64) bool {
	const rounding = 1e-6 // a few steps' in float32, of numbers up to 3
	for _, shift := range []float32{-rounding, rounding} {
		var keep [][]float32
		for _, p := range params {
			keep = append(keep, slices.Clone(p.Value))
			for i := range p.Value {
				p.Value[i] += shift
			}
		}
		o.ZeroGrad()
		x.pass(t, kernel.ModeF32, true)
		for i, p := range params {
			copy(p.Value, keep[i])
		}
		if norm := o.GradNorm(); isNorm(norm, want) {
			t.Logf("at a jump of the gradient; on its other side the norm is %.6f, want %.6f", norm, want)
			return true
		}
	}
	return false
}

func (x *fixture) gradients(t *testing.T, params []train.Param) {
	if !slices.ContainsFunc(x.ref.Names(), func(n string) bool { return strings.HasPrefix(n, "grad.") }) {
		return // the cases of initialisers hold none
	}
	abs := max(2e-6, 10*x.c.Noise.Grad)
	n := 0
	for _, p := range params {
		name := p.Name
		for _, second := range secondNames(x.adapter) {
			if _, ok := x.ref.Info("grad." + name); !ok && name == embedding {
				name = "prompt_embeddings"
			}
			if _, ok := x.ref.Info("grad." + name); !ok {
				name = second
			}
		}
		if _, ok := x.ref.Info("grad." + name); !ok && name == embedding {
			name = "prompt_embeddings"
		}
		if _, ok := x.ref.Info("grad." + name); !ok {
			t.Errorf("no reference gradient of %s", p.Name)
			continue
		}
		n++
		check.Close(t, "gradient of "+p.Name, p.Grad, values(t, x.ref, "grad."+name), abs, 1e-4)
	}
	for _, name := range x.ref.Names() {
		if strings.HasPrefix(name, "grad.") {
			n--
		}
	}
	if n != 0 {
		t.Errorf("the reference has %d more gradients than the adapter parameters", -n)
	}
}

// secondNames are those under which the file has parameters once more.
func secondNames(a peft.Adapter) (names []string) {
	if x, ok := a.(peft.Extended); ok {
		for _, e := range x.Extras() {
			names = append(names, e.Name)
		}
	}
	return names
}

func values(t *testing.T, c *checkpoint.Checkpoint, name string) []float32 {
	t.Helper()
	v, err := c.Floats(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func integers(t *testing.T, c *checkpoint.Checkpoint, name string) []int {
	t.Helper()
	v, err := c.Ints(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
