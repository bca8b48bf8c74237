package methods_test

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/peft/pefttest"
	"github.com/nlpodyssey/spago/ag"
)

// small are settings of every method for the tiny model: q_proj [12, 12] and v_proj [6, 12] with biases.
var small = map[string]string{
	"lora": `{"r": 2}`, "adalora": `{"init_r": 3, "target_r": 1, "orth_reg_weight": 0}`, "vera": `{"r": 4}`, "loha": `{"r": 2}`,
	"lokr": `{"r": 2, "decompose_factor": 3, "decompose_both": true}`, "miss": `{"r": 5}`, "hira": `{"r": 2}`, "delora": `{"r": 2}`,
	"gralora": `{"r": 4, "hybrid_r": 1}`, "randlora": `{"r": 5, "randlora_alpha": 5}`, "vblora": `{"r": 2, "num_vectors": 5, "vector_length": 3, "topk": 2}`,
	"shira": `{"r": 2}`, "c3a": `{"block_size": 3}`, "fourierft": `{"n_frequency": 9}`, "waveft": `{"n_frequency": 9}`, "tinylora": `{"u": 3}`,
	"peanut": `{"r": 2, "depth": 1, "act_fn": "tanh"}`, "deft": `{"r": 2, "alpha": 4}`, "frod": `{"sparse_rate": 0.2}`, "unilora": `{"r": 2, "theta_d_length": 17}`, "glora": `{"r": 2, "config_D_E": "vector"}`,
	"ia3": `{"feedforward_modules": ["v_proj"]}`, "oft": `{"oft_block_size": 4, "use_cayley_neumann": false}`, "boft": `{"boft_block_size": 4}`,
	"hra": `{"r": 3, "apply_GS": true}`, "road": `{"group_size": 6, "variant": "road_4"}`, "beft": `{}`, "ln_tuning": `{"target_modules": ["norm", "input_layernorm"]}`,
	"trainable_tokens": `{"token_indices": [3, 7], "target_modules": ["embed_tokens"]}`,
}

// variants are further settings of some, as "method variant".
var variants = map[string]string{
	"miss bat": `{"r": 3, "init_weights": "bat"}`, "miss mini": `{"r": 4, "mini_r": 2, "init_weights": "mini"}`, "deft para": `{"r": 2, "para": true}`,
	"glora vector": `{"config_A_B": "vector", "config_C": "vector"}`, "glora constant": `{"config_A_B": "constant", "config_C": "none"}`,
	"tinylora tied": `{"u": 3, "weight_tying": 1}`, "oft series": `{"r": 3, "oft_block_size": 0, "block_share": true}`, "lokr lycoris": `{"r": 2, "init_weights": "lycoris"}`,
	"waveft plain": `{"n_frequency": 9, "use_idwt": false}`, "hra plain": `{"r": 2}`, "ia3 outputs": `{"feedforward_modules": []}`, "oft coft": `{"oft_block_size": 6, "coft": true, "eps": 100}`,
	"vera bias": `{"r": 3, "bias": "vera_only"}`,
}

// early are methods of what comes before a text. They choose no projections and cannot be folded: laws has a row for each.
var early = []string{"prefix_tuning", "prompt_tuning", "p_tuning", "adaption_prompt"}

// baselines train parts of the base itself. They choose no projections: laws has a row for each.
var baselines = []string{"freeze", "bitfit"}

// untrainable are methods that graft only uses.
var untrainable = []string{"pvera", "osf"}

// tiny is a random Qwen2, which has biases, with a vocabulary of 23.
func tiny(t *testing.T) *model.Model {
	t.Helper()
	arch, err := model.Lookup("qwen2")
	if err != nil {
		t.Fatal(err)
	}
	c := arch.Defaults()
	c.ModelType, c.HiddenSize, c.IntermediateSize, c.NumHiddenLayers, c.VocabSize = "qwen2", 12, 20, 2, 23
	c.NumAttentionHeads, c.NumKeyValueHeads, c.HeadDim, c.InitializerRange = 2, 1, 6, 0.3
	m, err := model.New(&c, rand.New(rand.NewPCG(31, 37)))
	if err != nil {
		t.Fatal(err)
	}
	for s := range m.Slots() {
		for i := range s.Base.Bias {
			s.Base.Bias[i] = 0.1 * float32(i%5-2)
		}
	}
	return m
}

var tokens, targets = []int32{3, 7, 7, 21, 0, 3}, []int32{7, 7, 21, 0, 3, 11}

