package methods_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
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
)

// severalCase is case.json of a case of several adapters.
type severalCase struct {
	Adapters map[string]string `json:"adapters"`
	Outputs  map[string]struct {
		Active []string `json:"active"` // none: the model alone
		Rows   []string `json:"adapter_names"`
		Merged []string `json:"merged"`
		Loss   float64  `json:"loss"`
	} `json:"outputs"`
}

// runSeveral compares one adapter, several at once, none, one for each row, and several folded into the base.
func runSeveral(t *testing.T, path string, c peftCase) {
	var s severalCase
	b, err := os.ReadFile(filepath.Join(path, "case.json"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	x := newFixture(t, path, c)
	shelf := peft.NewShelf(x.m)
	for name, dir := range s.Adapters {
		if _, err := shelf.Load(name, filepath.Join(path, dir), methods.All, peft.Allow{}); err != nil {
			t.Fatal(err)
		}
	}
	const abs = 2e-5 // the cases have no noise of their own: float32 logits of size 1 to 10
	for name, o := range s.Outputs {
		t.Run(name, func(t *testing.T) {
			want := tasktest.Logits(t, x.ref, name+".")
			var logits []float32
			var loss float64
			switch y := *x; {
			case o.Merged != nil:
				y.m = x.mergedTogether(t, shelf, o.Merged)
				logits, loss = y.pass(t, kernel.ModeF32, false)
			case o.Rows != nil:
				logits, loss = x.mixed(t, shelf, o.Rows)
			default:
				if len(o.Active) > 0 {
					y.m = together(t, shelf, o.Active...).Model
				}
				logits, loss = y.pass(t, kernel.ModeF32, false)
			}
			check.Close(t, "logits", logits, want, abs, 1e-5)
			if math.Abs(loss-o.Loss) > 1e-5 {
				t.Errorf("loss %.7f, want %.7f", loss, o.Loss)
			}
		})
	}
}

func together(t *testing.T, shelf *peft.Shelf, names ...string) *peft.Loaded {
	t.Helper()
	l, err := shelf.Set(peft.Fully(names...)...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// mixed passes the case's batch with an adapter for each row and returns logits and loss.
func (x *fixture) mixed(t *testing.T, shelf *peft.Shelf, names []string) ([]float32, float64) {
	t.Helper()
	var overlays []op.Overlay
	segments := slices.Clone(x.batch.Segments)
	for i, name := range names {
		if name == "__base__" {
			continue
		}
		l, err := shelf.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		overlays = append(overlays, l)
		segments[i].Adapter = len(overlays)
	}
	pass := func() *op.Pass {
		p := op.NewPass(segments, x.batch.Positions, kernel.ModeF32, op.NewArena())
		if err := p.Route(overlays); err != nil {
			t.Fatal(err)
		}
		return p
	}
	weight := x.task.Weigh(x.m, x.batch, task.LossOptions{})
	_, sums, err := x.task.Loss(x.m, pass(), x.batch, task.LossOptions{Scale: 1 / weight})
	if err != nil {
		t.Fatal(err)
	}
	scores, err := x.task.Predict(x.m, pass(), x.batch)
	if err != nil {
		t.Fatal(err)
	}
	return scores.Data, sums.Loss / weight
}

// mergedTogether folds adapters into the base, one after the other.
func (x *fixture) mergedTogether(t *testing.T, shelf *peft.Shelf, names []string) *model.Model {
	t.Helper()
	src := x.src
	for _, name := range names {
		l, err := shelf.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "merged")
		if _, err := merge.Fold(t.Context(), merge.Job{Base: src, Deltas: l.Adapter.(peft.Merger).Deltas(), Ties: peft.Ties(x.m), Out: out}); err != nil {
			t.Fatal(err)
		}
		src = open(t, out)
	}
	return loaded(t, src)
}

func loaded(t *testing.T, src *checkpoint.Checkpoint) *model.Model {
	t.Helper()
	m, err := model.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestGoldenAdaptersInOneBatch puts the golden adapters of a base on one model. Each is in a batch with the two before it, and every
// row must have the logits of its own case.
func TestGoldenAdaptersInOneBatch(t *testing.T) {
	top, dir := t, filepath.Join(golden.Dir(t), "peft") // the models stay open as long as the whole test
	suite := golden.NewSuite(t, "peft")
	shelves, fixtures := map[string]*peft.Shelf{}, map[string]*fixture{}
	before := map[string][]string{}
	folders, err := os.ReadDir(dir)
	if err != nil {
		t.Skipf("no golden adapters: %v", err)
	}
	for _, f := range folders {
		path := filepath.Join(dir, f.Name())
		c, ok := readCase(t, path)
		if !ok || !slices.Contains([]string{"../../models/llama", "../../models/gpt2"}, c.Base) || c.Task != "causal" || strings.HasPrefix(f.Name(), "special-") {
			continue
		}
		suite.Case(f.Name(), facts(t, path, c), func(t *testing.T) {
			if shelves[c.Base] == nil {
				fixtures[c.Base] = newFixture(top, path, c)
				shelves[c.Base] = peft.NewShelf(fixtures[c.Base].m)
			}
			if _, err := shelves[c.Base].Load(f.Name(), filepath.Join(path, "adapter"), methods.All, peft.Allow{}); err != nil {
				t.Fatal(err)
			}
			names := append([]string{f.Name()}, before[c.Base]...)
			before[c.Base] = names[:min(2, len(names))]
			x := fixtures[c.Base]
			for len(names) < len(x.batch.Segments) {
				names = append(names, f.Name())
			}
			x.eachAsItsCase(t, dir, shelves[c.Base], names)
		})
	}
}

// eachAsItsCase compares the rows of a mixed batch with the cases of their adapters.
func (x *fixture) eachAsItsCase(t *testing.T, dir string, shelf *peft.Shelf, names []string) {
	got, _ := x.mixed(t, shelf, names)
	vocab := len(got) / len(x.batch.Tokens)
	for r, seg := range x.batch.Segments {
		path := filepath.Join(dir, names[r])
		c, _ := readCase(t, path)
		want := tasktest.Logits(t, open(t, filepath.Join(path, "reference.safetensors")), "")
		check.Close(t, "row of "+names[r], got[seg.Start*vocab:seg.End*vocab], want[seg.Start*vocab:seg.End*vocab], max(2e-5, 5*c.Noise.Logits), 1e-5) // as alone
	}
}
