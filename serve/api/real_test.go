package api

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/internal/synth"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/serve"
)

// tinyLlama has the vocabulary of the fakes' tokenizer.
const tinyLlama = `{"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
 "head_dim": 8, "vocab_size": 2048, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": true}`

// openTiny makes a small model of random weights.
func openTiny(t testing.TB, seed uint64) *model.Model {
	dir := t.TempDir()
	if err := synth.Write(dir, []byte(tinyLlama), seed, synth.Options{}); err != nil {
		t.Fatal(err)
	}
	return modeltest.Open(t, dir).Model
}

// saveLoRA writes a LoRA that changes much; change may spoil a number.
func saveLoRA(t testing.TB, m *model.Model, dir string, seed uint64, change func(x []float32)) {
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	c := lora.New()
	c.Rank, c.Alpha, c.TargetModules = 2, 6, peft.Names{Pattern: peft.AllLinear}
	rng := rand.New(rand.NewPCG(seed, 1))
	a, err := c.Attach(view, rng)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Params() {
		x := op.Data(p)
		for i := range x {
			x[i] += float32(0.3 * rng.NormFloat64())
		}
		if change != nil {
			change(x)
		}
	}
	if err := peft.Identify(context.Background(), c, m); err != nil {
		t.Fatal(err)
	}
	if err := peft.Save(dir, c, a); err != nil {
		t.Fatal(err)
	}
}

