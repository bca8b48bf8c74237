package peft_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/prefix"
)

// lowRank is LoRA on all linear layers.
func lowRank(rank int, set func(c *lora.Config)) peft.Config {
	c := lora.New()
	c.Rank, c.Alpha, c.TargetModules = rank, 7, peft.Names{Pattern: peft.AllLinear}
	if set != nil {
		set(c)
	}
	return c
}

// kinds are adapters of every seam.
func kinds() map[string]peft.Config {
	keys, rows := prefix.NewTuning(), prefix.NewPrompt()
	keys.NumVirtualTokens, rows.NumVirtualTokens = 3, 2
	pfeiffer, err := adapter.ParseHub("seq_bn[reduction_factor=4]")
	if err != nil {
		panic(err) // the string is the test's own
	}
	return map[string]peft.Config{"r8": lowRank(8, nil), "r64": lowRank(64, nil), "dora": lowRank(4, func(c *lora.Config) { c.UseDoRA = true }),
		"copy": lowRank(2, func(c *lora.Config) {
			c.TargetModules.Pattern, c.Beside.ModulesToSave = ".*q_proj", []string{"lm_head"}
		}),
		"copy2": lowRank(2, func(c *lora.Config) {
			c.TargetModules.Pattern, c.Beside.ModulesToSave = ".*q_proj", []string{"lm_head"}
		}),
		"pfeiffer": pfeiffer, "prefix": keys, "prompt": rows}
}

// shelfOf puts moved adapters of all kinds on a small model.
func shelfOf(t testing.TB) (*modeltest.Base, *peft.Shelf) {
	t.Helper()
	base := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[0]))
	shelf := peft.NewShelf(base.Model)
	for name, c := range kinds() {
		l, err := shelf.Attach(name, c, rand.New(rand.NewPCG(1, uint64(len(name)))))
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(2, uint64(len(name))))
		for _, p := range l.Adapter.Params() {
			for i := range op.Data(p) {
				op.Data(p)[i] += float32(0.1 * rng.NormFloat64())
			}
		}
	}
	return base, shelf
}

// decoding is several sequences in a cache, each of its adapter.
type decoding struct {
	m       *model.Model
	list    []op.Overlay
	adapter []int
	cache   *op.Cache
	arena   *op.Arena
}

func newDecoding(m *model.Model, list []op.Overlay, adapter ...int) *decoding {
	d := &decoding{m: m, list: list, adapter: adapter, cache: m.NewCache(), arena: op.NewArena()}
	for range adapter {
		d.cache.Open()
	}
	return d
}

// step gives the logits after the new tokens of every sequence.
func (d *decoding) step(t testing.TB, tokens ...[]int32) kernel.Mat {
	t.Helper()
	p := op.NewPass(nil, nil, kernel.ModeF32, d.arena)
	p.Cache = d.cache
	var ids []int32
	var last []int
	for i, list := range tokens {
		p.Segments = append(p.Segments, op.Segment{Start: len(ids), End: len(ids) + len(list), Sequence: i, Adapter: d.adapter[i]})
		for j := range list {
			p.Positions = append(p.Positions, int32(d.cache.Len(i)+j))
		}
		ids = append(ids, list...)
		last = append(last, len(ids)-1)
	}
	if d.list != nil {
		if err := p.Route(d.list); err != nil {
			t.Fatal(err)
		}
	}
	y := d.m.Logits(p, d.m.Hidden(p, ids), last)
	d.arena.Reset()
	return y
}

// TestMixedDecoding prefills and continues requests of all kinds of adapters together, and each alone on a model with just its adapter.
func TestMixedDecoding(t *testing.T) {
	base, shelf := shelfOf(t)
	names := []string{"r8", "dora", "", "prefix", "r64", "prompt", "r8", "copy", "pfeiffer"}
	prompts := [][]int32{{3, 1, 4}, {1, 5}, {9, 2, 6, 5}, {3, 5, 8}, {9}, {7, 9, 3}, {2, 3, 8, 4}, {6, 2}, {6, 4, 3}}
	var list []op.Overlay
	var which []int
	single := make([]*decoding, len(names))
	for i, name := range names {
		which = append(which, 0)
		single[i] = newDecoding(base.Model, nil, 0)
		if name == "" {
			continue
		}
		l, err := shelf.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
		which[i] = len(list)
		single[i] = newDecoding(l.Model, nil, 0)
	}
	all := newDecoding(base.Model, list, which...)
	next := prompts
	for step := range 4 {
		got := all.step(t, next...)
		for i := range names {
			want := single[i].step(t, next[i])
			check.Close(t, fmt.Sprintf("step %d of %q", step, names[i]), got.Row(i), want.Row(0), 2e-5, 1e-5) // blocks of other sums; logits of size 1 to 10
		}
		next = make([][]int32, len(names))
		for i := range next {
			next[i] = []int32{int32(step + 2*i)}
		}
	}
}

