package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/task"
	"github.com/nlpodyssey/spago/ag"
)

// rounding is how far logits of size 1 to 10 may be apart when float32 sums of up to 24 terms are taken in another order.
const rounding = 2e-5

// TestLaws holds every architecture to what all models promise.
func TestLaws(t *testing.T) {
	has := map[string]bool{}
	for _, c := range modeltest.Tiny {
		dir := modeltest.Write(t, c)
		m := modeltest.Open(t, dir)
		has[m.ModelType()] = true
		for _, law := range []struct {
			says     string
			hold     func(t *testing.T, m *modeltest.Base)
			decoders bool // what sees later rows has no cache
		}{
			{"cached is uncached", cached, true},
			{"packed is one by one", packed, false},
			{"the number of threads changes no bit", threads, false},
			{"the other compute modes are near", modes, false},
			{"gradients of all weights match central differences", unfrozen, false},
			{"a token beyond the vocabulary is refused", foreignToken, false},
			{"a checkpoint that does not fit is refused by tensor", misfits, false},
		} {
			if law.decoders && m.CheckDecodes() != nil {
				continue
			}
			t.Run(c.Name+": "+law.says, func(t *testing.T) { law.hold(t, m) })
		}
	}
	for _, a := range model.Architectures {
		if !has[a.ModelType] {
			t.Errorf("model_type %q has no row in modeltest.Tiny", a.ModelType)
		}
	}
}

// cached gives two sequences to a cache in pieces of unequal length and compares the logits with those of a plain pass.
func cached(t *testing.T, m *modeltest.Base) {
	cachedIn(t, m, m.NewCache())
	pages := m.NewPages(3, 0)
	cache := op.NewPagedCache(pages)
	cachedIn(t, m, cache)
	if pages.Used() != pages.For(11)+pages.For(9) {
		t.Errorf("%d pages for sequences of 11 and 9 rows, want %d", pages.Used(), pages.For(11)+pages.For(9))
	}
	for s := range cache.Sequences() {
		cache.Close(s)
	}
	if pages.Used() != 0 {
		t.Errorf("%d pages in use after all sequences have been closed", pages.Used())
	}
}

func cachedIn(t *testing.T, m *modeltest.Base, cache *op.Cache) {
	set := m.Set()
	batch := set.Batch([]int32{2, 5}) // 11 and 9 tokens; of a decoder that reads a source all but the last
	want := m.Logits(t, batch)
	got := make([]float32, len(want))
	for range batch.Segments {
		cache.Open()
	}
	if batch.Source != nil {
		p := op.NewPass(nil, nil, kernel.ModeF32, op.NewArena())
		p.Source = batch.Source
		for s, memory := range m.Encode(p) {
			cache.Remember(s, memory)
		}
	}
	vocab := m.Config.VocabSize
	for _, piece := range [][2]int{{5, 1}, {1, 1}, {1, 3}, {3, 1}, {1, 3}} { // sums to 11 and 9
		var ids, positions []int32
		var segments []op.Segment
		var rows []int // of the plain pass
		for s, n := range piece {
			past := cache.Len(s)
			if n = min(n, batch.Segments[s].End-batch.Segments[s].Start-past); n == 0 {
				continue
			}
			segments = append(segments, op.Segment{Start: len(ids), End: len(ids) + n, Sequence: s})
			for i := range n {
				at := batch.Segments[s].Start + past + i
				ids, positions, rows = append(ids, batch.Tokens[at]), append(positions, int32(past+i)), append(rows, at)
			}
		}
		p := op.NewPass(segments, positions, kernel.ModeF32, op.NewArena())
		p.Cache = cache
		all := make([]int, len(ids))
		for i := range all {
			all[i] = i
		}
		logits := m.Model.Logits(p, m.Hidden(p, ids), all)
		for i, at := range rows {
			copy(got[at*vocab:(at+1)*vocab], logits.Row(i))
		}
	}
	check.Close(t, "logits with a cache", got, want, rounding, 1e-5)
}

// packed compares a batch of all sequences with each alone.
func packed(t *testing.T, m *modeltest.Base) {
	set := m.Set()
	together := m.Logits(t, set.Batch(modeltest.All(set)))
	for i := range set {
		alone := m.Logits(t, set.Batch([]int32{int32(i)}))
		check.Close(t, fmt.Sprintf("logits of sequence %d", i), together[:len(alone)], alone, rounding, 1e-5)
		together = together[len(alone):]
	}
}

