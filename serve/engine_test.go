package serve_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/graft-ml/graft/adapter"
	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/serve"
	"go.uber.org/goleak"
)

// greedy asks for n tokens.
func greedy(n int, prompt ...int32) serve.Generation {
	return serve.Generation{Prompt: prompt, Logprobs: 2, Options: generate.Options{MaxNewTokens: n}}
}

func generateOn(t testing.TB, e *serve.Engine, g serve.Generation) serve.Result {
	t.Helper()
	r, err := e.Generate(context.Background(), g, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEveryDecoder has every architecture that continues texts do so through every kind of adapter, with few rows a step and small pages.
func TestEveryDecoder(t *testing.T) {
	for _, c := range modeltest.Tiny {
		base := modeltest.Open(t, modeltest.Write(t, c))
		if base.CheckGenerates() != nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			r := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All})
			dirs := []string{""}
			names := []string{""}
			for i, k := range kinds {
				names = append(names, k.name)
				dirs = append(dirs, write(t, base.Model, filepath.Join(t.TempDir(), k.name), k.config(), uint64(i)))
				loadAs(t, r, k.name, dirs[len(dirs)-1])
			}
			e := newEngine(t, base.Model, r, serve.EngineOptions{MaxBatchTokens: 5, PageRows: 3})
			got := make([]chan serve.Result, len(dirs))
			for i, name := range names {
				g := greedy(7, 1, 2, 3, 4, 5, 6)
				if name != "" {
					g.Adapters = peft.Fully(name)
				}
				got[i] = make(chan serve.Result, 1)
				go func() {
					x, err := e.Generate(context.Background(), g, nil)
					if err != nil {
						t.Error(err)
					}
					got[i] <- x
				}()
			}
			for i, dir := range dirs {
				want := alone(t, base.Model, dir, []int32{1, 2, 3, 4, 5, 6}, generate.Options{MaxNewTokens: 7})
				if x := <-got[i]; !slices.Equal(ids(x.Tokens), want) && !closeCall(x.Tokens, want) {
					t.Errorf("through %q: %v, want %v", names[i], ids(x.Tokens), want)
				}
			}
		})
	}
}

// closeCall says that tokens part from others where the best two are as near as roundings.
func closeCall(got []serve.Token, want []int32) bool {
	for i, x := range got {
		if x.ID != want[i] {
			return x.Top[0].Logprob-x.Top[1].Logprob <= near
		}
	}
	return true
}

// TestScores compares the log-probabilities of prompts and new tokens with those of a plain pass.
func TestScores(t *testing.T) {
	base := tiny(t, "llama")
	e := newEngine(t, base.Model, newRegistry(t, base.Model, 0), serve.EngineOptions{MaxBatchTokens: 3, PageRows: 2})
	prompt := []int32{3, 1, 4, 1, 5, 9, 2, 6}
	g := greedy(4, prompt...)
	g.Echo, g.Logprobs = true, 3
	x := generateOn(t, e, g)
	all := slices.Concat(prompt, ids(x.Tokens))
	positions := make([]int32, len(all))
	rows := make([]int, len(all))
	for i := range all {
		positions[i], rows[i] = int32(i), i
	}
	p := op.NewPass([]op.Segment{{End: len(all)}}, positions, kernel.ModeF32, op.NewArena())
	logits := base.Model.Logits(p, base.Hidden(p, all), rows)
	told := slices.Concat(x.Prompt, x.Tokens)
	if len(told) != len(all) || told[0].ID != prompt[0] || told[0].Top != nil {
		t.Fatalf("%d tokens told, the first %+v, want %d, the first without probability", len(told), told[0], len(all))
	}
	for i, tok := range told[1:] {
		sum := 0.0
		for _, v := range logits.Row(i) {
			sum += math.Exp(float64(v))
		}
		want := logits.Row(i)[all[i+1]] - float32(math.Log(sum))
		check.Close(t, fmt.Sprintf("log-probability %d", i+1), []float32{tok.Logprob}, []float32{want}, near, 1e-5)
		best := slices.MaxFunc(tok.Top, func(a, b serve.Candidate) int { return int(math.Copysign(1, float64(a.Logprob-b.Logprob))) })
		if tok.ID != all[i+1] || len(tok.Top) != 3 || tok.Top[0] != best {
			t.Errorf("token %d is %+v, want %d with the 3 most probable in their order", i+1, tok, all[i+1])
		}
	}
	scored, err := e.Score(context.Background(), serve.Reading{Tokens: prompt}, 3)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Score", scored, x.Prompt)
}

