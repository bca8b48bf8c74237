package serve_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/serve"
	"go.uber.org/goleak"
)

var long = flag.Bool("long", false, "also run what takes minutes")

// TestLaw9UnderLoad sends many requests at once, through many adapters of all kinds, some of which are replaced meanwhile and some requests
// given up; each answer must be that of the request alone with the version that it was given.
func TestLaw9UnderLoad(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	rounds := 1
	if *long {
		rounds = 20
	}
	for round := range rounds {
		x := newLoad(t, uint64(round))
		x.run(200)
		x.compare()
		x.close()
	}
}

// load is a test's registry of 12 adapters in a budget for about half of them, with two versions of each on disk.
type load struct {
	*testing.T
	r    *serve.Registry
	e    *serve.Engine
	rng  *rand.Rand
	dirs map[string]string // by version

	mu      sync.Mutex
	answers []answer
}

type answer struct {
	g serve.Generation
	serve.Result
}

func newLoad(t *testing.T, seed uint64) *load {
	base := tiny(t, "llama")
	x := &load{T: t, rng: rand.New(rand.NewPCG(seed, 3)), dirs: map[string]string{}}
	x.r = serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All, Budget: 40 << 10})
	for i := range 12 {
		for v := range 2 {
			dir := write(t, base.Model, filepath.Join(t.TempDir(), fmt.Sprint(i, v)), kinds[i%len(kinds)].config(), seed+uint64(100*v+i))
			info, err := x.r.Load(t.Context(), x.name(i), dir)
			if err != nil {
				t.Fatal(err)
			}
			x.dirs[info.Version] = dir
		}
	}
	// So few pages that texts must give theirs to others.
	x.e = serve.NewEngine(base.Model, x.r, serve.EngineOptions{MaxBatchTokens: 24, MaxSequences: 16, PageRows: 4, CacheBytes: 40 * 4 * 2 * 2 * 12 * 4, Ahead: 2})
	return x
}

func (x *load) name(i int) string { return fmt.Sprintf("%s-%d", kinds[i%len(kinds)].name, i) }

// request draws the n-th request.
func (x *load) request(n int) serve.Generation {
	prompt := []int32{1, 2, 3, 4, 5, 6}[:x.rng.IntN(7)] // many begin alike
	for range 1 + x.rng.IntN(6) {
		prompt = append(prompt[:len(prompt):len(prompt)], int32(x.rng.IntN(23)))
	}
	g := serve.Generation{Prompt: prompt, Logprobs: 2, Options: generate.Options{MaxNewTokens: 1 + x.rng.IntN(12), EOS: []int32{int32(x.rng.IntN(23))}}}
	if i := x.rng.IntN(13); i < 12 {
		g.Adapters = peft.Fully(x.name(i))
	}
	if n%9 == 0 { // two at once
		g.Adapters = []peft.Use{{Name: x.name(0), Scale: 0.5}, {Name: x.name(1), Scale: 1}}
	}
	return g
}

func (x *load) run(n int) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { x.replace(stop) })
	var requests sync.WaitGroup
	for i := range n {
		g, after := x.request(i), x.rng.IntN(12)
		if x.rng.IntN(5) == 0 {
			time.Sleep(time.Duration(x.rng.IntN(2000)) * time.Microsecond) // arrivals in bursts
		}
		requests.Go(func() { x.send(i, g, after) })
	}
	requests.Wait()
	close(stop)
	wg.Wait()
}

// replace publishes one version and then the other of one name after another.
func (x *load) replace(stop chan struct{}) {
	versions := map[string][]string{}
	for _, dir := range x.dirs {
		versions[filepath.Base(dir)[:len(filepath.Base(dir))-1]] = append(versions[filepath.Base(dir)[:len(filepath.Base(dir))-1]], dir)
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		dirs := versions[fmt.Sprint(i%12, " ")]
		if _, err := x.r.Load(context.Background(), x.name(i%12), dirs[i/12%len(dirs)]); err != nil {
			x.Error(err)
		}
	}
}

// send sends a request. Every fifth is given up after some tokens, by its context or by emit.
func (x *load) send(i int, g serve.Generation, after int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := 0
	got, err := x.e.Generate(ctx, g, func(serve.Token) bool {
		seen++
		if i%5 == 1 && seen > after {
			cancel()
		}
		return !(i%5 == 2 && seen > after)
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		x.Errorf("request %d: %v", i, err)
	}
	if err != nil || i%5 == 2 && seen > after {
		got.Finish = "" // it may have ended before its time
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answers = append(x.answers, answer{g, got})
}

// compare gives each request to an engine of its own version alone.
func (x *load) compare() {
	base := tiny(x.T, "llama")
	r := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All})
	for v, dir := range x.dirs {
		if _, err := r.Load(context.Background(), v[:32], dir); err != nil {
			x.Fatal(err)
		}
	}
	e := serve.NewEngine(base.Model, r, serve.EngineOptions{NoReuse: true})
	defer e.Close(context.Background())
	whole := 0
	for i, a := range x.answers {
		g := a.g
		g.Adapters = nil
		for j, v := range a.Versions {
			g.Adapters = append(g.Adapters, peft.Use{Name: v[:32], Scale: a.g.Adapters[j].Scale})
		}
		want, err := e.Generate(context.Background(), g, nil)
		if err != nil {
			x.Fatal(err)
		}
		if a.Finish == "" {
			want.Tokens = want.Tokens[:min(len(want.Tokens), len(a.Tokens))]
		} else {
			whole++
		}
		same(x.T, fmt.Sprintf("answer %d through %v", i, a.g.Adapters), a.Tokens, want.Tokens)
		if a.Finish != "" && a.Finish != want.Finish {
			x.Errorf("answer %d finished by %q, want %q", i, a.Finish, want.Finish)
		}
	}
	if whole < len(x.answers)/2 {
		x.Errorf("%d of %d answers are whole", whole, len(x.answers))
	}
}

// close ends the engine and looks for what has not been given back.
func (x *load) close() {
	s := x.e.Stats()
	x.Logf("%d steps, %d tokens of prompts (%d known), %d new, %d texts lost their pages; adapters: %+v", s.Steps, s.PromptTokens, s.Reused, s.Tokens, s.Preempted, x.r.Stats())
	if s.Waiting+s.Running != 0 {
		x.Errorf("%d requests wait and %d run at the end", s.Waiting, s.Running)
	}
	if s.Preempted == 0 || s.Reused == 0 || x.r.Stats().Evictions == 0 {
		x.Error("no text lost its pages, none was known, or no adapter left memory: the test shows too little")
	}
	if err := x.e.Close(context.Background()); err != nil {
		x.Error(err)
	}
	if n := x.e.Stats().CacheBytes; n != 0 {
		x.Errorf("%d bytes of the cache in use at the end", n)
	}
	for _, info := range x.r.List() {
		if info.Used != 0 {
			x.Errorf("%d requests hold %q at the end", info.Used, info.Name)
		}
		if err := x.r.Unload(info.Name); err != nil {
			x.Error(err)
		}
	}
	if n := x.r.Stats().Bytes; n != 0 {
		x.Errorf("%d bytes of adapters in memory at the end", n)
	}
}