func threads(t *testing.T, m *modeltest.Base) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	set := m.Set()
	var first []float32
	for _, n := range []int{1, 2, 5} {
		runtime.GOMAXPROCS(n)
		logits := m.Logits(t, set.Batch(modeltest.All(set)))
		if first == nil {
			first = logits
		}
		if !slices.Equal(logits, first) {
			t.Errorf("logits differ with %d threads", n)
		}
	}
}

func modes(t *testing.T, m *modeltest.Base) {
	set := m.Set()
	batch := set.Batch(modeltest.All(set))
	_, want := forward(t, m.Model, batch, kernel.ModeF32)
	for mode, rel := range map[kernel.Mode]float64{
		kernel.ModeSplit: 1e-4, // two bf16 numbers hold 16 bits of each activation
		kernel.ModeBF16:  5e-2, // one holds 8, and errors of a dozen products add up
	} {
		if _, got := forward(t, m.Model, batch, mode); !(math.Abs(got-want) <= rel*want) {
			t.Errorf("%s: loss %.6f, want %.6f", mode, got, want)
		}
	}
}

// unfrozen trains every weight of a second model over the same folder: the method "full".
func unfrozen(t *testing.T, m *modeltest.Base) {
	own, err := model.Load(m.Source)
	if err != nil {
		t.Fatal(err)
	}
	own.Unfreeze()
	set := m.Set()
	batch := set.Batch(modeltest.All(set))
	loss := func(grad bool) float64 { return passLoss(t, own, batch, grad) }
	loss(true)
	rng := rand.New(rand.NewPCG(1, 2))
	n := 0
	for name, p := range own.Params() {
		n++
		check.Slope(t, name, op.Data(p), slices.Clone(op.GradOf(p)), rng, func() float64 { return loss(false) })
	}
	if n != len(m.Source.Names()) {
		t.Errorf("%d trainable weights, the checkpoint has %d", n, len(m.Source.Names()))
	}
}

// passLoss is the mean loss of the batch; with grad, its gradients are added.
func passLoss(t *testing.T, m *model.Model, b *data.Batch, grad bool) float64 {
	t.Helper()
	p := op.NewPass(b.Segments, b.Positions, kernel.ModeF32, op.NewArena())
	p.Grad = grad
	scale := 1 / float64(b.NumTargets())
	own, ok := task.For(m)
	if !ok {
		t.Fatal("the model has no head")
	}
	node, sums, err := own.Loss(m, p, b, task.LossOptions{Scale: scale})
	if err != nil {
		t.Fatal(err)
	}
	if grad {
		if err := ag.Backward(node); err != nil {
			t.Fatal(err)
		}
	}
	return scale * sums.Loss
}

func foreignToken(t *testing.T, m *modeltest.Base) {
	for _, id := range []int32{-1, int32(m.Config.VocabSize), math.MaxInt32} {
		if err := m.CheckTokens([]int32{0, id}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("token %d at 1", id)) {
			t.Errorf("CheckTokens([0 %d]) = %v, want an error that names the token", id, err)
		}
	}
}

// misfits takes one tensor away, adds one, and gives one another shape.
func misfits(t *testing.T, m *modeltest.Base) {
	names := m.Source.Names()
	for _, c := range []struct {
		says   string
		change func(list []checkpoint.Entry) []checkpoint.Entry
		want   string
	}{
		{"missing", func(l []checkpoint.Entry) []checkpoint.Entry { return l[1:] }, fmt.Sprintf("%q is missing", names[0])},
		{"unexpected", func(l []checkpoint.Entry) []checkpoint.Entry {
			return append(l, checkpoint.FromFloats("stranger.weight", []int{1}, []float32{1}))
		}, `"stranger.weight" is unexpected`},
		{"of another shape", func(l []checkpoint.Entry) []checkpoint.Entry {
			return append(l[1:], checkpoint.FromFloats(names[0], []int{1, 1}, []float32{1}))
		}, fmt.Sprintf("tensor %q", names[0])},
	} {
		var list []checkpoint.Entry
		for _, name := range names {
			e, err := m.Source.Entry(name)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, e)
		}
		dir := t.TempDir()
		raw, err := m.Source.ReadFile("config.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := checkpoint.Write(filepath.Join(dir, "model.safetensors"), c.change(list), nil); err != nil {
			t.Fatal(err)
		}
		src, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := model.Load(src); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a tensor %s: %v, want %s", c.says, err, c.want)
		}
		src.Close()
	}
}