// TestBias makes a token certain and another impossible.
func TestBias(t *testing.T) {
	base := tiny(t, "llama")
	e := newEngine(t, base.Model, newRegistry(t, base.Model, 0), serve.EngineOptions{})
	g := greedy(3, 1, 2)
	plain := generateOn(t, e, g)
	g.LogitBias = map[int32]float32{plain.Tokens[0].ID: -100}
	if x := generateOn(t, e, g); x.Tokens[0].ID != plain.Tokens[0].Top[1].ID || x.Tokens[0].Logprob != plain.Tokens[0].Top[1].Logprob {
		t.Errorf("%+v with the best forbidden, want the second best with its own probability: %+v", x.Tokens[0], plain.Tokens[0].Top[1])
	}
	g.LogitBias = map[int32]float32{11: 100}
	if x := generateOn(t, e, g); !slices.Equal(ids(x.Tokens), []int32{11, 11, 11}) {
		t.Errorf("%v, want 11 throughout", ids(x.Tokens))
	}
}

// TestRefused lists requests that no engine takes.
func TestRefused(t *testing.T) {
	base := tiny(t, "llama")
	e := newEngine(t, base.Model, newRegistry(t, base.Model, 0), serve.EngineOptions{})
	long := make([]int32, 33) // max_position_embeddings is 32
	with := func(set func(g *serve.Generation)) serve.Generation {
		g := greedy(3, 1, 2)
		set(&g)
		return g
	}
	for says, g := range map[string]serve.Generation{
		"no prompt":               greedy(3),
		"a token beyond":          greedy(3, 23),
		"a negative token":        greedy(3, -1),
		"a prompt too long":       greedy(3, long...),
		"too long behind virtual": with(func(g *serve.Generation) { g.Prompt, g.Adapters = long[:30], peft.Fully("prefix") }),
		"no tokens":               greedy(0, 1),
		"beams":                   with(func(g *serve.Generation) { g.Options.NumBeams = 2 }),
		"a bad temperature":       with(func(g *serve.Generation) { g.Options.Temperature = math.NaN() }),
		"a bias of no token":      with(func(g *serve.Generation) { g.LogitBias = map[int32]float32{23: 1} }),
		"a bias of NaN":           with(func(g *serve.Generation) { g.LogitBias = map[int32]float32{2: float32(math.NaN())} }),
		"too many logprobs":       with(func(g *serve.Generation) { g.Logprobs = 24 }),
	} {
		if _, err := e.Generate(context.Background(), g, nil); !errors.Is(err, serve.ErrRequest) {
			t.Errorf("%s: %v, want ErrRequest", says, err)
		}
	}
	if _, err := e.Generate(context.Background(), with(func(g *serve.Generation) { g.Adapters = peft.Fully("nobody") }), nil); !errors.Is(err, serve.ErrNoAdapter) {
		t.Errorf("an adapter that is none: %v, want ErrNoAdapter", err)
	}
	for says, r := range map[string]serve.Reading{
		"no text": {}, "a token beyond": {Tokens: []int32{23}}, "a text too long": {Tokens: long}, "a pool that is none": {Tokens: []int32{1}, Pool: "max"},
		"types of another text": {Tokens: []int32{1}, Types: []int32{0, 0}},
	} {
		if _, err := e.Embed(context.Background(), r); !errors.Is(err, serve.ErrRequest) {
			t.Errorf("%s: %v, want ErrRequest", says, err)
		}
	}
	if _, err := e.Classify(context.Background(), serve.Reading{Tokens: []int32{1}}); !errors.Is(err, serve.ErrRequest) {
		t.Errorf("Classify by a model that continues texts: %v, want ErrRequest", err)
	}
	// A text ends where the model's positions do.
	if x := generateOn(t, e, greedy(100, 1, 2)); len(x.Tokens) != 31 || x.Finish != serve.FinishLength {
		t.Errorf("%d tokens, finish %q, want 31 by length", len(x.Tokens), x.Finish)
	}
}

