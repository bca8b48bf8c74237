package lora

import (
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
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/ag"
)

// tiny is a random Qwen2, which has biases, with a vocabulary of 23.
func tiny(t *testing.T, tied bool) *model.Model {
	t.Helper()
	arch, err := model.Lookup("qwen2")
	if err != nil {
		t.Fatal(err)
	}
	c := arch.Defaults()
	c.ModelType, c.HiddenSize, c.IntermediateSize, c.NumHiddenLayers, c.VocabSize = "qwen2", 12, 20, 2, 23
	c.NumAttentionHeads, c.NumKeyValueHeads, c.HeadDim, c.InitializerRange, c.TieWordEmbeddings = 2, 1, 6, 0.3, tied
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

// pass returns the loss, and the logits unless gradients are wanted.
func pass(t *testing.T, m *model.Model, grad bool) (float64, []float32) {
	t.Helper()
	p := op.NewPass([]op.Segment{{End: len(tokens)}}, []int32{0, 1, 2, 3, 4, 5}, kernel.ModeF32, op.NewArena())
	p.Grad = grad
	h := m.Hidden(p, tokens)
	node, sums := op.CrossEntropy(p, h, m.Head(), op.CrossEntropySpec{Targets: targets, Scale: 1})
	if grad {
		if err := ag.Backward(node); err != nil {
			t.Fatal(err)
		}
		return sums.Loss, nil
	}
	q := op.NewPass(p.Segments, p.Positions, kernel.ModeF32, op.NewArena())
	return sums.Loss, m.Logits(q, m.Hidden(q, tokens), []int{0, 1, 2, 3, 4, 5}).Data
}

// settings are the options by name, with what else they need.
func settings(change func(c *Config)) *Config {
	c := New()
	c.Rank, c.Alpha, c.TargetModules = 2, 5, peft.Names{List: []string{"q_proj", "down_proj"}}
	change(c)
	return c
}

// attach attaches and moves every parameter a little.
func attach(t *testing.T, m *model.Model, c *Config) *Adapter {
	t.Helper()
	a, err := c.Attach(m, rand.New(rand.NewPCG(41, 43)))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(47, 53))
	for _, p := range a.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i] += float32(0.2 * rng.NormFloat64())
		}
	}
	return a.(*Adapter)
}

// variants are settings whose adapters must keep the laws.
var variants = []struct {
	name   string
	tied   bool
	change func(c *Config)
}{
	{"DoRA of embedding and head", false, func(c *Config) {
		c.UseDoRA, c.TargetModules.List = true, []string{"embed_tokens", "lm_head", "v_proj"}
	}},
	{"PiSSA, rsLoRA, patterns, DoRA, an embedding", false, func(c *Config) {
		c.Init, c.UseDoRA, c.UseRSLoRA, c.TargetModules.List = "pissa", true, true, []string{"q_proj", "o_proj", "embed_tokens"}
		c.RankPattern, c.AlphaPattern = peft.Pattern{peft.NewEntry("o_proj", 3)}, peft.Pattern{peft.NewEntry("q_proj", 7)}
	}},
	{"OLoRA", false, func(c *Config) { c.Init = "olora" }},
	{"biases of both kinds", false, func(c *Config) {
		c.LoraBias, c.Beside.Bias, c.TargetModules.List = true, "all", []string{"q_proj", "v_proj"}
	}},
	{"saved modules and norms", false, func(c *Config) { c.Beside.ModulesToSave = []string{"lm_head", "norm", "1.mlp"} }},
	{"saved tied ends", true, func(c *Config) { c.Beside.ModulesToSave, c.Beside.Tie = []string{"embed_tokens"}, true }},
	{"a tied head follows its embedding", true, func(c *Config) {
		c.TargetModules.List, c.Beside.Tie = []string{"embed_tokens", "q_proj"}, true
	}},
	{"both ends of a tie", true, func(c *Config) { c.TargetModules.List = []string{"embed_tokens", "lm_head"} }},
	{"the head of a tie", true, func(c *Config) { c.TargetModules.List = []string{"lm_head"} }},
	{"tokens at both ends", true, func(c *Config) { c.Beside.TokenIndices.List = []int{7, 3, 22} }},
	{"tokens at one end", false, func(c *Config) { c.Beside.TokenIndices.List = []int{7, 3} }},
	{"tokens by module", true, func(c *Config) {
		c.Beside.TokenIndices.ByModule = map[string][]int{"embed_tokens": {7}, "lm_head": {3, 11}}
	}},
}

