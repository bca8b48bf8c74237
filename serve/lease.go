package serve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/peft"
)

// Lease is a request's hold of the adapters that it uses, as they were when it came. Release ends it.
type Lease struct {
	r        *Registry
	held     []*version
	adapters *peft.Loaded // all together; nil = the model alone
	set      *set
	key      string
	versions []string
}

// set is several adapters at once, or one by a scale, as long as a request uses them so.
type set struct {
	adapters *peft.Loaded
	refs     int
}

// Overlay is what the adapters have, for op.Pass.Route; nil for the model alone.
func (l *Lease) Overlay() op.Overlay {
	if l.adapters == nil {
		return nil
	}
	return l.adapters
}

// Adapters are all adapters of the lease as one, nil for the model alone.
func (l *Lease) Adapters() *peft.Loaded { return l.adapters }

// Versions are those of the adapters, in the order of the request.
func (l *Lease) Versions() []string { return l.versions }

// Key tells what the lease makes of the model: it is "" for the model alone, and two leases with one key compute the same.
func (l *Lease) Key() string { return l.key }

// errChanged says that a version's files have become another's, which has its name now.
var errChanged = errors.New("serve: the adapter's files have changed")

// Acquire holds the versions that names stand for now, and reads those that are not in memory. Where all memory is in use by others
// it waits, and takes nothing meanwhile, until ctx ends; what can never be is ErrBusy or ErrRequest at once.
func (r *Registry) Acquire(ctx context.Context, uses []peft.Use) (*Lease, error) {
	if err := checkUses(uses); err != nil {
		return nil, err
	}
	for {
		l, err := r.acquire(ctx, uses)
		if !errors.Is(err, errChanged) {
			return l, err
		}
	}
}

// checkUses reports uses that cannot be.
func checkUses(uses []peft.Use) error {
	for i, u := range uses {
		if slices.ContainsFunc(uses[:i], func(x peft.Use) bool { return x.Name == u.Name }) {
			return fmt.Errorf("serve: %w: adapter %.80q is named twice", ErrRequest, u.Name)
		}
		if s := float64(float32(u.Scale)); math.IsNaN(s) || math.IsInf(s, 0) {
			return fmt.Errorf("serve: %w: adapter %.80q has the scale %g, want a finite number", ErrRequest, u.Name, u.Scale)
		}
	}
	return nil
}

