package kernel

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Parallel runs f(0), f(1) … f(n-1) on up to GOMAXPROCS goroutines and returns when all have ended. Which goroutine
// runs which i is undefined; each takes the next when it is done with one. A panic of f reaches the caller.
func Parallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	w := &work{n: n, f: f}
	w.running.Store(int32(workers))
	w.ended.Add(1)
	for range workers - 1 {
		summon(w)
	}
	w.run()
	w.wait()
	if r := w.failed.Load(); r != nil {
		panic(*r)
	}
}

// work is one call of Parallel.
type work struct {
	n       int
	f       func(i int)
	next    atomic.Int64
	running atomic.Int32 // goroutines that have not ended
	ended   sync.WaitGroup
	failed  atomic.Pointer[any]
}

// run does what is left, with others.
func (w *work) run() {
	defer func() {
		if r := recover(); r != nil {
			w.failed.CompareAndSwap(nil, &r)
		}
		if w.running.Add(-1) == 0 {
			w.ended.Done()
		}
	}()
	for w.failed.Load() == nil {
		i := int(w.next.Add(1)) - 1
		if i >= w.n {
			return
		}
		w.f(i)
	}
}

// wait returns when all have ended.
func (w *work) wait() {
	if !linger(func() bool { return w.running.Load() == 0 }) {
		w.ended.Wait()
	}
}

// patience is how long who waits keeps its processor before it sleeps: to wake one takes as long as a product of few rows.
const patience = 100 * time.Microsecond

// linger looks for something until it is there, or not soon, and says whether it is.
func linger(there func() bool) bool {
	for start, i := time.Now(), 1; ; i++ {
		if there() {
			return true
		}
		if i%64 == 0 {
			if time.Since(start) > patience {
				return false
			}
			runtime.Gosched() // others may want to run, or to stop the world
		}
	}
}

// helper is a goroutine that works and then lingers, since more work often comes soon.
type helper struct{ given atomic.Pointer[work] }

// idle are the helpers that linger.
var idle struct {
	sync.Mutex
	list []*helper
}

// summon has a helper work, one that lingers or a new one.
func summon(w *work) {
	idle.Lock()
	n := len(idle.list) - 1
	if n < 0 {
		idle.Unlock()
		go new(helper).serve(w)
		return
	}
	h := idle.list[n]
	idle.list = idle.list[:n]
	idle.Unlock()
	h.given.Store(w)
}

// serve works until there is none for a while.
func (h *helper) serve(w *work) {
	for w != nil {
		w.run()
		w = h.more()
	}
}

// more waits for more work; nil if none comes.
func (h *helper) more() *work {
	h.given.Store(nil)
	idle.Lock()
	idle.list = append(idle.list, h)
	idle.Unlock()
	if !linger(func() bool { return h.given.Load() != nil }) {
		idle.Lock()
		defer idle.Unlock()
		if i := slices.Index(idle.list, h); i >= 0 {
			idle.list = slices.Delete(idle.list, i, i+1)
			return nil
		}
		for h.given.Load() == nil { // whoever has taken it from the list is about to give
			runtime.Gosched()
		}
	}
	return h.given.Load()
}

// Split cuts 0 … n into pieces of grain (the last may be shorter) and runs f on each in parallel. The pieces do not
// depend on the number of threads.
func Split(n, grain int, f func(lo, hi int)) {
	grain = max(grain, 1)
	Parallel(ceil(n, grain), func(i int) { f(i*grain, min(n, (i+1)*grain)) })
}

func ceil(n, unit int) int { return (n + unit - 1) / unit }

// ParallelErr is Parallel for work that may fail: it calls f for 0 to n until one fails or the context ends, and returns the first error
// in this order.
func ParallelErr(ctx context.Context, n int, f func(i int) error) error {
	errs := make([]error, n)
	var failed atomic.Bool
	Parallel(n, func(i int) {
		if failed.Load() {
			return
		}
		if errs[i] = ctx.Err(); errs[i] == nil {
			errs[i] = f(i)
		}
		if errs[i] != nil {
			failed.Store(true)
		}
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