// TestBeginningsAreShared asks twice for a prompt, and once through another adapter.
func TestBeginningsAreShared(t *testing.T) {
	base := tiny(t, "llama")
	r := newRegistry(t, base.Model, 0)
	for _, adapter := range []string{"", "lora", "prefix", "prompt"} {
		e := newEngine(t, base.Model, r, serve.EngineOptions{PageRows: 4})
		g := greedy(6, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
		virtual := map[string]int{"prefix": 3, "prompt": 2}[adapter]
		if adapter != "" {
			g.Adapters = peft.Fully(adapter)
		}
		first := generateOn(t, e, g)
		again := generateOn(t, e, g)
		if want := (9+virtual)/4*4 - virtual; first.Cached != 0 || again.Cached != want {
			t.Errorf("%q: %d and %d tokens known, want 0 and %d", adapter, first.Cached, again.Cached, want)
		}
		same(t, "once more", again.Tokens, first.Tokens)
		longer := g
		longer.Prompt = slices.Concat(g.Prompt, ids(first.Tokens))
		if x := generateOn(t, e, longer); x.Cached < again.Cached || x.Cached < 8 {
			t.Errorf("%q: %d tokens known of a prompt that goes on, want more than %d", adapter, x.Cached, again.Cached)
		}
		g.Adapters = peft.Fully("dora")
		if x := generateOn(t, e, g); x.Cached != 0 {
			t.Errorf("%q: %d tokens known through another adapter, want none", adapter, x.Cached)
		}
	}
}

// TestSlowReader has one reader wait after its first token until another text is done, in a cache for little more than one of them.
func TestSlowReader(t *testing.T) {
	base := tiny(t, "llama")
	e := newEngine(t, base.Model, newRegistry(t, base.Model, 0), serve.EngineOptions{Ahead: 2, MaxSequences: 1, PageRows: 4, CacheBytes: 8 * 4 * 2 * 2 * 12 * 4})
	g := greedy(20, 1, 2, 3)
	want := generateOn(t, e, g)
	began, goOn := make(chan bool), make(chan bool)
	slow := make(chan serve.Result)
	var first sync.Once
	go func() {
		x, err := e.Generate(context.Background(), g, func(serve.Token) bool {
			first.Do(func() {
				close(began)
				<-goOn
			})
			return true
		})
		if err != nil {
			t.Error(err)
		}
		slow <- x
	}()
	<-began
	for range 3 {
		same(t, "beside a slow reader", generateOn(t, e, g).Tokens, want.Tokens)
	}
	close(goOn)
	same(t, "the slow reader's text", (<-slow).Tokens, want.Tokens)
}

// TestGivenUp ends requests in every state: while they run, while they wait, before they begin.
func TestGivenUp(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	base := tiny(t, "llama")
	r := newRegistry(t, base.Model, 0)
	e := serve.NewEngine(base.Model, r, serve.EngineOptions{MaxSequences: 1, MaxQueue: 1, Ahead: 1, NoReuse: true})
	g := greedy(20, 1, 2, 3)
	g.Adapters = peft.Fully("lora")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	began, goOn := make(chan bool, 1), make(chan bool)
	ended := make(chan error, 2)
	go func() {
		x, err := e.Generate(ctx, g, func(serve.Token) bool { began <- true; <-goOn; return true })
		if len(x.Tokens) == 0 || len(x.Versions) != 1 {
			t.Errorf("%+v of a text that was given up, want what there is", x)
		}
		ended <- err
	}()
	<-began
	// A deadline takes the pages although the reader still looks at its first token.
	cancel()
	for e.Stats().Running > 0 {
		time.Sleep(time.Millisecond)
	}
	if s := e.Stats(); s.CacheBytes != 0 || s.Cancelled != 1 {
		t.Errorf("%+v after the text was given up, want no pages", s)
	}
	close(goOn)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if _, err := e.Generate(ctx, g, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that is late: %v, want context.Canceled", err)
	}
	if x, err := e.Generate(context.Background(), g, func(serve.Token) bool { return false }); err != nil || len(x.Tokens) != 1 || x.Finish != serve.FinishStop {
		t.Errorf("%+v, %v, want one token and no error", x, err)
	}
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := e.Generate(context.Background(), g, nil); !errors.Is(err, serve.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	for _, info := range r.List() {
		if info.Used != 0 {
			t.Errorf("%d requests hold %q", info.Used, info.Name)
		}
	}
}

// TestQueue has a request wait for room for its adapter, another find the queue full, and the engine close on the first.
func TestQueue(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	base := tiny(t, "llama")
	dirs := []string{folder(t, base.Model, 1), folder(t, base.Model, 2)}
	size := loadAs(t, serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All}), "a", dirs[0]).Bytes
	r := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All, Budget: size})
	loadAs(t, r, "a", dirs[0])
	loadAs(t, r, "b", dirs[1])
	held := acquire(t, r, "a")
	defer held.Release()
	e := serve.NewEngine(base.Model, r, serve.EngineOptions{MaxQueue: 1})
	ended := make(chan error)
	g := greedy(3, 1, 2)
	g.Adapters = peft.Fully("b")
	go func() {
		_, err := e.Generate(context.Background(), g, nil)
		ended <- err
	}()
	for r.Stats().Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := e.Generate(context.Background(), greedy(3, 1, 2), nil); !errors.Is(err, serve.ErrBusy) {
		t.Errorf("a request beyond the queue: %v, want ErrBusy", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v, want that its time ran out", err)
	}
	if err := <-ended; !errors.Is(err, serve.ErrClosed) {
		t.Errorf("the request that waited: %v, want ErrClosed", err)
	}
	if s := e.Stats(); s.Waiting+s.Running != 0 {
		t.Errorf("%+v after Close, want nobody", s)
	}
}

