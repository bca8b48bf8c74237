package serve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/model/layer"
)

// errStopped ends a request whose caller has had enough.
var errStopped = errors.New("serve: stopped")

// sequence is a text that is continued.
type sequence struct {
	*request
	g       Generation
	tokens  []int32 // the prompt and what has come
	virtual int     // the most rows that its adapters put before it
	seq     int     // number in the cache; negative = none
	rows    int     // tokens that the cache has
	full    int     // pages that are known
	chooser *generate.Chooser
	scratch []float32
	out     chan Token // closed at the end; the fields below are the caller's then
	result  Result
}

// made is how many tokens are new.
func (s *sequence) made() int { return len(s.tokens) - len(s.g.Prompt) }

// paused says that its reader is as far behind as may be.
func (s *sequence) paused() bool { return len(s.out) == cap(s.out) }

// Generate continues a prompt. Each token is given to emit, if that is not nil, in the caller's goroutine; false ends the text. A caller
// that is slow makes its text wait and nobody else's. When ctx ends, Generate returns what there is and ctx's error.
func (e *Engine) Generate(ctx context.Context, g Generation, emit func(Token) bool) (Result, error) {
	if err := e.checkGeneration(&g); err != nil {
		return Result{}, err
	}
	x, err := e.acquire(ctx, g.Adapters)
	if err != nil {
		return Result{}, err
	}
	s := &sequence{request: x, g: g, seq: -1, out: make(chan Token, e.o.Ahead)}
	s.tokens = append(make([]int32, 0, len(g.Prompt)+min(g.Options.MaxNewTokens, 1024)), g.Prompt...)
	s.result.Versions = x.lease.Versions()
	if err := e.fits(s); err != nil {
		e.leave(x, err)
		return Result{}, err
	}
	if g.Echo {
		s.result.Prompt = []Token{{ID: g.Prompt[0]}}
	}
	s.chooser = generate.NewChooser(s.g.Options, 0)
	defer context.AfterFunc(ctx, e.ring)()
	e.mu.Lock()
	e.arrivals = append(e.arrivals, s)
	e.mu.Unlock()
	e.ring()
	return e.listen(s, emit)
}

// listen passes tokens on until the text has ended.
func (e *Engine) listen(s *sequence, emit func(Token) bool) (Result, error) {
	var tokens []Token
	enough, lost := false, false
	for t := range s.out {
		if len(s.out) == cap(s.out)-1 {
			e.ring() // it may have paused
		}
		if lost = lost || s.ctx.Err() != nil; enough || lost {
			continue
		}
		tokens = append(tokens, t)
		if emit != nil && !emit(t) {
			enough = true
			s.stopped.Store(true)
			e.ring()
		}
	}
	r := s.result
	r.Tokens = tokens
	if enough {
		r.Finish = FinishStop
		return r, nil
	}
	if lost && s.err == nil {
		return r, s.ctx.Err()
	}
	return r, s.err
}