// TestThinGroupsSideBySide compares rows of low rank beside others of low rank alone, which are computed side by side, with the same rows where
// a third group makes each be computed by itself.
func TestThinGroupsSideBySide(t *testing.T) {
	base, shelf := shelfOf(t)
	var list []op.Overlay
	for _, name := range []string{"r8", "r64", "dora"} {
		l, err := shelf.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	prompts := [][]int32{{3, 1, 4}, {1, 5}, {9, 2, 6, 5}, {3, 5}}
	side := newDecoding(base.Model, list, 1, 2, 0, 1).step(t, prompts...)
	each := newDecoding(base.Model, list, 1, 2, 3, 1).step(t, prompts...)
	for _, i := range []int{0, 1, 3} {
		check.Close(t, fmt.Sprintf("sequence %d", i), side.Row(i), each.Row(i), 0, 0)
	}
}

// TestShelfWhilePassesRun replaces and deletes adapters while passes hold them.
func TestShelfWhilePassesRun(t *testing.T) {
	base, shelf := shelfOf(t)
	held, err := shelf.Get("r8")
	if err != nil {
		t.Fatal(err)
	}
	want := newDecoding(base.Model, []op.Overlay{held}, 1).step(t, []int32{3, 1, 4})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 20 {
				got := newDecoding(base.Model, []op.Overlay{held}, 1).step(t, []int32{3, 1, 4})
				check.Close(t, "logits of the one that is held", got.Data, want.Data, 0, 0)
			}
		})
	}
	for i := range 10 {
		if _, err := shelf.Attach("r8", lowRank(8, nil), rand.New(rand.NewPCG(9, uint64(i)))); err != nil {
			t.Error(err)
		}
		if err := shelf.Delete("r8"); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if _, err := shelf.Get("r8"); err == nil || !strings.Contains(err.Error(), `no adapter is called "r8", want one of copy, copy2, dora`) {
		t.Errorf("Get of a deleted adapter: %v, want an error with the names", err)
	}
}

