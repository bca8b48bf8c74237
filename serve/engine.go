package serve

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// EngineOptions bound what an engine does at once. A zero is the default.
type EngineOptions struct {
	Mode           kernel.Mode
	MaxBatchTokens int   // rows of a step: of long prompts so many at a time; 512
	MaxSequences   int   // texts that are continued at once; 64
	MaxQueue       int   // requests that wait; 1024
	CacheBytes     int64 // of keys and values; 1 GiB
	PageRows       int   // rows that are shared or not; 32
	Ahead          int   // tokens that a text may be ahead of its reader, before it pauses; 64
	NoReuse        bool  // of the beginnings of texts
}

func (o EngineOptions) complete() EngineOptions {
	o.MaxBatchTokens, o.MaxSequences, o.MaxQueue = cmp.Or(o.MaxBatchTokens, 512), cmp.Or(o.MaxSequences, 64), cmp.Or(o.MaxQueue, 1024)
	o.CacheBytes, o.PageRows, o.Ahead = cmp.Or(o.CacheBytes, 1<<30), cmp.Or(o.PageRows, 32), cmp.Or(o.Ahead, 64)
	return o
}

// Engine answers requests over one model, many in one forward pass. One goroutine owns the model, the cache and all that is under way;
// a step passes the next rows of all texts: prompts a piece at a time, and one row of each text that goes on. What a request gets depends on
// nothing but its own prompt, options and adapters; other requests may change the roundings of float32 sums, as products of
// other numbers of rows are summed in another order. Safe for concurrent use.
type Engine struct {
	m *model.Model
	r *Registry
	o EngineOptions

	bell chan struct{} // rung when there may be something to do
	over chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	arrivals []*sequence
	readings []*reading
	pending  int // requests that have not begun, here or on the way here
	alive    int // requests that have not ended
	closing  bool
	stats    EngineStats

	life context.Context // ends when what is under way shall end
	kill context.CancelFunc

	// The goroutine's own.
	queue     fair[*sequence]
	asked     fair[*reading]
	running   []*sequence // in the order of their admission
	preempted []*sequence // that lost their pages, and go on before others begin
	pages     *op.Pages
	cache     *op.Cache
	known     *prefixes
	arena     *op.Arena
	logits    []float32
}

// EngineStats are what an engine does and has done.
type EngineStats struct {
	Waiting, Running int // requests now
	Steps            int64
	Requests         int64 // that ended
	Failed           int64 // of these, with an error
	Cancelled        int64 // of these, because their caller went away or had enough
	Preempted        int64 // times that a text lost its pages to others
	PromptTokens     int64
	Reused           int64 // tokens of prompts whose keys and values were known
	Tokens           int64 // new ones
	CacheBytes       int64 // of keys and values in use
	KnownBytes       int64 // of these, beginnings of texts that have ended or go on
	CacheBudget      int64
	Adapters         map[string]AdapterStats // by name; "" is the model alone
}

// AdapterStats are what an engine has done with an adapter.
type AdapterStats struct {
	Requests     int64
	PromptTokens int64
	Tokens       int64
}

// NewEngine starts an engine. Close ends it.
func NewEngine(m *model.Model, r *Registry, o EngineOptions) *Engine {
	o = o.complete()
	e := &Engine{m: m, r: r, o: o, bell: make(chan struct{}, 1), over: make(chan struct{}), arena: op.NewArena(),
		pages: m.NewPages(o.PageRows, o.CacheBytes), stats: EngineStats{Adapters: map[string]AdapterStats{}}}
	e.life, e.kill = context.WithCancel(context.Background())
	e.cache, e.known = op.NewPagedCache(e.pages), newPrefixes(e.pages)
	e.stats.CacheBudget = int64(e.pages.Most()) * e.pages.PageBytes()
	go e.run()
	return e
}

// ring wakes the goroutine.
func (e *Engine) ring() {
	select {
	case e.bell <- struct{}{}:
	default:
	}
}

