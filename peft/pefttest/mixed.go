package pefttest

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/prefix"
)

// mixing passes a batch whose sequences name different adapters, and compares each with its sequence alone on a model that has just
// that adapter.
func mixing(t *testing.T, x *bench) {
	before := x.logits(t)
	shelf := peft.NewShelf(x.base.Model)
	list := []*peft.Loaded{
		put(t, shelf, "own", x.Config(x.base.Model)), put(t, shelf, "low rank", lowRank(5)), put(t, shelf, "prompt", virtual()), nil,
	}
	var err error
	if list[3], err = shelf.Set(peft.Use{Name: "own", Scale: 1}, peft.Use{Name: "low rank", Scale: 1}); err != nil {
		t.Fatal(err)
	}
	for _, order := range [][]int{{1, 0, 2, 3, 1, 0, 4, 1}, {1, 1, 3, 3, 2, 2, 4, 4}} {
		got, err := mixed(t, x.base.Model, x.all, order, list)
		if err != nil && strings.Contains(err.Error(), "pass its rows through its own model") {
			return // and says so
		}
		if err != nil {
			t.Fatal(err)
		}
		vocab := len(got) / len(x.all.Tokens)
		for i, seg := range x.all.Segments {
			m := x.base.Model
			if order[i] > 0 {
				m = list[order[i]-1].Model
			}
			want := alone(t, m, x.set.Batch([]int32{int32(i)}))
			check.Close(t, "sequence of its adapter", got[seg.Start*vocab:seg.End*vocab], want, 2e-5, 1e-5) // blocks of other sums; logits of size 1 to 10
		}
	}
	if !sameBits(before, x.logits(t)) {
		t.Error("the model without adapters changed")
	}
}

// nesting compares several adapters at once with one attached over the other.
func nesting(t *testing.T, x *bench) {
	shelf := peft.NewShelf(x.base.Model)
	put(t, shelf, "own", x.Config(x.base.Model))
	put(t, shelf, "low rank", lowRank(5))
	both, err := shelf.Set(peft.Fully("own", "low rank")...)
	if err != nil {
		t.Fatal(err)
	}
	got := alone(t, both.Model, x.all)
	for _, c := range []peft.Config{x.Config(x.base.Model), lowRank(5)} {
		a, err := c.Attach(x.base.Model, rand.New(rand.NewPCG(47, 53)))
		if err != nil {
			t.Fatal(err)
		}
		move(a)
	}
	check.Close(t, "one over the other", got, x.logits(t), 2e-5, 1e-5) // as above
}

// put attaches an adapter to the shelf and moves its parameters, as training would.
func put(t *testing.T, shelf *peft.Shelf, name string, c peft.Config) *peft.Loaded {
	t.Helper()
	l, err := shelf.Attach(name, c, rand.New(rand.NewPCG(47, 53)))
	if err != nil {
		t.Fatal(err)
	}
	move(l.Adapter)
	return l
}

func move(a peft.Adapter) {
	rng := rand.New(rand.NewPCG(31, 37))
	for _, p := range a.Params() {
		for i := range op.Data(p) {
			op.Data(p)[i] += float32(0.1 * rng.NormFloat64())
		}
	}
}

// lowRank is LoRA on all linear layers.
func lowRank(rank int) peft.Config {
	c := lora.New()
	c.Rank, c.Alpha, c.TargetModules = rank, 7, peft.Names{Pattern: peft.AllLinear}
	return c
}

// virtual is prompt tuning.
func virtual() peft.Config {
	c := prefix.NewPrompt()
	c.NumVirtualTokens = 2
	return c
}

// mixed are the logits of a batch whose segments name overlays.
func mixed(t *testing.T, m *model.Model, b *data.Batch, order []int, list []*peft.Loaded) ([]float32, error) {
	t.Helper()
	segments := slices.Clone(b.Segments)
	for i := range segments {
		segments[i].Adapter = order[i]
	}
	p := op.NewPass(segments, b.Positions, kernel.ModeF32, op.NewArena())
	var overlays []op.Overlay
	for _, l := range list {
		overlays = append(overlays, l)
	}
	if err := p.Route(overlays); err != nil {
		t.Fatal(err)
	}
	p.Source = b.Source
	if err := m.CheckRoutes(p); err != nil {
		return nil, err
	}
	return m.Scores(p, m.Hidden(p, b.Tokens)).Data, nil
}

// alone are the logits of a batch on a model.
func alone(t *testing.T, m *model.Model, b *data.Batch) []float32 {
	t.Helper()
	p := op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena())
	p.Source = b.Source
	return m.Scores(p, m.Hidden(p, b.Tokens)).Data
}
