package recipes

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

const head = "[model]\npath = \"m\"\n[data]\npath = \"d\"\n"

// wrong is a recipe with the first line of each problem.
var wrong = []struct {
	name, src string
	sets      []string
	want      []string
}{
	{"empty", "", nil, []string{`r.toml: model.path is missing, want the folder of the base model, or "builtin:quickstart"`, `r.toml: data.path is missing, want a file or folder, or [[data.sources]]`}},
	{"syntax", "[model\npath = 1", nil, []string{`r.toml:2:7: expected '.' or ']' to end table name`}},
	{"duplicate key", "[model]\npath = \"a\"\npath = \"b\"", nil, []string{`r.toml:3:`}},
	{"unknown section", head + "[trian]\nseed = 1\n", nil, []string{`r.toml:5:2: unknown section "trian" (did you mean [train]?)`}},
	{"unknown key", head + "[train]\nsede = 1\n", nil, []string{`r.toml:6:1: unknown key "train.sede" (did you mean train.seed?)`}},
	{"far from any key", head + "[train]\nzzzzzzzz = 1\n", nil, []string{`r.toml:6:1: unknown key "train.zzzzzzzz"`}},
	{"another tool's word", head + "[method]\nlora_r = 8\n", nil, []string{`r.toml:6:1: unknown key "method.lora_r" (did you mean method.r?)`}},
	{"at top level", "lora_r = 8\n" + head, nil, []string{`r.toml:1:1: unknown key "lora_r" (did you mean method.r?)`}},
	{"wrong section", head + "[method]\nlearning_rate = 1e-3\n", nil, []string{`r.toml:6:1: unknown key "method.learning_rate" (did you mean train.learning_rate?)`}},
	{"micro_batch_size", head + "[train]\nmicro_batch_size = 8\n", nil, []string{`r.toml:6:1: unknown key "train.micro_batch_size" (did you mean train.batch_size?)`}},
	{"num_epochs", head + "[train]\nnum_epochs = 8\n", nil, []string{`r.toml:6:1: unknown key "train.num_epochs" (did you mean train.epochs?)`}},
	{"val_set_size", head + "val_set_size = 0.1\n", nil, []string{`r.toml:5:1: unknown key "data.val_set_size" (did you mean data.eval_fraction?)`}},
	{"cutoff_len", head + "cutoff_len = 10\n", nil, []string{`r.toml:5:1: unknown key "data.cutoff_len" (did you mean data.sequence_len?)`}},
	{"wrong case", head + "[train]\nSeed = 1\n", nil, []string{`r.toml:6:1: unknown key "train.Seed" (did you mean train.seed?)`}},
	{"dash for underscore", head + "[train]\nbatch-size = 1\n", nil, []string{`r.toml:6:1: unknown key "train.batch-size" (did you mean train.batch_size?)`}},
	{"string for number", head + "[train]\nlearning_rate = \"fast\"\n", nil, []string{`r.toml:6:1: train.learning_rate is "fast", want a number`}},
	{"float for whole number", head + "[method]\nr = 8.5\n", nil, []string{`r.toml:6:1: method.r is 8.5, want a whole number`}},
	{"number for string", "[model]\npath = 3\n[data]\npath = \"d\"\n", nil, []string{`r.toml:2:1: model.path is 3, want a string`}},
	{"number for bool", head + "[method]\nuse_rslora = 1\n", nil, []string{`r.toml:6:1: method.use_rslora is 1, want true or false`}},
	{"negative seed", head + "[train]\nseed = -1\n", nil, []string{`r.toml:6:1: train.seed is -1, want a whole number`}},
	{"list of numbers for names", head + "[method]\ntarget_modules = [1, 2]\n", nil, []string{`r.toml:6:1: method.target_modules is a list, want a string or a list of strings`}},
	{"table for value", head + "[train.seed]\nx = 1\n", nil, []string{`r.toml:5:`}},
	{"value for section", "train = 3\n" + head, nil, []string{`r.toml:1:1: train is 3, want a table [train]`}},
	{"rank zero", head + "[method]\nr = 0\n", nil, []string{`r.toml:6:1: method.r is 0, want at least 1`}},
	{"dropout one", head + "[method]\nlora_dropout = 1.0\n", nil, []string{`r.toml:6:1: method.lora_dropout is 1, want at least 0 and below 1`}},
	{"negative rate", head + "[train]\nlearning_rate = -1.0\n", nil, []string{`r.toml:6:1: train.learning_rate is -1, want at least 0`}},
	{"zero rate", head + "[train]\nlearning_rate = 0\n", nil, []string{`r.toml:6:1: train.learning_rate is 0, which would train nothing`}},
	{"zero epochs", head + "[train]\nepochs = 0\n", nil, []string{`r.toml:6:1: train.epochs is 0, want above 0`}},
	{"top_p above one", head + "[generate]\ntop_p = 1.5\n", nil, []string{`r.toml:6:1: generate.top_p is 1.5, want at least 0 and at most 1`}},
	{"unknown choice", head + "[train]\nlr_scheduler = \"cosin\"\n", nil, []string{`r.toml:6:1: train.lr_scheduler is "cosin", want one of`}},
	{"unknown method", head + "[method]\ntype = \"lora2\"\n", nil, []string{`r.toml:6:1: method.type is "lora2", want one of lora, adalora`}},
	{"unknown compute", "[model]\npath = \"m\"\ncompute = \"fp16\"\n[data]\npath = \"d\"\n", nil, []string{`r.toml:3:1: model.compute is "fp16", want one of auto, f32, bf16, split`}},
	{"two warm-ups", head + "[train]\nwarmup_steps = 3\nwarmup_ratio = 0.1\n", nil, []string{`r.toml:7:1: train.warmup_steps and train.warmup_ratio are both set, want one of them`}},
	{"epochs and steps", head + "[train]\nepochs = 3\nmax_steps = 10\n", nil, []string{`r.toml:7:1: train.epochs and train.max_steps are both set, want one of them`}},
	{"two held-out sets", head + "eval_path = \"e\"\neval_fraction = 0.1\n", nil, []string{`r.toml:6:1: data.eval_path and data.eval_fraction are both set, want one of them`}},
	{"path and sources", head + "[[data.sources]]\npath = \"x\"\n", nil, []string{`r.toml:5:8: data.path and data.sources are both set, want one of them`}},
	{"source without path", "[model]\npath = \"m\"\n[[data.sources]]\nweight = 2\n", nil, []string{`r.toml:3:8: data.sources: an element has no path`}},
	{"unknown key of a source", "[model]\npath = \"m\"\n[[data.sources]]\npath = \"x\"\nweigth = 2\n", nil, []string{`r.toml:5:1: unknown key "data.sources.weigth" (did you mean "weight"?)`}},
	{"weight zero", "[model]\npath = \"m\"\n[[data.sources]]\npath = \"x\"\nweight = 0\n", nil, []string{`r.toml:5:1: data.sources.weight is 0, want above 0`}},
	{"lora keys with full", head + "[method]\ntype = \"full\"\nr = 8\n", nil, []string{`r.toml:7:1: method.r means nothing for method.type "full"`}},
	{"quantised weights that are trained", "[model]\npath = \"m\"\nquantize = \"nf4\"\n[method]\ntype = \"full\"\n[data]\npath = \"d\"\n", nil, []string{`r.toml:3:1: model.quantize needs weights that stay frozen`}},
	{"random base with lora", "[model]\npath = \"m\"\ninit = \"random\"\n[data]\npath = \"d\"\n", nil, []string{`r.toml:3:1: model.init is "random", want method.type = "full"`}},
	{"stopping without evaluation", head + "[train]\nearly_stopping_patience = 2\n", nil, []string{`r.toml:6:1: train.early_stopping_patience needs evaluations`}},
	{"sampled beams", head + "[generate]\nnum_beams = 3\ntemperature = 0.7\n", nil, []string{`r.toml:6:1: generate.num_beams and generate.temperature are both set`}},
	{"all at once", "[model]\npaht = \"m\"\n[train]\nseed = \"x\"\nlr = 1\n", nil, []string{`r.toml:2:1: unknown key "model.paht" (did you mean model.path?)`, `r.toml:4:1: train.seed is "x", want a whole number`, `r.toml:5:1: unknown key "train.lr" (did you mean train.learning_rate?)`}},
	{"set without value", head, []string{"train.seed"}, []string{`--set train.seed: it has no value, want section.key=value`}},
	{"set of unknown key", head, []string{"train.sede=1"}, []string{`--set train.sede=1: unknown key "train.sede" (did you mean train.seed?)`}},
	{"set out of range", head, []string{"method.r=-3"}, []string{`--set method.r=-3: method.r is -3, want at least 1`}},
	{"set of wrong type", head, []string{"method.r=many"}, []string{`--set method.r=many: method.r is "many", want a whole number`}},
}