// checkGeneration reports what no adapter would change.
func (e *Engine) checkGeneration(g *Generation) error {
	o := g.Options
	if g.Echo && o.MaxNewTokens == 0 {
		o.MaxNewTokens = 1
	}
	vocab := e.m.Config.VocabSize
	errs := []error{e.m.CheckGenerates(), o.Validate(), e.m.CheckTokens(g.Prompt)}
	if len(g.Prompt) == 0 {
		errs = append(errs, errors.New("the prompt is empty, want at least one token"))
	}
	if o.NumBeams > 1 {
		errs = append(errs, fmt.Errorf("num_beams is %d, want 0 or 1", o.NumBeams))
	}
	if g.Logprobs > vocab {
		errs = append(errs, fmt.Errorf("logprobs is %d, want at most the vocabulary's %d", g.Logprobs, vocab))
	}
	for id, b := range g.LogitBias {
		if id < 0 || int(id) >= vocab || b != b || math.IsInf(float64(b), 1) {
			errs = append(errs, fmt.Errorf("logit_bias of token %d is %g, want finite numbers for tokens 0 to %d", id, b, vocab-1))
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("serve: %w: %w", ErrRequest, err)
	}
	return nil
}

// fits reports a prompt that is longer, with what its adapters put before it, than the model's positions or the whole cache; and
// bounds the new tokens to what is left.
func (e *Engine) fits(s *sequence) error {
	s.virtual = virtualOf(s.lease)
	most := e.most()
	if n := len(s.g.Prompt) + s.virtual; n > most {
		return fmt.Errorf("serve: %w: the prompt has %d tokens and %d virtual ones before it, want at most %d together", ErrRequest, len(s.g.Prompt), s.virtual, most)
	}
	o := &s.g.Options
	o.MaxNewTokens = min(o.MaxNewTokens, most-s.virtual-len(s.g.Prompt)+1) // the last token is nobody's past
	return nil
}

// most is how many rows a text may have: those of max_position_embeddings, and of the cache but for one page, for a copy.
func (e *Engine) most() int {
	n := (e.pages.Most() - 1) * e.pages.PageRows()
	if c := e.m.Config; c.MaxPositionEmbeddings > 0 {
		n = min(n, c.MaxPositionEmbeddings)
	}
	return n
}

// virtualOf is the most rows that a lease's adapters put before a text.
func virtualOf(l *Lease) int {
	if l.adapters == nil {
		return 0
	}
	if x, ok := l.adapters.At(layer.Prompts{}).(layer.Prompter); ok {
		return x.NumVirtualTokens()
	}
	return 0
}

// alone says that a lease's adapters run on a model of their own.
func (l *Lease) alone() bool { return l.adapters != nil && l.adapters.At(layer.AlonePlace{}) != nil }

// open gives a text a sequence of the cache, with the pages of its beginning that are known; false if there is no room for the rest.
func (e *Engine) open(s *sequence) bool {
	s.seq, s.rows, s.full = e.cache.Open(), 0, 0
	if !e.o.NoReuse && !s.g.Echo {
		// The last token is passed again for its logits.
		if start, pages := e.known.match(s.lease.Key(), s.tokens[:len(s.tokens)-1]); len(pages) > 0 {
			e.cache.Share(s.seq, start, pages)
			s.rows, s.full = e.cache.Len(s.seq), len(pages)
		}
	}
	if e.room(e.pages.For(s.virtual+len(s.tokens)) - s.full) {
		return true
	}
	if len(e.running) == 0 {
		return true // what it needs has been checked, and all is its own
	}
	e.drop(s)
	return false
}

// room makes pages free that only known beginnings have, or texts that their readers make wait, and says whether so many are.
func (e *Engine) room(n int) bool {
	for e.pages.Most()-e.pages.Used() < n {
		if e.known.evict() {
			continue
		}
		i := slices.IndexFunc(e.running, (*sequence).paused)
		if i < 0 {
			return false
		}
		e.yield(i)
	}
	return true
}

// drop takes a text its pages.
func (e *Engine) drop(s *sequence) {
	if s.seq >= 0 {
		e.cache.Close(s.seq)
		s.seq, s.rows, s.full = -1, 0, 0
	}
}

// end ends a text.
func (e *Engine) end(s *sequence, err error) {
	e.drop(s)
	e.leave(s.request, err)
	close(s.out)
}

// know makes the pages of a text known that have become full.
func (e *Engine) know(s *sequence) {
	n := s.rows // virtual rows beside
	start, ok := e.cache.Started(s.seq)
	if !ok || e.o.NoReuse {
		return
	}
	full := (n + start.Virtual + start.Before) / e.pages.PageRows()
	if full > s.full {
		e.known.add(s.lease.Key(), start, s.tokens, e.cache, s.seq, full)
		s.full = full
	}
}

// admit begins texts that wait, as far as there is room. Those that lost their pages come first. Texts that their readers make wait are
// in nobody's way.
func (e *Engine) admit() {
	going := 0
	for _, s := range e.running {
		if !s.paused() {
			going++
		}
	}
	for i := 0; i < len(e.preempted) && going < e.o.MaxSequences; {
		s := e.preempted[i]
		if s.paused() {
			i++
			continue
		}
		if !e.open(s) {
			return
		}
		e.running, e.preempted = append(e.running, s), slices.Delete(e.preempted, i, i+1)
		going++
	}
	for ; going < e.o.MaxSequences; going++ {
		key, s, ok := e.queue.next()
		if !ok || !e.open(s) {
			return
		}
		e.queue.take(key, float64(len(s.tokens)))
		e.running = append(e.running, s)
		e.begin(s)
	}
}

// begin notes that a text waits no longer.
func (e *Engine) begin(s *sequence) {
	s.begun = true
	s.result.Queued, s.result.Cached = time.Since(s.arrived), s.rows
	e.count(s.request, AdapterStats{Requests: 1, PromptTokens: int64(len(s.tokens))})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending--
	e.stats.Reused += int64(s.rows)
}

// preempt takes the pages of the last running text that is not s; of one that its reader makes wait, if there is one. It returns
// false if only s is left, or one that came before it.
func (e *Engine) preempt(s *sequence) bool {
	victim := -1
	for i, x := range e.running {
		if x != s && x.seq >= 0 && (x.paused() || !before(e.running, x, s)) {
			if victim < 0 || x.paused() || !e.running[victim].paused() {
				victim = i
			}
		}
	}
	if victim < 0 {
		return false
	}
	e.yield(victim)
	return true
}

func before(list []*sequence, x, s *sequence) bool {
	for _, y := range list {
		if y == x || y == s {
			return y == x
		}
	}
	return false
}

// yield makes a running text wait until there is room again.
func (e *Engine) yield(i int) {
	x := e.running[i]
	e.drop(x)
	e.running = append(e.running[:i:i], e.running[i+1:]...)
	e.preempted = append(e.preempted, x)
	e.mu.Lock()
	e.stats.Preempted++
	e.mu.Unlock()
}