func (r *Registry) acquire(ctx context.Context, uses []peft.Use) (*Lease, error) {
	l := &Lease{r: r}
	if err := r.hold(ctx, l, uses); err != nil {
		return nil, err
	}
	for _, v := range l.held {
		if err := r.await(ctx, v); err != nil {
			l.Release()
			return nil, err
		}
	}
	if err := r.together(l, uses); err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// hold takes all versions at once, when there is room for those that must be read, and begins to read these.
func (r *Registry) hold(ctx context.Context, l *Lease, uses []peft.Use) error {
	mine := false // the turn
	defer func() {
		if mine {
			<-r.turn
		}
	}()
	for {
		r.mu.Lock()
		ok, err := r.tryHold(l, uses, mine)
		freed := r.freed
		if !ok && err == nil && mine {
			r.stats.Waiting++
		}
		r.mu.Unlock()
		switch {
		case ok || err != nil:
			return err
		case !mine:
			select {
			case r.turn <- struct{}{}:
				mine = true
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		select {
		case <-freed:
			err = nil
		case <-ctx.Done():
			err = fmt.Errorf("serve: %w: no room for the adapters of the request: %w", ErrBusy, ctx.Err())
		}
		r.mu.Lock()
		r.stats.Waiting--
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// tryHold is hold if it need not wait. Only who has the turn may make room.
func (r *Registry) tryHold(l *Lease, uses []peft.Use, turn bool) (bool, error) {
	l.held, l.versions = nil, nil
	var missing []*version
	var bytes, all int64
	for _, u := range uses {
		v, err := r.find(u.Name)
		if err != nil {
			return false, err
		}
		l.versions = append(l.versions, v.hash)
		if u.Scale == 0 {
			continue
		}
		l.held = append(l.held, v)
		all += v.bytes
		if v.adapter == nil && v.reading == nil {
			missing, bytes = append(missing, v), bytes+v.bytes
		}
	}
	if len(missing) > 0 {
		if r.o.Budget > 0 && all > r.o.Budget {
			return false, fmt.Errorf("serve: %w: the adapters take %d bytes together, want at most %d", ErrRequest, all, r.o.Budget)
		}
		if r.pinned(l.held)+all > r.o.Budget && r.o.Budget > 0 {
			return false, fmt.Errorf("serve: %w: pinned adapters leave no room for %d bytes", ErrBusy, all)
		}
		if !turn || !r.room(bytes, l.held) {
			return false, nil
		}
	}
	for _, v := range l.held {
		if v.adapter == nil {
			r.stats.Misses++
		} else {
			r.stats.Hits++
		}
		v.refs++
		r.use(v)
	}
	for _, v := range missing {
		r.stats.Bytes += v.bytes
		v.reading = make(chan struct{})
		go r.read(v, v.reading)
	}
	return true, nil
}

// pinned is what pinned versions in memory take, but for some.
func (r *Registry) pinned(but []*version) (n int64) {
	for _, v := range r.names {
		if v.pinned && v.adapter != nil && !slices.Contains(but, v) {
			n += v.bytes
		}
	}
	return n
}

// read brings a version back whose memory has been reserved. It goes on when the request that asked for it is gone: others may wait
// for it.
func (r *Registry) read(v *version, done chan struct{}) {
	x, err := r.open(v.name, v.dir, v)
	r.mu.Lock()
	defer r.mu.Unlock()
	v.reading, v.err = nil, err
	close(done)
	if err == nil && x.hash == v.hash {
		v.adapter, v.state = x.adapter, x.state
		r.stats.Resident++
		r.free(v)
		return
	}
	r.stats.Bytes -= v.bytes
	if err == nil {
		v.err = errChanged
		if !v.gone {
			r.publish(x)
		} else {
			v.err = fmt.Errorf("serve: %w: %.80q has been unloaded and its files have changed", ErrNoAdapter, v.name)
		}
	}
	r.free(v)
}

// await waits until a version that is held has been read.
func (r *Registry) await(ctx context.Context, v *version) error {
	r.mu.Lock()
	reading := v.reading
	r.mu.Unlock()
	if reading != nil {
		select {
		case <-reading:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.adapter == nil {
		return v.err
	}
	return nil
}

// together joins what the lease holds.
func (r *Registry) together(l *Lease, uses []peft.Use) error {
	var list []*peft.Loaded
	var scales []float32
	var key strings.Builder
	i := 0
	for at, u := range uses {
		if u.Scale == 0 {
			continue
		}
		list, scales = append(list, l.held[i].adapter), append(scales, float32(u.Scale))
		key.WriteString(u.Name + "@" + l.versions[at] + "*" + strconv.FormatFloat(u.Scale, 'g', -1, 32) + "+")
		i++
	}
	l.key = key.String()
	switch {
	case len(list) == 0:
		return nil
	case len(list) == 1 && scales[0] == 1:
		l.adapters = list[0]
		return nil
	}
	if l.share(nil) {
		return nil
	}
	all, err := peft.Together(r.m, list, scales)
	if err != nil {
		return fmt.Errorf("serve: %w: %w", ErrRequest, err)
	}
	l.share(all)
	return nil
}

// share makes the lease use a set that others use already, or else the one given.
func (l *Lease) share(all *peft.Loaded) bool {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	s := l.r.sets[l.key]
	if s == nil {
		if all == nil {
			return false
		}
		s = &set{adapters: all}
		l.r.sets[l.key] = s
	}
	s.refs++
	l.set, l.adapters = s, s.adapters
	return true
}

// Release ends the lease. It may be called more than once.
func (l *Lease) Release() {
	r := l.r
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range l.held {
		v.refs--
		r.free(v)
	}
	l.held = nil
	if l.set != nil {
		if l.set.refs--; l.set.refs == 0 {
			delete(r.sets, l.key)
		}
		l.set = nil
	}
}