func TestWrongRecipes(t *testing.T) {
	for _, c := range wrong {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load("r.toml", []byte(c.src), c.sets)
			if err == nil {
				t.Fatal("no error")
			}
			problems := err.(Problems)
			for i, w := range c.want {
				if i >= len(problems) || !strings.HasPrefix(problems[i].String(), w) {
					t.Fatalf("got:\n%v\nwant problem %d:\n%s", err, i, w)
				}
			}
			if len(problems) != len(c.want) {
				t.Errorf("%d problems, want %d:\n%v", len(problems), len(c.want), err)
			}
		})
	}
}

func TestExcerpt(t *testing.T) {
	_, err := Load("r.toml", []byte(head+"[method]\nlora_r = 8\n"), nil)
	want := "r.toml:6:1: unknown key \"method.lora_r\" (did you mean method.r?)\n    lora_r = 8\n    ^"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestShipped(t *testing.T) {
	for _, name := range ShippedNames() {
		t.Run(name+" loads, and its resolved form is the same recipe", func(t *testing.T) {
			src, err := Shipped(name)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Load(name, src, nil)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Load("resolved", r.Marshal(), nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, r.Marshal())
			}
			again.given = r.given
			if !reflect.DeepEqual(r, again) {
				t.Errorf("got %+v, want %+v", again, r)
			}
			if r.Hash() != again.Hash() {
				t.Error("the hash differs")
			}
			if Title(src) == "" {
				t.Error("it has no title")
			}
		})
	}
}

