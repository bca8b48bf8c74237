package merge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
)

const mixConfig = `{"model_type": "llama", "num_hidden_layers": 3, "layer_types": ["a", "b", "c"], "torch_dtype": "float32"}`

// source writes a model of three layers. One of its tensors takes several blocks, with many numbers of one size.
func source(t *testing.T, seed uint64, d checkpoint.DType, config string, change ...checkpoint.Entry) *checkpoint.Checkpoint {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	var entries []checkpoint.Entry
	add := func(name string, coarse bool, shape ...int) {
		n := 1
		for _, s := range shape {
			n *= s
		}
		x := normal(rng, n, 0.5)
		for i := range x {
			if coarse {
				x[i] = float32(math.Round(float64(x[i] * 4)))
			}
		}
		b := make([]byte, n*int(d.Size()))
		checkpoint.Encode(b, x, d)
		entries = append(entries, checkpoint.FromBytes(name, d, shape, b))
	}
	add("model.embed_tokens.weight", false, 31, 11)
	for l := range 3 {
		add(fmt.Sprintf("model.layers.%d.q.weight", l), false, 13, 11)
		add(fmt.Sprintf("model.layers.%d.norm.weight", l), false, 13)
	}
	add("model.layers.0.big.weight", true, 613, 127)
	add("model.norm.weight", false, 13)
	entries = append(entries, checkpoint.FromBytes("ids", checkpoint.I64, []int{2}, make([]byte, 16)))
	for _, c := range change {
		i := slices.IndexFunc(entries, func(e checkpoint.Entry) bool { return e.Name == c.Name })
		if i < 0 {
			entries = append(entries, c)
			continue
		}
		entries[i] = c
	}
	dir := t.TempDir()
	if _, err := checkpoint.WriteShards(dir, entries, checkpoint.ShardOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// recipeFor is a recipe of an algorithm for n models, with parameters away from their fixed points.
func recipeFor(a Algorithm, models ...string) *Recipe {
	r := &Recipe{Method: a.Name, Parameters: map[string]Setting{}, Seed: 5}
	most := a.Sources[1]
	if a.Base != BaseFiles {
		r.BaseModel = "base"
	}
	if a.Base == BaseFirst {
		models = append([]string{"base"}, models...)
	}
	for i, m := range models {
		if most > 0 && i >= most {
			break
		}
		s := Source{Model: m, Parameters: map[string]Setting{}}
		if _, ok := a.parameter("weight"); ok {
			s.Parameters["weight"] = Number([]float64{0.7, 0.4, 0.6}[i])
		}
		r.Models = append(r.Models, s)
	}
	for name, v := range map[string]float64{"density": 0.4, "gamma": 0.1, "t": 0.3, "select_topk": 0.4, "lambda": 0.9} {
		if _, ok := a.parameter(name); ok {
			r.Parameters[name] = Number(v)
		}
	}
	return r
}

// mix runs one recipe.
func mix(t *testing.T, r *Recipe, models map[string]*checkpoint.Checkpoint) (*checkpoint.Checkpoint, *Mixed) {
	t.Helper()
	r.Out = filepath.Join(t.TempDir(), "out")
	list, err := Combine(context.Background(), Mix{Recipes: []*Recipe{r}, Models: models, Version: "v0"})
	if err != nil {
		t.Fatalf("%s: %v", r.Method, err)
	}
	c, err := checkpoint.Open(r.Out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, list[0]
}

func three(t *testing.T, d checkpoint.DType) map[string]*checkpoint.Checkpoint {
	return map[string]*checkpoint.Checkpoint{"base": source(t, 1, d, mixConfig), "a": source(t, 2, d, mixConfig), "b": source(t, 3, checkpoint.BF16, mixConfig)}
}

// TestMergeOfTheSame: whatever the method, models that are equal give themselves, and so does a base whose models differ by nothing.
func TestMergeOfTheSame(t *testing.T) {
	zeros := checkpoint.FromFloats("model.layers.2.norm.weight", []int{13}, make([]float32, 13)) // a bias may be
	one := source(t, 1, checkpoint.F32, mixConfig, zeros)
	models := map[string]*checkpoint.Checkpoint{"base": one, "a": source(t, 1, checkpoint.F32, mixConfig, zeros), "b": source(t, 1, checkpoint.F32, mixConfig, zeros)}
	for _, a := range Algorithms {
		got, _ := mix(t, recipeFor(a, "a", "b"), models)
		for _, name := range one.Names() {
			if info, _ := one.Info(name); !checkpoint.IsFloat(info.DType) {
				continue
			}
			want, _ := one.Floats(name)
			have, _ := got.Floats(name)
			check.Close(t, a.Name+" "+name, have, want, 1e-6, 1e-6) // sums of a few float32 products
		}
	}
}

// TestMixIsDeterministic: the same bytes whatever the number of threads, and the inputs stay as they were.
func TestMixIsDeterministic(t *testing.T) {
	models := three(t, checkpoint.F32)
	before := map[string]string{}
	for name, c := range models {
		before[name], _ = c.Hash(t.Context())
	}
	for _, a := range Algorithms {
		first, _ := mix(t, recipeFor(a, "a", "b"), models)
		old := runtime.GOMAXPROCS(1)
		second, _ := mix(t, recipeFor(a, "a", "b"), models)
		runtime.GOMAXPROCS(old)
		h1, err1 := first.Hash(t.Context())
		h2, err2 := second.Hash(t.Context())
		if h1 != h2 || err1 != nil || err2 != nil {
			t.Errorf("%s: %s and %s on one thread", a.Name, h1, h2)
		}
	}
	for name, c := range models {
		if now, _ := c.Hash(t.Context()); now != before[name] {
			t.Errorf("%s changed", name)
		}
	}
}

// TestMixOrder: methods that draw no numbers and begin nowhere in particular do not depend on the order of the models.
func TestMixOrder(t *testing.T) {
	models := three(t, checkpoint.F32)
	for _, a := range Algorithms {
		if a.Base == BaseFirst || a.Sources[1] == 1 || strings.HasPrefix(a.Name, "dare") || strings.HasPrefix(a.Name, "della") {
			continue
		}
		r := recipeFor(a, "a", "b")
		r.DType = "f32" // else that of the first
		first, _ := mix(t, r, models)
		slices.Reverse(r.Models)
		second, _ := mix(t, r, models)
		for _, name := range first.Names() {
			if info, _ := first.Info(name); !checkpoint.IsFloat(info.DType) {
				continue
			}
			x, _ := first.Floats(name)
			y, _ := second.Floats(name)
			check.Close(t, a.Name+" "+name, x, y, 2e-6, 1e-5) // sums in another order
		}
	}
}

// TestWindow compares windows with sorting, over several blocks and with many numbers of one size.
func TestWindow(t *testing.T) {
	models := three(t, checkpoint.F32)
	x, _ := models["a"].Floats("model.layers.0.big.weight")
	base, _ := models["base"].Floats("model.layers.0.big.weight")
	delta := make([]float32, len(x))
	for i := range x {
		delta[i] = x[i] - base[i]
	}
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return int(kernel.Size(delta[i])) - int(kernel.Size(delta[j]))
	})
	n := len(x)
	for _, c := range []struct {
		method         string
		density, gamma float64
		lo, hi         int
	}{
		{"ties", 0.37, 0, n - int(0.37*float64(n)), n},
		{"ties", 0.0001, 0, n - int(0.0001*float64(n)), n},
		{"breadcrumbs", 0.3, 0.1, n - int(0.3*float64(n)) - int(0.1*float64(n)), n - int(0.1*float64(n))},
		{"breadcrumbs", 0.95, 0.2, 0, int(0.95 * float64(n))},
		{"breadcrumbs", 0.5, 0, n - int(0.5*float64(n)), n},
		{"ties", 0, 0, n, n},
	} {
		r := &Recipe{Method: c.method, BaseModel: "base", Models: []Source{{Model: "a", Parameters: map[string]Setting{"weight": Number(1), "density": Number(c.density)}}}}
		if c.method == "breadcrumbs" {
			r.Models[0].Parameters["gamma"] = Number(c.gamma)
		}
		got, _ := mix(t, r, models)
		y, _ := got.Floats("model.layers.0.big.weight")
		want := slices.Clone(base)
		for _, i := range order[c.lo:c.hi] {
			want[i] += delta[i]
		}
		if !slices.Equal(y, want) {
			t.Errorf("%s of density %g and gamma %g is not what sorting gives: %d differ", c.method, c.density, c.gamma, differences(y, want))
		}
	}
}

// TestGuess compares guessed ends of windows with those that bits give, on numbers with many of one size, sorted ones that no sample is
// like, and ones that are nearly all zero.
func TestGuess(t *testing.T) {
	const n = 1<<20 + 12345
	rng := rand.New(rand.NewPCG(3, 8))
	fine, coarse, sorted, zeros := normal(rng, n, 1), normal(rng, n, 1), normal(rng, n, 1), make([]float32, n)
	for i := range coarse {
		coarse[i] = float32(math.Round(float64(coarse[i]) * 300))
	}
	slices.Sort(sorted)
	for i := range 1000 {
		zeros[i*997] = fine[i]
	}
	for name, x := range map[string][]float32{"fine": fine, "coarse": coarse, "sorted": sorted, "zeros": zeros} {
		data := make([]byte, 4*n)
		checkpoint.Encode(data, x, checkpoint.F32)
		m := &mixture{ctx: t.Context(), rows: 1, cols: n, inputs: []input{{data: data, dtype: checkpoint.F32}}, pool: &sync.Pool{New: func() any { return new(sheet) }}}
		numbers := func(s *sheet, _ int) []float32 { return s.x[0] }
		for _, rank := range []int{1, 1000, n / 3, n / 2, n - 1000, n - 1} {
			guessed, sure := cut{rank: rank}, cut{rank: rank}
			ok, err := m.guess([]*cut{&guessed}, []int{0}, 1, numbers)
			cuts := []*cut{&sure}
			if err := errors.Join(err, m.upper(cuts, []int{0}, 1, numbers), m.lower(cuts, []int{0}, numbers), m.equals(cuts, []int{0}, numbers)); err != nil {
				t.Fatal(err)
			}
			if ok && (guessed.size != sure.size || guessed.before != sure.before || !slices.Equal(guessed.equals, sure.equals)) {
				t.Errorf("%s, rank %d: size %d after %d, want %d after %d", name, rank, guessed.size, guessed.before, sure.size, sure.before)
			}
			if !ok && (name == "fine" || name == "coarse") {
				t.Errorf("%s, rank %d: no guess", name, rank)
			}
		}
	}
}

func differences(x, y []float32) (n int) {
	for i := range x {
		if x[i] != y[i] {
			n++
		}
	}
	return n
}

// TestSeveralOutputs: outputs of one pass are what each alone is, with dtypes and shards of their own; and the record says what
// they were made of.
func TestSeveralOutputs(t *testing.T) {
	models := three(t, checkpoint.F32)
	dir := t.TempDir()
	list, err := ParseRecipes("m.toml", []byte(fmt.Sprintf(`
base_model = "base"
merge_method = "slerp"
models = [{ model = "base" }, { model = "a" }]
parameters = { t = 0.5 }
[[outputs]]
out = %q
parameters = { t = [0.1, 0.9] }
[[outputs]]
out = %q
dtype = "bfloat16"
[[outputs]]
out = %q
merge_method = "passthrough"
parameters = { scale = 0.5 }
slices = [{ sources = [{ model = "a", layer_range = [1, 3] }] }, { sources = [{ model = "b", layer_range = [0, 1], parameters = { scale = 1 } }] }]
`, filepath.Join(dir, "x"), filepath.Join(dir, "y"), filepath.Join(dir, "z"))))
	if err != nil {
		t.Fatal(err)
	}
	var most int64
	reports, err := Combine(t.Context(), Mix{Recipes: list, Models: models, MaxShardSize: 200_000, Progress: func(done, total int64) { most = max(most, total) }})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range list {
		together, err := checkpoint.Open(r.Out)
		if err != nil {
			t.Fatal(err)
		}
		defer together.Close()
		h1, _ := together.Hash(t.Context())
		one := *r
		alone, _ := mix(t, &one, models)
		if h2, _ := alone.Hash(t.Context()); h1 != h2 {
			t.Errorf("output %d is another than alone", i)
		}
		checkRecord(t, r.Out, reports[i], models)
	}
	if most != reports[0].Bytes+reports[1].Bytes+reports[2].Bytes {
		t.Errorf("progress counts %d bytes", most)
	}
	stack, err := checkpoint.Open(list[2].Out)
	if err != nil {
		t.Fatal(err)
	}
	defer stack.Close()
	config, _ := stack.ReadFile("config.json")
	if !strings.Contains(string(config), `"layer_types": ["b","c","a"]`) || !strings.Contains(string(config), `"num_hidden_layers": 3`) {
		t.Errorf("config.json of the layers put together: %s", config)
	}
	b, _ := models["b"].Bytes("model.layers.0.q.weight")
	if got, _ := stack.Bytes("model.layers.2.q.weight"); !bytes.Equal(got, b) {
		t.Error("a layer of scale 1 is not copied as it is")
	}
}

// checkRecord reads merge.json.
func checkRecord(t *testing.T, dir string, want *Mixed, models map[string]*checkpoint.Checkpoint) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, RecordFile))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Inputs []Input
		Recipe map[string]any
		Files  []string
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, in := range got.Inputs {
		if h, _ := models[in.Model].Hash(t.Context()); h != in.SHA256 {
			t.Errorf("%s: hash of %s is %s, want %s", dir, in.Model, in.SHA256, h)
		}
	}
	entries, _ := os.ReadDir(dir)
	if len(got.Inputs) == 0 || got.Recipe["merge_method"] != want.Recipe.Method || len(entries) != len(got.Files) {
		t.Errorf("%s: record %s beside %d files", dir, b, len(entries))
	}
}