// run returns the loss and the logits; with grad, gradients are added.
func run(t *testing.T, m *model.Model, grad bool) (float64, []float32) {
	t.Helper()
	p := op.NewPass([]op.Segment{{End: len(tokens)}}, []int32{0, 1, 2, 3, 4, 5}, kernel.ModeF32, op.NewArena())
	p.Grad = grad
	node, sums := op.CrossEntropy(p, m.Hidden(p, tokens), m.Head(), op.CrossEntropySpec{Targets: targets, Scale: 1})
	if grad {
		if err := ag.Backward(node); err != nil {
			t.Fatal(err)
		}
	}
	q := op.NewPass(p.Segments, p.Positions, kernel.ModeF32, op.NewArena())
	return sums.Loss, m.Logits(q, m.Hidden(q, tokens), []int{0, 1, 2, 3, 4, 5}).Data
}

// attached makes the adapter of a method with small settings and gives its parameters random values.
func attached(t *testing.T, name, settings string, m *model.Model) (peft.Config, peft.Adapter) {
	t.Helper()
	method, err := methods.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]json.RawMessage
	if err := json.Unmarshal([]byte(settings), &o); err != nil {
		t.Fatal(err)
	}
	if _, ok := o["target_modules"]; !ok {
		o["target_modules"] = json.RawMessage(`["q_proj", "v_proj"]`)
	}
	c := method.New()
	if err := peft.Configure(c, method.Type, o); err != nil {
		t.Fatal(err)
	}
	a, err := c.Attach(m, rand.New(rand.NewPCG(5, 6)))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for _, p := range a.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i] += float32(0.2 * rng.NormFloat64())
		}
	}
	return c, a
}

// TestEveryMethod holds every method to what all must do, on a model with biases: detaching gives the base back, gradients
// are those of the loss, what is saved loads to the same outputs and the same bytes, and the folded weights give the same.
func TestEveryMethod(t *testing.T) {
	cases := map[string]string{}
	for _, m := range methods.All {
		if slices.Contains(untrainable, m.Name) || ownLaws(m.Name) {
			continue
		}
		s, ok := small[m.Name]
		if !ok {
			t.Errorf("%s: no settings in the table of this test", m.Name)
			continue
		}
		cases[m.Name] = s
	}
	for name, s := range variants {
		cases[name] = s
	}
	for name, settings := range cases {
		method, _, _ := strings.Cut(name, " ")
		t.Run(name, func(t *testing.T) {
			m := tiny(t)
			_, before := run(t, m, false)
			c, a := attached(t, method, settings, m)
			slopes(t, m, a)
			_, with := run(t, m, false)
			if slices.Equal(with, before) {
				t.Error("the adapter changes nothing")
			}
			saved(t, c, a, with)
			folded(t, a, with)
			a.Detach()
			if _, after := run(t, m, false); !slices.Equal(after, before) {
				t.Error("detaching does not give the base back")
			}
		})
	}
}

// slopes compares the gradient in a random direction with differences of the loss.
func slopes(t *testing.T, m *model.Model, a peft.Adapter) {
	run(t, m, true)
	rng := rand.New(rand.NewPCG(9, 10))
	const step = 2e-3
	for name, p := range a.Params() {
		x, g := op.Data(p), op.GradOf(p)
		dir, want := make([]float32, len(x)), 0.0
		for i := range dir {
			dir[i] = float32(rng.NormFloat64())
			want += float64(dir[i]) * float64(g[i])
		}
		move := func(f float32) float64 {
			kernel.Axpy(x, f, dir)
			loss, _ := run(t, m, false)
			kernel.Axpy(x, -f, dir)
			return loss
		}
		got := (move(step) - move(-step)) / (2 * step)
		if math.Abs(got-want) > 2e-2*math.Abs(want)+1e-2 { // float32 losses near 20 leave three digits of a difference
			t.Errorf("%s: slope %.5f, want %.5f", name, got, want)
		}
	}
}