func TestSets(t *testing.T) {
	r, err := Load("r.toml", []byte(head), []string{"method.r=4", "method.target_modules=[\"q_proj\"]", "data.path=1.txt", "train.lr_scheduler=cosine", "method.rank_pattern={ b = 2, a = 1 }", "data.columns={prompt=\"q\"}"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Method.Rank != 4 || !reflect.DeepEqual(r.Method.TargetModules.List, []string{"q_proj"}) || r.Data.Path != "1.txt" || r.Train.Scheduler != "cosine" || r.Data.Columns["prompt"] != "q" {
		t.Errorf("got %+v", r)
	}
}

func TestPatternsKeepTheirOrder(t *testing.T) {
	r, err := Load("r.toml", []byte(head+"[method]\nrank_pattern = { z = 1, a = 2, m = 3 }\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Pattern{{"z", 1}, {"a", 2}, {"m", 3}}); !reflect.DeepEqual(r.Method.RankPattern, want) {
		t.Errorf("got %v, want %v", r.Method.RankPattern, want)
	}
}

func TestHash(t *testing.T) {
	load := func(sets ...string) string {
		r, err := Load("r.toml", []byte(head), sets)
		if err != nil {
			t.Fatal(err)
		}
		return r.Hash()
	}
	if load() != load("output.dir=x", "train.save_steps=7") {
		t.Error("where results go changes the hash")
	}
	if load() == load("train.seed=1") {
		t.Error("the seed does not change the hash")
	}
}

func TestDocuments(t *testing.T) {
	for name, want := range map[string][]byte{"recipe.md": Markdown(), "recipe.schema.json": Schema()} {
		path := filepath.Join("..", "docs", name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
			t.Errorf("%s is not current (%v): go test ./recipes -update", path, err)
		}
	}
}

func TestExplain(t *testing.T) {
	s, err := Explain("method.r")
	if err != nil || !strings.Contains(s, "rank of A and B") || !strings.Contains(s, "lora_r") || !strings.Contains(s, "at least 1") {
		t.Errorf("got %q, %v", s, err)
	}
	if _, err := Explain("lora_r"); err == nil || !strings.Contains(err.Error(), "method.r") {
		t.Errorf("got %v", err)
	}
	for _, k := range Keys() {
		if s, err := Explain(k.Path); err != nil || k.Doc == "" || s == "" {
			t.Errorf("%s: %q, %v", k.Path, s, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, c := range wrong {
		f.Add(c.src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if r, err := Load("f.toml", []byte(src), nil); err == nil {
			if _, err := Load("g.toml", r.Marshal(), nil); err != nil {
				t.Errorf("the resolved form does not load: %v\n%s", err, r.Marshal())
			}
		}
	})
}