func TestVariants(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := tiny(t, v.tied)
			_, before := pass(t, m, false)
			c := settings(v.change)
			a := attach(t, m, c)
			_, logits := pass(t, m, false)
			if check.MaxDiff(before, logits) < 1e-3 {
				t.Fatal("the adapter changes nothing")
			}
			t.Run("a stored adapter is the adapter", func(t *testing.T) { stored(t, v.tied, c, a, logits) })
			t.Run("merged = unmerged", func(t *testing.T) { merged(t, m, a, logits) })
			t.Run("gradients are differences of the loss", func(t *testing.T) { lossDifferences(t, m, c, a) })
			a.Detach()
			if _, after := pass(t, m, false); !slices.Equal(after, before) {
				t.Error("detached, the model differs from what it was")
			}
		})
	}
}

// stored saves, loads into another model, and saves again.
func stored(t *testing.T, tied bool, c *Config, a *Adapter, logits []float32) {
	dir, again := t.TempDir(), t.TempDir()
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
	m := tiny(t, tied)
	config, b, err := peft.Load(dir, m, []peft.Method{Method}, peft.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	_, got := pass(t, m, false)
	check.Close(t, "logits", got, logits, 1e-4, 1e-5) // logits of ten, and PiSSA's start is computed in another order
	if err := peft.Save(again, config, b); err != nil {
		t.Fatal(err)
	}
	sameFiles(t, dir, again)
}

// merged folds the adapter into a checkpoint of the model.
func merged(t *testing.T, m *model.Model, a *Adapter, logits []float32) {
	base := checkpointOf(t, m)
	out := filepath.Join(t.TempDir(), "merged")
	if _, err := merge.Fold(t.Context(), merge.Job{Base: base, Deltas: a.Deltas(), Ties: peft.Ties(m), Out: out}); err != nil {
		t.Fatal(err)
	}
	whole := loaded(t, out)
	_, got := pass(t, whole, false)
	check.Close(t, "logits", got, logits, 1e-4, 1e-5)
}

// lossDifferences compares some gradients with central differences. With DoRA those of the factors are others, because the lengths
// count as constant.
func lossDifferences(t *testing.T, m *model.Model, c *Config, a *Adapter) {
	for _, p := range a.Params() {
		clear(op.GradOf(p))
	}
	pass(t, m, true)
	for name, p := range a.Params() {
		if c.UseDoRA && !strings.HasSuffix(name, magnitude) {
			continue
		}
		value, grad := op.Data(p), op.GradOf(p)
		for i := 0; i < len(value); i += 1 + len(value)/7 {
			const h = 2e-3
			v := value[i]
			value[i] = v + h
			up, _ := pass(t, m, false)
			value[i] = v - h
			down, _ := pass(t, m, false)
			value[i] = v
			want := (up - down) / (2 * h)
			if d := math.Abs(float64(grad[i]) - want); d > 2e-2+5e-3*math.Abs(want) { // the loss of about 20 is float32's, and third derivatives
				t.Errorf("%s[%d]: gradient %g, want %g", name, i, grad[i], want)
			}
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		tied   bool
		change func(c *Config)
		want   string
	}{
		{"lora_bias with DoRA", false, func(c *Config) { c.LoraBias, c.UseDoRA = true, true }, "lora_bias and use_dora are both true"},
		{"lora_bias with an initialiser", false, func(c *Config) { c.LoraBias, c.Init = true, "gaussian" }, `lora_bias is true with init_lora_weights "gaussian"`},
		{"lora_bias of an embedding", false, func(c *Config) { c.LoraBias, c.TargetModules.List = true, []string{"embed_tokens"} }, `match the embedding "model.embed_tokens", which has none`},
		{"experts of a model without any", false, func(c *Config) { c.TargetParameters = []string{"experts.down_proj"} }, `target_parameters "experts.down_proj" matches nothing; the model has no weights of experts`},
		{"experts with dropout", false, func(c *Config) { c.TargetParameters, c.Dropout, c.UseDoRA = []string{"experts.down_proj"}, 0.1, true }, "target_parameters do not go with lora_dropout"},
		{"an unknown bias", false, func(c *Config) { c.Beside.Bias = "some" }, `bias is "some", want "none", "all" or "lora_only"`},
		{"a module that is not there", false, func(c *Config) { c.Beside.ModulesToSave = []string{"lm_heed"} }, `modules_to_save ["lm_heed"] match no module; close names: lm_head`},
		{"a target inside a saved module", false, func(c *Config) {
			c.TargetModules.List, c.Beside.ModulesToSave = []string{"q_proj"}, []string{"self_attn"}
		}, "match no module"},
		{"a target that a saved end means", false, func(c *Config) { c.Beside.ModulesToSave = []string{"_proj"} }, `modules_to_save "_proj" and target_modules both match`},
		{"a token twice", false, func(c *Config) { c.Beside.TokenIndices.List = []int{3, 3} }, "trainable_token_indices has 3, want every id once"},
		{"a token beyond", false, func(c *Config) { c.Beside.TokenIndices.List = []int{23} }, "trainable_token_indices has 23, want below 23"},
		{"tokens of no module", false, func(c *Config) { c.Beside.TokenIndices.ByModule = map[string][]int{"wte": {1}} }, `"wte" matches no module`},
		{"tokens of an adapted embedding", false, func(c *Config) { c.TargetModules.List, c.Beside.TokenIndices.List = []string{"embed_tokens"}, []int{3} }, "want one of them"},
		{"DoRA of a tie", true, func(c *Config) { c.UseDoRA, c.Beside.Tie, c.TargetModules.List = true, true, []string{"embed_tokens"} }, "ensure_weight_tying and use_dora are both true"},
		{"PiSSA of too high a rank", false, func(c *Config) { c.Init, c.Rank = "pissa", 13 }, "want at most 12 (model.layers.0.self_attn.q_proj)"},
		{"PiSSA of a negative alpha", false, func(c *Config) { c.Init, c.Alpha = "pissa", -3 }, "want lora_alpha above 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := tiny(t, c.tied)
			_, before := pass(t, m, false)
			_, err := settings(c.change).Attach(m, rand.New(rand.NewPCG(1, 2)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Attach: %v, want …%s…", err, c.want)
			}
			if _, after := pass(t, m, false); !slices.Equal(before, after) {
				t.Error("the model changed")
			}
		})
	}
}

func TestRefusedKeys(t *testing.T) {
	for _, r := range refused {
		c := New()
		c.FromFile = true
		if err := c.Parse([]byte(`{"peft_type": "LORA", "` + r.key + `": [[0, 2], [1, 2]]}`)); err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), r.key+" is [[0,2],[1,2]], which is not supported: "+r.why) {
			t.Errorf("%s: %v, want its reason", r.key, err)
		}
	}
	c := New()
	c.FromFile = true
	if err := c.Parse([]byte(`{"peft_type": "LORA", "init_lora_weights": "eva", "corda_config": {"x": 1}}`)); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil { // its file holds plain LoRA
		t.Errorf("a trained adapter that began by EVA: %v", err)
	}
	if want := `key "corda_config" has no effect`; len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], want) {
		t.Errorf("warnings %q, want …%s…", c.Warnings, want)
	}
}