// TestCloseDrains answers what has been asked before Close, and refuses what comes after.
func TestCloseDrains(t *testing.T) {
	base := tiny(t, "llama")
	e := serve.NewEngine(base.Model, newRegistry(t, base.Model, 0), serve.EngineOptions{Ahead: 1})
	began, goOn := make(chan bool, 100), make(chan bool)
	ended := make(chan serve.Result)
	go func() {
		x, err := e.Generate(context.Background(), greedy(5, 1, 2), func(serve.Token) bool { began <- true; <-goOn; return true })
		if err != nil {
			t.Error(err)
		}
		ended <- x
	}()
	<-began
	closed := make(chan error)
	go func() { closed <- e.Close(context.Background()) }()
	for {
		if _, err := e.Generate(context.Background(), greedy(1, 1), nil); errors.Is(err, serve.ErrClosed) {
			break
		}
	}
	close(goOn)
	if x := <-ended; len(x.Tokens) != 5 {
		t.Errorf("%d tokens, want 5", len(x.Tokens))
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	// Another, whose reader never comes back before Close gives up.
	e = serve.NewEngine(base.Model, newRegistry(t, base.Model, 0), serve.EngineOptions{Ahead: 1})
	began = make(chan bool, 1)
	hang := make(chan bool)
	late := make(chan error)
	go func() {
		_, err := e.Generate(context.Background(), greedy(5, 1, 2), func(serve.Token) bool { began <- true; <-hang; return true })
		late <- err
	}()
	<-began
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := e.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v, want that its time ran out", err)
	}
	close(hang)
	if err := <-late; !errors.Is(err, serve.ErrClosed) {
		t.Errorf("the text that was cut: %v, want ErrClosed", err)
	}
}

// TestReadings compares classes, tags and embeddings of many requests at once with those of each on a model of its own.
func TestReadings(t *testing.T) {
	for _, c := range []struct {
		model string
		head  model.HeadKind
	}{
		{"bert", model.SequenceLabels}, {"bert", model.TokenLabels}, {"llama", model.SequenceLabels}, {"deberta-v2", model.TokenLabels},
	} {
		t.Run(c.model+" "+c.head.String(), func(t *testing.T) { readings(t, c.model, c.head) })
	}
}

func readings(t *testing.T, name string, head model.HeadKind) {
	base := headed(t, name, head)
	r := serve.NewRegistry(base, serve.RegistryOptions{Table: methods.All})
	adapters := []string{"", "low-rank", "with a head"} // the last with a head of its own
	dirs := []string{""}
	for i := range adapters[1:] {
		dirs = append(dirs, write(t, base, filepath.Join(t.TempDir(), "adapter"), lowRank(func(c *lora.Config) {
			if i == 1 {
				c.Beside.ModulesToSave = []string{base.Head().Name}
			}
		}), uint64(i)))
		loadAs(t, r, fmt.Sprint("a", i+1), dirs[i+1])
	}
	e := newEngine(t, base, r, serve.EngineOptions{MaxBatchTokens: 16})
	texts := prompts(15, base.Config.VocabSize)
	got := make([]chan told, len(texts))
	for i, text := range texts {
		x := serve.Reading{Tokens: text}
		if i%3 > 0 {
			x.Adapters = peft.Fully(fmt.Sprint("a", i%3))
		}
		got[i] = make(chan told, 1)
		go func() { got[i] <- tell(t, e, head, x) }()
	}
	for i, text := range texts {
		view, err := base.View()
		if err != nil {
			t.Fatal(err)
		}
		if i%3 > 0 {
			if _, _, err := peft.Load(dirs[i%3], view, methods.All, peft.Allow{}); err != nil {
				t.Fatal(err)
			}
		}
		single := serve.NewEngine(view, serve.NewRegistry(view, serve.RegistryOptions{}), serve.EngineOptions{})
		want := tell(t, single, head, serve.Reading{Tokens: text})
		if err := single.Close(context.Background()); err != nil {
			t.Error(err)
		}
		(<-got[i]).compare(t, fmt.Sprintf("text %d through %q", i, adapters[i%3]), want)
	}
}