// run takes steps as long as there is something to do.
func (e *Engine) run() {
	defer close(e.over)
	for {
		more := e.take()
		e.sweep()
		worked := e.step()
		worked = e.read() || worked
		e.publish()
		if !more && e.idle() {
			break
		}
		if !worked {
			<-e.bell
		}
	}
	e.known.clear()
	e.pages.Trim()
	e.publish()
}

// take fetches what has arrived and says whether more may.
func (e *Engine) take() (more bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.arrivals {
		e.queue.push(s.lease.Key(), s)
	}
	for _, x := range e.readings {
		e.asked.push(x.lease.Key(), x)
	}
	e.arrivals, e.readings = nil, nil
	return !e.closing || e.alive > 0
}

func (e *Engine) idle() bool {
	return e.queue.n+e.asked.n+len(e.running)+len(e.preempted) == 0
}

// publish makes the numbers of a step known.
func (e *Engine) publish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Running = len(e.running)
	e.stats.CacheBytes = int64(e.pages.Used()) * e.pages.PageBytes()
	e.stats.KnownBytes = int64(e.known.pages()) * e.pages.PageBytes()
}

// enter counts a request in, before it acquires its adapters.
func (e *Engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closing:
		return fmt.Errorf("serve: %w", ErrClosed)
	case e.pending >= e.o.MaxQueue:
		return fmt.Errorf("serve: %w: %d wait already", ErrBusy, e.pending)
	}
	e.pending++
	e.alive++
	return nil
}

// request is what all requests have.
type request struct {
	ctx     context.Context
	lease   *Lease
	uses    []peft.Use
	arrived time.Time
	begun   bool
	stopped atomic.Bool // its caller has had enough
	err     error       // read by the caller once the request has ended
}

// acquire is the beginning of every request.
func (e *Engine) acquire(ctx context.Context, uses []peft.Use) (*request, error) {
	x := &request{ctx: ctx, uses: uses, arrived: time.Now()}
	if err := e.enter(); err != nil {
		return nil, err
	}
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	var err error
	if x.lease, err = e.r.Acquire(both, uses); err != nil {
		if ctx.Err() == nil && e.life.Err() != nil {
			err = fmt.Errorf("serve: %w", ErrClosed)
		}
		e.leave(x, err)
		return nil, err
	}
	return x, nil
}

// leave is the end of every request.
func (e *Engine) leave(x *request, err error) {
	x.err = err
	if x.lease != nil {
		x.lease.Release()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !x.begun {
		e.pending--
	}
	e.alive--
	e.stats.Requests++
	switch {
	case x.stopped.Load() || x.ctx.Err() != nil:
		e.stats.Cancelled++
	case err != nil:
		e.stats.Failed++
	}
	if e.closing && e.alive == 0 {
		e.ring()
	}
}

// gone is why a request shall end before it is done, nil if it shall not.
func (e *Engine) gone(x *request) error {
	switch {
	case x.stopped.Load():
		return errStopped
	case x.ctx.Err() != nil:
		return x.ctx.Err()
	case e.life.Err() != nil:
		return fmt.Errorf("serve: %w", ErrClosed)
	}
	return nil
}

// count adds to what each adapter of a request has done.
func (e *Engine) count(x *request, d AdapterStats) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.PromptTokens += d.PromptTokens
	e.stats.Tokens += d.Tokens
	add := func(name string) {
		a := e.stats.Adapters[name]
		a.Requests += d.Requests
		a.PromptTokens += d.PromptTokens
		a.Tokens += d.Tokens
		e.stats.Adapters[name] = a
	}
	if len(x.uses) == 0 {
		add("")
	}
	for _, u := range x.uses {
		add(u.Name)
	}
}

// Stats tells what the engine does and has done.
func (e *Engine) Stats() EngineStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Waiting = e.pending
	s.Adapters = maps.Clone(s.Adapters)
	return s
}

// Close takes no more requests, answers those that it has, and ends. When ctx ends they end with ErrClosed, and Close returns ctx's error.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	e.ring()
	select {
	case <-e.over:
		e.kill()
		return nil
	case <-ctx.Done():
	}
	e.kill()
	e.ring()
	<-e.over
	return ctx.Err()
}