// TestGradients evaluates settings.
func TestGradients(t *testing.T) {
	for _, c := range []struct {
		v    any
		name string
		t    float64
		want float64
		ok   bool
	}{
		{0.5, "x", 0.3, 0.5, true},
		{true, "x", 0.3, 1, true},
		{[]any{int64(0), 1.0}, "x", 0.25, 0.25, true},
		{[]any{0.0, 1.0, 0.0}, "x", 0.75, 0.5, true},
		{[]any{0.0, 1.0, 3.0}, "x", 1, 3, true},
		{[]any{map[string]any{"filter": "mlp", "value": []any{2.0, 4.0}}, map[string]any{"value": 9.0}}, "a.mlp.b", 0.5, 3, true},
		{[]any{map[string]any{"filter": "mlp", "value": 2.0}, map[string]any{"filter": "*", "value": 9.0}}, "a.attn", 0.5, 9, true},
		{map[string]any{"filter": "mlp", "value": 2.0}, "a.attn", 0.5, 0, false},
	} {
		s, err := parseSetting("p", c.v)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := s.at(c.name, c.t); got != c.want || ok != c.ok {
			t.Errorf("%v at %g of %q is %g, %v, want %g, %v", c.v, c.t, c.name, got, ok, c.want, c.ok)
		}
	}
}