// realWorld is a server over a small model, with the adapters a and b loaded and the folder dir for more.
func realWorld(t testing.TB, change func(*Config)) (w *world, m *model.Model, dir string) {
	m = openTiny(t, 1)
	dir = t.TempDir()
	r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All})
	for i, name := range []string{"a", "b"} {
		saveLoRA(t, m, filepath.Join(dir, name), uint64(i), nil)
		if _, err := r.Load(context.Background(), name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	e := serve.NewEngine(m, r, serve.EngineOptions{Mode: kernel.ModeF32})
	w = newWorld(t, func(c *Config) {
		c.Engine, c.Adapters, c.Folder, c.Runtime = e, r, dir, true
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(func() {
		w.Close()
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w, m, dir
}

// ask is the text of a greedy completion.
func (w *world) ask(model string) string {
	r := w.post(200, completionsPath, `{"model": "`+model+`", "prompt": "name = Stone Oven", "max_tokens": 12, "temperature": 0, "ignore_eos": true}`)
	return at(w.t, r.body, "choices", 0, "text").(string)
}

// TestRealEngine asks a real model through real adapters, in each form.
func TestRealEngine(t *testing.T) {
	w, m, dir := realWorld(t, nil)
	base, a, b := w.ask("base"), w.ask("a"), w.ask("b")
	if base == a || a == b || base == b {
		t.Fatalf("the base says %q, its adapters %q and %q, want three texts", base, a, b)
	}
	lorax := w.post(200, "/generate", `{"inputs": "name = Stone Oven", "parameters": {"adapter_id": "a", "max_new_tokens": 12, "ignore_eos_token": true}}`)
	if got := at(t, lorax.body, "generated_text"); got != a {
		t.Errorf("LoRAX's form says %q, want %q", got, a)
	}
	for _, c := range []struct{ scale, want string }{{"1", a}, {"0", base}} {
		r := w.post(200, completionsPath, `{"prompt": "name = Stone Oven", "max_tokens": 12, "temperature": 0, "ignore_eos": true, "lora": [{"id": 0, "scale": `+c.scale+`}]}`)
		if got := at(t, r.body, "choices", 0, "text"); got != c.want {
			t.Errorf("with a at %s it says %q, want %q", c.scale, got, c.want)
		}
	}
	t.Run("replaced while it runs", func(t *testing.T) {
		w := w.on(t)
		saveLoRA(t, m, filepath.Join(dir, "new"), 9, nil)
		w.post(400, loadPath, `{"lora_name": "a", "lora_path": "new"}`)
		r := w.post(200, loadPath, `{"lora_name": "a", "lora_path": "new", "load_inplace": true}`)
		if want := "Success: LoRA adapter 'a' added successfully."; r.body != want {
			t.Errorf("answer is %q, want %q", r.body, want)
		}
		if now := w.ask("a"); now == a {
			t.Errorf("after the replacement a says what it said before: %q", now)
		}
		w.post(200, unloadPath, `{"lora_name": "a"}`)
		w.post(404, completionsPath, `{"prompt": "x", "model": "a"}`)
	})
	t.Run("embeddings in both forms", func(t *testing.T) {
		v := at(t, w.on(t).post(200, "/v1/embeddings", `{"input": ["a text"], "model": "b"}`).body, "data", 0, "embedding").([]any)
		sum := 0.0
		for _, x := range v {
			sum += x.(float64) * x.(float64)
		}
		if math.Abs(sum-1) > 1e-5 { // float32, 16 numbers
			t.Errorf("length² is %g, want 1", sum)
		}
	})
	t.Run("wrong task", func(t *testing.T) {
		w.on(t).post(400, "/classify", `{"input": "x"}`)
		w.on(t).post(400, "/ner", `{"input": "x"}`)
	})
}

// TestHostileAdapters has files that are no good for this base refused, and nothing changed by them.
func TestHostileAdapters(t *testing.T) {
	w, m, dir := realWorld(t, nil)
	saveLoRA(t, m, filepath.Join(dir, "nan"), 2, func(x []float32) { x[0] = float32(math.NaN()) })
	saveLoRA(t, m, filepath.Join(dir, "inf"), 2, func(x []float32) { x[0] = float32(math.Inf(1)) })
	saveLoRA(t, m, filepath.Join(dir, "zero"), 2, func(x []float32) { clear(x) })
	saveLoRA(t, openTiny(t, 7), filepath.Join(dir, "other-base"), 2, nil)
	for name, spoil := range map[string]func(dir string){
		"cut":    func(dir string) { truncate(t, filepath.Join(dir, peft.TensorsFile)) },
		"header": func(dir string) { write(t, filepath.Join(dir, peft.TensorsFile), "\xff\xff\xff\xff\xff\xff\xff\x7f{}") },
		"config": func(dir string) { write(t, filepath.Join(dir, peft.ConfigFile), `{"peft_type": "LORA", "r": -3}`) },
		"rank": func(dir string) {
			write(t, filepath.Join(dir, peft.ConfigFile), `{"peft_type": "LORA", "r": 1000000000}`)
		},
		"method": func(dir string) { write(t, filepath.Join(dir, peft.ConfigFile), `{"peft_type": "NONE_SUCH"}`) },
		"patterns": func(dir string) {
			write(t, filepath.Join(dir, peft.ConfigFile), `{"peft_type": "LORA", "target_modules": "(((((.*)*)*)*)*)x"}`)
		},
		"missing": func(dir string) { os.Remove(filepath.Join(dir, peft.TensorsFile)) },
	} {
		saveLoRA(t, m, filepath.Join(dir, name), 2, nil)
		spoil(filepath.Join(dir, name))
	}
	before := w.ask("a")
	for _, name := range []string{"nan", "inf", "zero", "other-base", "cut", "header", "config", "rank", "method", "patterns", "missing"} {
		for _, as := range []string{"fresh", "a"} {
			t.Run(name+" as "+as, func(t *testing.T) {
				r := w.on(t).post(400, loadPath, `{"lora_name": "`+as+`", "lora_path": "`+name+`", "load_inplace": true}`)
				if strings.Contains(r.body, dir) || at(t, r.body, "error", "type") != invalidInput {
					t.Errorf("the answer tells where adapters lie, or is not vLLM's: %s", r.body)
				}
			})
		}
	}
	if names := w.names(); !slices.Equal(names, []string{"base", "a", "b"}) {
		t.Errorf("models are %q, want base, a and b", names)
	}
	if now := w.ask("a"); now != before {
		t.Errorf("a says %q, want %q as before", now, before)
	}
}

// names lists the models.
func (w *world) names() (list []string) {
	var models struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(w.get(200, "/v1/models").body), &models); err != nil {
		w.t.Fatal(err)
	}
	for _, m := range models.Data {
		list = append(list, m.ID)
	}
	return list
}

func truncate(t testing.TB, path string) {
	st, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, st.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRealLabels asks models with heads for labels.
func TestRealLabels(t *testing.T) {
	for _, c := range []struct{ class, path, task string }{{"BertForSequenceClassification", "/classify", "classify"}, {"BertForTokenClassification", "/ner", "ner"}} {
		t.Run(c.path, func(t *testing.T) {
			m := modeltest.Open(t, modeltest.Write(t, modeltest.Config{Name: "bert", JSON: `{"model_type": "bert", "architectures": ["` + c.class + `"], "hidden_size": 16,
				"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 2048, "max_position_embeddings": 64, "type_vocab_size": 2,
				"id2label": {"0": "O", "1": "B-PER", "2": "B-ORG"}}`})).Model
			r := serve.NewRegistry(m, serve.RegistryOptions{Table: methods.All})
			e := serve.NewEngine(m, r, serve.EngineOptions{Mode: kernel.ModeF32})
			w := newWorld(t, func(x *Config) { x.Engine, x.Adapters, x.Task, x.MaxLen = e, r, c.task, 64 })
			defer func() {
				w.Close()
				if err := e.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			body := w.post(200, c.path, `{"input": ["Stone Oven serves rice", "石窑"]}`).body
			if c.task == "classify" {
				sum := 0.0
				for _, p := range at(t, body, "data", 0, "probs").([]any) {
					sum += p.(float64)
				}
				if labels := at(t, body, "data", 1, "labels").([]any); math.Abs(sum-1) > 1e-5 || len(labels) != 3 { // three float32
					t.Errorf("probabilities sum to %g over %d classes, want 1 over 3\n%s", sum, len(labels), body)
				}
				w.post(200, c.path, `{"input": "Stone Oven", "text_pair": "rice"}`)
			}
			for _, x := range at(t, body, "data").([]any) {
				list, _ := x.(map[string]any)["entities"].([]any)
				for _, e := range list {
					if kind := e.(map[string]any)["type"]; kind != "PER" && kind != "ORG" {
						t.Errorf("an entity of the type %v", kind)
					}
				}
			}
			w.post(400, completionsPath, `{"prompt": "a"}`)
			w.post(400, c.path, `{"input": "`+strings.Repeat("word ", 200)+`"}`)
		})
	}
}
