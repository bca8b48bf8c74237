package merge_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/task/tasktest"
)

// mixCase is case.json of golden/fullmerge.
type mixCase struct {
	Recipe    map[string]any `json:"recipe"`
	One       map[string]any `json:"recipe_one_model"` // of random methods
	Random    bool           `json:"random"`
	NumLayers int            `json:"num_hidden_layers"`
	Measured  map[string]struct {
		Kept  float64 `json:"kept_fraction"`
		Scale float64 `json:"scale_of_kept"`
		Mean  float64 `json:"mean_delta_over_full_delta"`
	} `json:"measured"`
}

// TestGoldenMix compares merged checkpoints with mergekit's, tensor by tensor.
func TestGoldenMix(t *testing.T) {
	root := filepath.Join(golden.Dir(t), "fullmerge")
	suite := golden.NewSuite(t, "fullmerge")
	folders, err := os.ReadDir(root)
	if err != nil {
		t.Skipf("no golden merges: %v", err)
	}
	for _, f := range folders {
		path := filepath.Join(root, f.Name())
		b, err := os.ReadFile(filepath.Join(path, "case.json"))
		if err != nil {
			continue
		}
		var c mixCase
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if c.Recipe == nil {
			continue // extract-lora: in lora/factor
		}
		suite.Case(f.Name(), golden.Facts{"merge_method": c.Recipe["merge_method"].(string)}, func(t *testing.T) {
			if c.Random {
				runRandom(t, root, c)
				return
			}
			runMix(t, root, path, c)
		})
	}
}

// mixOf runs a recipe over the golden checkpoints.
func mixOf(t *testing.T, root string, recipe map[string]any, seed uint64) *checkpoint.Checkpoint {
	t.Helper()
	list, err := merge.DecodeRecipes(recipe)
	if err != nil {
		t.Fatal(err)
	}
	r := list[0]
	r.Out, r.Seed = filepath.Join(t.TempDir(), "out"), seed
	x := merge.Mix{Recipes: list, Models: map[string]*checkpoint.Checkpoint{}}
	for _, name := range r.ModelNames() {
		x.Models[name] = openModel(t, filepath.Join(root, "checkpoints", name))
	}
	if _, err := merge.Combine(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	return openModel(t, r.Out)
}

func openModel(t *testing.T, path string) *checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func floats(t *testing.T, c *checkpoint.Checkpoint, name string) []float32 {
	t.Helper()
	v, err := c.Floats(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func runMix(t *testing.T, root, path string, c mixCase) {
	got := mixOf(t, root, c.Recipe, 0)
	ref := openModel(t, filepath.Join(path, "merged.safetensors"))
	names := slices.DeleteFunc(slices.Clone(ref.Names()), func(n string) bool { return n == "reference.logits" || n == "reference.loss" })
	if !slices.Equal(got.Names(), names) {
		t.Errorf("tensors %v, want %v", got.Names(), names)
	}
	for _, name := range names {
		// The reference sums in float32, and takes angles of float32 dot products: a few units in the last place of either.
		check.Close(t, name, floats(t, got, name), floats(t, ref, name), 2e-6, 1e-5)
	}
	var config struct {
		Layers int `json:"num_hidden_layers"`
	}
	logits(t, got, openModel(t, filepath.Join(root, "batch.safetensors")), ref)
	b, err := got.ReadFile("config.json")
	if err != nil || json.Unmarshal(b, &config) != nil || config.Layers != c.NumLayers {
		t.Errorf("config.json has %d layers (%v), want %d", config.Layers, err, c.NumLayers)
	}
}

// logits loads what was written and compares what it says about the reference's batch.
func logits(t *testing.T, got, batch, ref *checkpoint.Checkpoint) {
	m, err := model.Load(got)
	if err != nil {
		t.Fatal(err)
	}
	b := tasktest.Batch(t, batch, "causal")
	scores, err := tasktest.Lookup(t, "causal").Predict(m, op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena()), b)
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "logits", scores.Data, tasktest.Logits(t, ref, "reference."), 5e-5, 1e-5) // 2e-6 of every weight, through two layers
}

// runRandom holds the merge of one model of weight 1 to what was measured of the reference: how many differences stay, and by what
// they are scaled.
func runRandom(t *testing.T, root string, c mixCase) {
	const draws = 12 // as in the reference
	base, tuned := openModel(t, filepath.Join(root, "checkpoints", "base")), openModel(t, filepath.Join(root, "checkpoints", "a"))
	kept, scales, mean := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for d := range uint64(draws) {
		got := mixOf(t, root, c.One, d+1)
		for _, name := range base.Names() {
			k, s, m := compareDeltas(t, floats(t, base, name), floats(t, tuned, name), floats(t, got, name))
			kept[name] += k / draws
			scales[name] += s / draws
			mean[name] += m / draws
		}
	}
	for name, want := range c.Measured {
		info, _ := base.Info(name)
		// A fraction of n·draws coins strays by √(p·(1−p)/(n·draws)); both sides do, and what it is of 1/p scales with it.
		stray := 5 * math.Sqrt(2*0.25/float64(info.Len()*draws))
		if math.Abs(kept[name]-want.Kept) > stray || math.Abs(scales[name]-want.Scale) > 8*stray || math.Abs(mean[name]-want.Mean) > 4*stray {
			t.Errorf("%s: kept %.4f scaled %.4f mean %.4f, want %.4f, %.4f, %.4f (±%.4f)", name, kept[name], scales[name], mean[name], want.Kept, want.Scale, want.Mean, stray)
		}
	}
	mixOf(t, root, c.Recipe, 1)
}

// compareDeltas measures what stayed of the differences from the base.
func compareDeltas(t *testing.T, base, tuned, got []float32) (kept, scale, mean float64) {
	n, full, now := 0, 0.0, 0.0
	for i := range base {
		d, g := float64(tuned[i]-base[i]), float64(got[i]-base[i])
		full += d * d
		now += d * g
		if g != 0 {
			n++
			scale += g / d
		}
	}
	return float64(n) / float64(len(base)), scale / float64(max(n, 1)), now / full
}
