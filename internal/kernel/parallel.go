package kernel

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// Parallel runs f(0), f(1) … f(n-1) on up to GOMAXPROCS goroutines and returns when all have ended. Which goroutine
// runs which i is undefined. A panic of f reaches the caller.
func Parallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var (
		next   atomic.Int64
		failed atomic.Pointer[any]
		wg     sync.WaitGroup
	)
	work := func() {
		defer func() {
			if r := recover(); r != nil {
				failed.CompareAndSwap(nil, &r)
			}
		}()
		for failed.Load() == nil {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			f(i)
		}
	}
	for range workers - 1 {
		wg.Add(1)
		go func() { defer wg.Done(); work() }()
	}
	work()
	wg.Wait()
	if r := failed.Load(); r != nil {
		panic(*r)
	}
}

// Split cuts 0 … n into pieces of grain (the last may be shorter) and runs f on each in parallel. The pieces do not
// depend on the number of threads.
func Split(n, grain int, f func(lo, hi int)) {
	grain = max(grain, 1)
	Parallel((n+grain-1)/grain, func(i int) { f(i*grain, min(n, (i+1)*grain)) })
}

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