// TestRecipesRefused are recipes that cannot be.
func TestRecipesRefused(t *testing.T) {
	models := map[string]*checkpoint.Checkpoint{
		"base": source(t, 1, checkpoint.F32, mixConfig), "a": source(t, 2, checkpoint.F32, mixConfig),
		"wide":  source(t, 2, checkpoint.F32, mixConfig, checkpoint.FromFloats("model.norm.weight", []int{14}, make([]float32, 14))),
		"more":  source(t, 2, checkpoint.F32, mixConfig, checkpoint.FromFloats("lm_head.weight", []int{1}, make([]float32, 1))),
		"ids":   source(t, 2, checkpoint.F32, mixConfig, checkpoint.FromBytes("ids", checkpoint.I64, []int{2}, append(make([]byte, 15), 1))),
		"gpt2":  source(t, 2, checkpoint.F32, `{"model_type": "gpt2"}`),
		"large": source(t, 2, checkpoint.F32, mixConfig, checkpoint.FromFloats("model.norm.weight", []int{13}, slices.Repeat([]float32{140_000}, 13))),
	}
	const two = "models = [{ model = \"base\", parameters = { weight = 1 } }, { model = \"a\", parameters = { weight = 2 } }]\n"
	pair := func(other string) string {
		return fmt.Sprintf("merge_method = \"linear\"\nparameters = { weight = 1 }\nmodels = [{ model = \"base\" }, { model = %q }]\n", other)
	}
	for _, c := range []struct{ recipe, want string }{
		{`merge_method = `, "m.toml:1:15: "},
		{`method = "ties"`, `unknown key "method", want one of base_model, dtype, merge_method`},
		{`merge_method = "linear"` + "\n" + `models = 3`, `models is 3, want a list of tables`},
		{`models = [{ modl = "a" }]`, `unknown key "models[0].modl"`},
		{`slices = [{ sources = [{ model = "a", layer_range = [2, 1] }] }]`, `slices[0].sources[0].layer_range is [2 1], want [from, to]`},
		{`slices = [{ sources = [{ model = "a" }] }]`, `slices[0].sources[0].layer_range is missing`},
		{`parameters = { t = "half" }`, `parameters.t is half, want a number`},
		{`parameters = { t = [0.5, "x"] }`, `parameters.t[1] is x`},
		{`parameters = { t = [{ filtr = "x", value = 1 }] }`, `unknown key "filtr"`},
		{`parameters = { t = [{ filter = "x" }] }`, `parameters.t[0].value is missing`},
		{`seed = -1`, `seed is -1`},
		{two, "merge_method is missing, want one of linear, slerp"},
		{"merge_method = \"tie\"\n" + two, `merge_method is "tie", want one of linear`},
		{"merge_method = \"linear\"\ndtype = \"f8\"\n" + two, `dtype is "f8"`},
		{`merge_method = "linear"`, "want either models or slices"},
		{"merge_method = \"ties\"\n" + two, "base_model is missing, which ties needs"},
		{"merge_method = \"slerp\"\nbase_model = \"base\"\nmodels = [{ model = \"base\" }, { model = \"a\" }]", `parameters.t is missing`},
		{"merge_method = \"slerp\"\nbase_model = \"base\"\nparameters = { t = 0.5 }\nmodels = [{ model = \"base\" }]", "1 models, slerp takes 2"},
		{"merge_method = \"linear\"\nparameters = { density = 0.5 }\n" + two, "parameters.density: linear has no such parameter, want one of weight, normalize"},
		{"merge_method = \"linear\"\nmodels = [{ model = \"a\", parameters = { weight = 1, normalize = true } }]", "models[0].parameters.normalize: is for all models"},
		{"merge_method = \"linear\"\nmodels = [{ model = \"a\" }]", `parameters.weight of a is missing`},
		{"merge_method = \"linear\"\nparameters = { weight = [{ filter = \"norm\", value = 1 }] }\nmodels = [{ model = \"a\" }]", `parameters.weight of a is missing for "model.embed_tokens.weight", which none of its filters fits`},
		{"merge_method = \"ties\"\nbase_model = \"base\"\nparameters = { weight = 1, density = 1.5 }\nmodels = [{ model = \"a\" }]", "parameters.density is 1.5, want 0 to 1"},
		{"merge_method = \"linear\"\nparameters = { normalize = 0.5, weight = 1 }\nmodels = [{ model = \"a\" }]", "parameters.normalize is 0.5, want true or false"},
		{"merge_method = \"linear\"\nparameters = { weight = inf }\nmodels = [{ model = \"a\" }]", "parameters.weight is +Inf"},
		{"merge_method = \"linear\"\nmodels = [{ model = \"base\", parameters = { weight = 1 } }, { model = \"a\", parameters = { weight = -1 } }]", "the weights sum to zero"},
		{"merge_method = \"della\"\nbase_model = \"base\"\nparameters = { weight = 1, density = 0.9 }\nmodels = [{ model = \"a\" }]", "density 0.9 and epsilon 0.15 give probabilities"},
		{"merge_method = \"multislerp\"\nparameters = { weight = 1, normalize_weights = false }\nmodels = [{ model = \"a\" }]", "1 models, multislerp takes at least 2"},
		{pair("wide"), `"model.norm.weight" is [13] in base and [14] in wide`},
		{pair("more"), `more has the tensor "lm_head.weight", base has not`},
		{strings.ReplaceAll(strings.ReplaceAll(pair("base"), "[{ model = \"base\" }, ", "[{ model = \"more\" }, "), "", ""), `base has no tensor "lm_head.weight"`},
		{pair("ids"), `"ids" is I64 and differs between base and ids`},
		{pair("gpt2"), `model_type of base is "llama" and of gpt2 "gpt2"`},
		{"dtype = \"f16\"\n" + pair("large"), "is beyond F16; a wider dtype may hold it"},
		{`merge_method = "passthrough"` + "\n" + `slices = [{ sources = [{ model = "a", layer_range = [0, 9] }] }]`, "slices[0].sources[0].layer_range is [0 9], a has 3 layers"},
		{"outputs = 3", "outputs is 3"},
		{pair("a") + "[[outputs]]\nout = \"same\"\n[[outputs]]\nout = \"./same\"", "two outputs are ./same"},
	} {
		t.Chdir(t.TempDir())
		list, err := ParseRecipes("m.toml", []byte(c.recipe))
		if err == nil {
			for _, r := range list {
				if r.Out == "" {
					r.Out = "out"
				}
			}
			_, err = Combine(context.Background(), Mix{Recipes: list, Models: models})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v, want %q", c.recipe, err, c.want)
		}
		if left, _ := os.ReadDir("."); len(left) > 0 {
			t.Errorf("%s\nleaves %v", c.recipe, left)
		}
	}
}