// saved writes the adapter and loads it onto another model.
func saved(t *testing.T, c peft.Config, a peft.Adapter, want []float32) {
	dir, again := t.TempDir(), t.TempDir()
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	m := tiny(t)
	c2, a2, err := methods.Load(dir, m, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	if _, got := run(t, m, false); !slices.Equal(got, want) {
		t.Errorf("loaded, the outputs differ by up to %g", check.MaxDiff(got, want))
	}
	if err := peft.Save(again, c2, a2); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{peft.ConfigFile, peft.TensorsFile} {
		if !bytes.Equal(read(t, filepath.Join(dir, name)), read(t, filepath.Join(again, name))) {
			t.Errorf("%s: saved, loaded and saved again it differs", name)
		}
	}
}

// folded puts the deltas into the weights of another model.
func folded(t *testing.T, a peft.Adapter, want []float32) {
	m := tiny(t)
	for _, d := range a.(peft.Merger).Deltas() {
		rows, cols := d.Dims()
		name := d.Target()[:strings.LastIndexByte(d.Target(), '.')]
		for _, v := range m.Vectors() {
			if v.Name == d.Target() {
				copy(v.Value, applied(d, v.Value, rows, cols))
			}
		}
		for s := range m.Slots() {
			switch {
			case s.Name != name:
			case strings.HasSuffix(d.Target(), ".bias"):
				copy(s.Base.Bias, applied(d, s.Base.Bias, rows, cols))
			default:
				refit(s, d, rows, cols)
			}
		}
	}
	_, got := run(t, m, false)
	check.Close(t, "folded logits", got, want, 1e-4, 1e-4) // other orders of float32 sums
}

// refit gives a slot a new weight.
func refit(s *layer.Slot, d merge.Delta, rows, cols int) {
	base := make([]float32, rows*cols)
	for i := range rows {
		s.Base.W.Row(base[i*cols:(i+1)*cols], i)
	}
	w := kernel.FrozenF32(applied(d, base, rows, cols), rows, cols)
	s.Base.W = w
	if table, ok := s.Lookup.(*layer.Table); ok {
		table.W = w
	}
}

// applied is a tensor with its delta.
func applied(d merge.Delta, base []float32, rows, cols int) []float32 {
	out := slices.Clone(base)
	switch d := d.(type) {
	case merge.Adder:
		clear(out)
		d.AddTo(0, rows, out)
		kernel.Add(out, base)
	case merge.Setter:
		d.SetTo(0, rows, out)
	case merge.Changer:
		d.Change(0, rows, base, out)
	}
	return out
}

// lawSettings are settings in the place of small's for the models of the laws, whose sides are multiples of 4.
var lawSettings = map[string]string{
	"vblora": `{"r": 2, "num_vectors": 5, "vector_length": 2, "topk": 2}`, "c3a": `{"block_size": 2}`, "road": `{"group_size": 4, "variant": "road_2"}`,
	"ln_tuning": `{}`, "hra": `{"r": 2}`,
	// Ranks are given up from the second step of five on, but no target loses all of them.
	"adalora": `{"init_r": 3, "target_r": 2, "tinit": 1, "tfinal": 1, "deltaT": 1, "orth_reg_weight": 0.3}`,
}

// lawTargets are the targets on the two models that stand for all: one with biases, one whose weights are stored transposed
// and whose names have a prefix in the file. The laws of LoRA go over all models.
var lawTargets = map[string]string{"qwen2": `["q_proj", "v_proj"]`, "gpt2": `["c_attn"]`}

// moving are methods that change the model as soon as they are attached.
var moving = []string{"vblora", "unilora", "c3a", "fourierft", "hra"}

// rounding are methods that then change it by rounding alone.
var rounding = []string{"deft"}

// othersLaws are the rows of all methods but LoRA.
func othersLaws() (rows []pefttest.Case) {
	for _, m := range methods.All {
		if m.Name == "lora" || slices.Contains(untrainable, m.Name) || ownLaws(m.Name) {
			continue
		}
		settings := small[m.Name]
		if s, ok := lawSettings[m.Name]; ok {
			settings = s
		}
		rows = append(rows, pefttest.Case{Name: m.Name, Method: m, Identity: !slices.Contains(moving, m.Name) && !slices.Contains(rounding, m.Name), Nearly: slices.Contains(rounding, m.Name), Mergeable: true,
			Config: func(base layer.Model) peft.Config { return lawConfig(m, settings, base) }})
	}
	return rows
}

// lawConfig is nil on models that are not looked at.
func lawConfig(m peft.Method, settings string, base layer.Model) peft.Config {
	targets, ok := lawTargets[base.ModelType()]
	if base.ModelType() == "bert" {
		targets, ok = `["query", "value"]`, true
	}
	for s := range base.Slots() {
		ok = ok && (base.ModelType() != "gpt2" || s.Kind != layer.Head || s.Tied) // one of the two is enough
	}
	if !ok {
		return nil
	}
	var o map[string]json.RawMessage
	if json.Unmarshal([]byte(settings), &o) != nil {
		panic(settings)
	}
	switch m.Name {
	case "ln_tuning":
	case "trainable_tokens":
		o["target_modules"], _ = json.Marshal([]string{embeddingName(base)})
	default:
		o["target_modules"] = json.RawMessage(targets)
	}
	c := m.New()
	if err := peft.Configure(c, m.Type, o); err != nil {
		panic(err)
	}
	return c
}