// told is what an engine tells of a text.
type told struct {
	labels [][]serve.Label // by token, or one row
	vector []float32
}

func tell(t *testing.T, e *serve.Engine, head model.HeadKind, x serve.Reading) (a told) {
	var err error
	if head == model.TokenLabels {
		a.labels, err = e.Tag(context.Background(), x)
	} else {
		a.labels = make([][]serve.Label, 1)
		a.labels[0], err = e.Classify(context.Background(), x)
	}
	if err == nil {
		a.vector, err = e.Embed(context.Background(), x)
	}
	if err != nil {
		t.Error(err)
	}
	return a
}

func (a told) compare(t *testing.T, what string, want told) {
	t.Helper()
	check.Close(t, what+": vector", a.vector, want.vector, near, 1e-5)
	if len(a.labels) != len(want.labels) {
		t.Fatalf("%s: %d rows of labels, want %d", what, len(a.labels), len(want.labels))
	}
	for i, row := range want.labels {
		sum := 0.0
		for j, l := range row {
			if x := a.labels[i][j]; x.Name != l.Name || math.Abs(float64(x.Score-l.Score)) > near {
				t.Errorf("%s: label %d of row %d is %+v, want %+v", what, j, i, x, l)
			}
			sum += float64(l.Score)
		}
		if len(row) != 3 || math.Abs(sum-1) > 1e-6 {
			t.Errorf("%s: row %d has %d labels with the sum %g, want 3 with 1", what, i, len(row), sum)
		}
	}
}

// headed is a small model with a head of a kind, of random numbers.
func headed(t testing.TB, name string, head model.HeadKind) *model.Model {
	t.Helper()
	for _, c := range modeltest.Tiny {
		if c.Name != name {
			continue
		}
		cfg, err := model.ParseConfig([]byte(c.JSON))
		if err != nil {
			t.Fatal(err)
		}
		m, err := model.NewFor(cfg, model.Want{Kind: head, Labels: []string{"one", "two", "three"}}, newRand())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatalf("no small model is called %q", name)
	return nil
}

// TestAdaptersOfTheirOwnModel mixes texts with those through an adapter that rows of others would see: gates of prefixes.
func TestAdaptersOfTheirOwnModel(t *testing.T) {
	base := tiny(t, "llama")
	r := newRegistry(t, base.Model, 0)
	c, err := adapter.ParseHub("unipelt")
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, base.Model, filepath.Join(t.TempDir(), "adapter"), c, 3)
	loadAs(t, r, "gated", dir)
	e := newEngine(t, base.Model, r, serve.EngineOptions{PageRows: 4})
	l := acquire(t, r, "gated")
	if l.Overlay().At(layer.AlonePlace{}) == nil {
		t.Error("the adapter can be mixed with others: the test shows nothing")
	}
	l.Release()
	prompt := []int32{1, 2, 3, 4, 5}
	got := make(chan serve.Result, 6)
	for i := range 6 {
		go func() {
			g := greedy(6, prompt...)
			g.Adapters = peft.Fully([]string{"gated", "lora"}[i%2])
			x, err := e.Generate(context.Background(), g, nil)
			if err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				got <- x
			}
		}()
	}
	want := alone(t, base.Model, dir, prompt, generate.Options{MaxNewTokens: 6})
	for range 3 {
		if x := <-got; !slices.Equal(ids(x.Tokens), want) && !closeCall(x.Tokens, want) {
			t.Errorf("%v, want %v", ids(x.Tokens), want)
		}
	}
}