// TestMixFolders: an output that is there is kept, an input is never replaced, and an interrupted merge leaves nothing.
func TestMixFolders(t *testing.T) {
	models := three(t, checkpoint.F32)
	linear := func(out string) *Recipe {
		return &Recipe{Method: "linear", Out: out, Models: []Source{{Model: "a"}, {Model: "b"}}, Parameters: map[string]Setting{"weight": Number(1)}}
	}
	out := filepath.Join(t.TempDir(), "out")
	run := func(ctx context.Context, force bool, outs ...string) error {
		x := Mix{Models: models, Force: force}
		for _, o := range outs {
			x.Recipes = append(x.Recipes, linear(o))
		}
		_, err := Combine(ctx, x)
		return err
	}
	if err := run(t.Context(), false, out); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), false, out); !errors.Is(err, fs.ErrExist) {
		t.Errorf("twice: %v, want one that exists", err)
	}
	if err := run(t.Context(), true, out); err != nil {
		t.Errorf("forced: %v", err)
	}
	for _, bad := range []string{models["a"].Path(), filepath.Dir(models["b"].Path()), ""} {
		if err := run(t.Context(), true, bad); err == nil {
			t.Errorf("output %q is accepted", bad)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	if err := run(ctx, false, filepath.Join(dir, "x"), filepath.Join(dir, "y")); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("an interrupted merge leaves %v", left)
	}
}