// TestScale compares shares of an adapter with a smaller alpha, and with none of it.
func TestScale(t *testing.T) {
	base, shelf := shelfOf(t)
	tokens := []int32{3, 1, 4, 1, 5}
	logits := func(use ...peft.Use) kernel.Mat {
		l, err := shelf.Set(use...)
		if err != nil {
			t.Fatal(err)
		}
		return newDecoding(l.Model, nil, 0).step(t, tokens)
	}
	whole, err := shelf.Get("r8")
	if err != nil {
		t.Fatal(err)
	}
	third, err := shelf.Attach("third", lowRank(8, func(c *lora.Config) { c.Alpha = 7.0 / 4 }), rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	from := map[string][]float32{}
	for name, p := range whole.Adapter.Params() {
		from[name] = op.Data(p)
	}
	for name, p := range third.Adapter.Params() {
		copy(op.Data(p), from[name])
	}
	want := newDecoding(third.Model, nil, 0).step(t, tokens)
	check.Close(t, "a quarter of it", logits(peft.Use{Name: "r8", Scale: 0.25}).Data, want.Data, 2e-5, 1e-5) // other roundings; logits of size 1 to 10
	none := newDecoding(base.Model, nil, 0).step(t, tokens)
	check.Close(t, "nothing of it", logits(peft.Use{Name: "prompt"}, peft.Use{Name: "r8"}).Data, none.Data, 0, 0)
}

// TestSetRefuses lists what cannot be at once.
func TestSetRefuses(t *testing.T) {
	_, shelf := shelfOf(t)
	for _, c := range []struct {
		name string
		use  []peft.Use
		want string
	}{
		{"a name that is none", peft.Fully("nobody"), `no adapter is called "nobody"`},
		{"one twice", peft.Fully("r8", "r8"), `adapter "r8" is named twice`},
		{"two copies of a module", peft.Fully("copy", "copy2"), `peft: lm_head: "copy2" replaces what "copy" changes, want "copy2" first or alone`},
		{"two kinds of virtual tokens", peft.Fully("r8", "prefix", "prompt"), `peft: the virtual tokens: "prefix" and "prompt" both replace it, want one of them`},
		{"half of a prefix", []peft.Use{{Name: "prefix", Scale: 0.5}}, `peft: the virtual tokens: "prefix" has the scale 0.5, want 1`},
		{"a scale that is no number", []peft.Use{{Name: "r8", Scale: math.NaN()}}, `adapter "r8" has the scale NaN, want a finite number`},
	} {
		if _, err := shelf.Set(c.use...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestRouteRefuses lists passes that cannot be.
func TestRouteRefuses(t *testing.T) {
	base, shelf := shelfOf(t)
	l, err := shelf.Get("r8")
	if err != nil {
		t.Fatal(err)
	}
	p := op.NewPass([]op.Segment{{End: 1, Adapter: 2}}, []int32{0}, kernel.ModeF32, op.NewArena())
	if err := p.Route([]op.Overlay{l}); err == nil || !strings.Contains(err.Error(), "segment 0 names adapter 2, want 0 to 1") {
		t.Errorf("an adapter that is not there: %v, want an error", err)
	}
	p.Segments[0].Adapter, p.Grad = 1, true
	if err := p.Route([]op.Overlay{l}); err == nil {
		t.Error("a pass for gradients: no error")
	}
	other := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[0]))
	p.Grad = false
	if err := p.Route([]op.Overlay{l}); err != nil {
		t.Fatal(err)
	}
	if err := other.CheckRoutes(p); err == nil || !strings.Contains(err.Error(), "of another model") {
		t.Errorf("an adapter of another model: %v, want an error", err)
	}
	if err := base.CheckRoutes(p); err != nil {
		t.Error(err)
	}
}

// TestMixedDecodingKeepsItsMemory runs many steps in the memory of the first few.
func TestMixedDecodingKeepsItsMemory(t *testing.T) {
	base, shelf := shelfOf(t)
	var list []op.Overlay
	for _, name := range []string{"r8", "dora", "prefix"} {
		l, err := shelf.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	d := newDecoding(base.Model, list, 1, 2, 3, 0, 1)
	d.step(t, []int32{1, 2}, []int32{3, 4}, []int32{5, 6}, []int32{7, 8}, []int32{9, 10})
	peak := d.arena.PeakBytes()
	for range 12 {
		for i := range 5 { // the prefixes of attention grow with the sequence, so its length stays
			d.cache.Truncate(i, 1)
		}
		d.step(t, []int32{1}, []int32{2}, []int32{3}, []int32{4}, []int32{5})
	}
	if now := d.arena.PeakBytes(); now > peak {
		t.Errorf("%d bytes at most after the first step, %d after twelve more, want no more", peak, now)
	}
}

// BenchmarkMixedKinds prefills 18 sequences of 32 rows, three of each: LoRA of rank 8 and of 64, DoRA, Pfeiffer's bottleneck, a prefix, the
// model alone; in one forward pass, and with one kind after the other.
func BenchmarkMixedKinds(b *testing.B) {
	m := benchModel(b)
	shelf := peft.NewShelf(m)
	all := kinds()
	var list []op.Overlay
	for _, name := range []string{"r8", "r64", "dora", "pfeiffer", "prefix"} {
		l, err := shelf.Attach(name, all[name], rand.New(rand.NewPCG(3, 4)))
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, l)
	}
	const each, length = 3, 32
	run := func(groups ...[]int) func(b *testing.B) {
		return func(b *testing.B) {
			rows := 0
			for b.Loop() {
				for _, which := range groups {
					d := newDecoding(m, list, which...)
					tokens := make([][]int32, len(which))
					for i := range tokens {
						tokens[i] = make([]int32, length)
					}
					d.step(b, tokens...)
					rows += length * len(which)
				}
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		}
	}
	var mixed, base []int
	var apart [][]int
	for k := range len(list) + 1 {
		apart = append(apart, slices.Repeat([]int{k}, each))
		mixed, base = append(mixed, apart[k]...), append(base, make([]int, each)...)
	}
	b.Run("the model alone", run(base))
	b.Run("six kinds in one forward", run(mixed))
	b.Run("one kind at a time", run(apart...))
	var single [][]int
	for _, k := range mixed {
		single = append(single, []int{k})
	}
	b.Run("one sequence at a time", run(single...))
}

// benchModel is large enough that its products count.
func benchModel(b *testing.B) *model.Model {
	b.Helper()
	c, err := model.ParseConfig([]byte(`{"model_type": "llama", "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 12,
		"num_key_value_heads": 4, "vocab_size": 1024, "max_position_embeddings": 64}`))
	if err != nil {
		b.Fatal(err)
	}
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// BenchmarkMixed decodes 16 sequences by one row each: with the model alone, with as many LoRAs in one batch, and with one after the
// other, as without mixed batches.
func BenchmarkMixed(b *testing.B) {
	const rows = 16
	m := benchModel(b)
	shelf := peft.NewShelf(m)
	var list []op.Overlay
	var tokens [][]int32
	for i := range rows {
		l, err := shelf.Attach(fmt.Sprint(i), lowRank(8, nil), rand.New(rand.NewPCG(3, uint64(i))))
		if err != nil {
			b.Fatal(err)
		}
		list, tokens = append(list, l), append(tokens, []int32{int32(i)})
	}
	run := func(adapters int, apart bool) func(b *testing.B) {
		return func(b *testing.B) {
			which := make([]int, rows)
			for i := range which {
				if adapters > 0 {
					which[i] = 1 + i*adapters/rows
				}
			}
			steps := []*decoding{newDecoding(m, list, which...)}
			feed := tokens
			if apart {
				steps, feed = nil, tokens[:1]
				for _, k := range which {
					steps = append(steps, newDecoding(m, list, k))
				}
			}
			for b.Loop() {
				for _, d := range steps {
					d.step(b, feed...)
					for i := range feed {
						d.cache.Truncate(i, 0)
					}
				}
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
		}
	}
	for _, n := range []int{0, 1, 4, 16} {
		b.Run(fmt.Sprintf("%d adapters", n), run(n, false))
	}
	b.Run("16 adapters, one at a time", run(16, true))
}
