package serve

// fair is a queue that serves keys alike: next is the one that waits and has been given least, as in [sheng2024]. Keys that come back are
// given no credit for having been away. Not safe for concurrent use.
//
// References: [sheng2024] Fairness in Serving Large Language Models, arXiv 2401.00588, algorithm 2.
type fair[T any] struct {
	lanes map[string]*lane[T]
	n     int   // that wait
	count int64 // of arrivals
}

type lane[T any] struct {
	waiting []T
	arrived []int64 // by waiting
	active  int     // that have been served and have not ended
	given   float64
}

// push adds one that waits.
func (f *fair[T]) push(key string, x T) {
	if f.lanes == nil {
		f.lanes = map[string]*lane[T]{}
	}
	l := f.lanes[key]
	if l == nil {
		l = &lane[T]{given: f.least()}
		f.lanes[key] = l
	}
	f.count++
	f.n++
	l.waiting, l.arrived = append(l.waiting, x), append(l.arrived, f.count)
}

// least is the least that a key has been given that has something to do.
func (f *fair[T]) least() (least float64) {
	first := true
	for _, l := range f.lanes {
		if first || l.given < least {
			least, first = l.given, false
		}
	}
	return least
}

// next is the key to be served; false if nothing waits. Of keys that have been given the same, the one that waits longest is next.
func (f *fair[T]) next() (key string, x T, ok bool) {
	var best *lane[T]
	for k, l := range f.lanes {
		if len(l.waiting) == 0 {
			continue
		}
		if best == nil || l.given < best.given || l.given == best.given && l.arrived[0] < best.arrived[0] {
			best, key = l, k
		}
	}
	if best == nil {
		return "", x, false
	}
	return key, best.waiting[0], true
}

// take serves the first that waits of a key, which costs something.
func (f *fair[T]) take(key string, cost float64) {
	l := f.lanes[key]
	l.waiting, l.arrived = l.waiting[1:], l.arrived[1:]
	l.active++
	l.given += cost
	f.n--
}

// charge adds to what a key with something to do has been given.
func (f *fair[T]) charge(key string, cost float64) {
	if l := f.lanes[key]; l != nil {
		l.given += cost
	}
}

// done ends one that was served.
func (f *fair[T]) done(key string) {
	l := f.lanes[key]
	l.active--
	f.forget(key, l)
}

// drop takes out those that wait no longer.
func (f *fair[T]) drop(gone func(x T) bool) {
	for key, l := range f.lanes {
		n := 0
		for i, x := range l.waiting {
			if !gone(x) {
				l.waiting[n], l.arrived[n] = x, l.arrived[i]
				n++
			}
		}
		f.n -= len(l.waiting) - n
		clear(l.waiting[n:])
		l.waiting, l.arrived = l.waiting[:n], l.arrived[:n]
		f.forget(key, l)
	}
}

func (f *fair[T]) forget(key string, l *lane[T]) {
	if l.active == 0 && len(l.waiting) == 0 {
		delete(f.lanes, key)
	}
}