// TestEveryPrefixOfARecipe cuts a recipe after each of its bytes: what is left is a recipe, or one error that names the file.
func TestEveryPrefixOfARecipe(t *testing.T) {
	const whole = "merge_method = \"slerp\"\nbase_model = \"a\"\nseed = 3\nmodels = [{ model = \"a\" }, { model = \"b\" }]\nparameters = { t = [{ filter = \"mlp\", value = [0, 1] }, { value = 0.5 }] }\n" +
		"[[outputs]]\nout = \"x\"\n[[outputs]]\nout = \"y\"\ndtype = \"bf16\"\nslices = [{ sources = [{ model = \"a\", layer_range = [0, 2] }, { model = \"b\", layer_range = [0, 2] }] }]\n"
	for n := range len(whole) + 1 {
		list, err := ParseRecipes("m.toml", []byte(whole[:n]))
		if (err == nil) == (list == nil) || err != nil && !strings.HasPrefix(err.Error(), "merge: m.toml") {
			t.Errorf("%q: %v, %v", whole[:n], list, err)
		}
	}
}

// FuzzRecipe: no recipe makes the decoder panic.
func FuzzRecipe(f *testing.F) {
	f.Add("merge_method = \"ties\"\nmodels = [{ model = \"a\", parameters = { weight = [0, 1] } }]\n[[outputs]]\nout = \"x\"")
	f.Add("[[slices]]\nsources = [{ model = \"a\", layer_range = [0, 2] }]\nparameters = { t = [{ filter = \"x\", value = 3 }] }")
	f.Fuzz(func(t *testing.T, src string) {
		list, err := ParseRecipes("m.toml", []byte(src))
		if err != nil {
			return
		}
		for _, r := range list {
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
			_, _ = arrange(r, maps.Clone(map[string]*checkpoint.Checkpoint{}))
		}
	})
}
