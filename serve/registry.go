package serve

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
)

// RegistryOptions say what a registry takes in.
type RegistryOptions struct {
	Budget int64         // bytes of adapters in memory; 0 = no limit
	Table  []peft.Method // methods.All, or some of it
	Allow  peft.Allow    // what files may lack; nothing, unless said
}

// Registry holds adapters of one model by name. What a name stands for is a version, told by the hash of its files, that never
// changes: a request holds the version it was given until its end, however often the name gets another. Versions that no request
// holds leave memory when others need the room, the one that was used least recently first; their files stay, and come back when
// they are asked for. Safe for concurrent use.
type Registry struct {
	m *model.Model
	o RegistryOptions
	// publishing is held while an adapter that nothing is known of is in memory beside the budget.
	publishing chan struct{}
	// turn is held by the request that waits for room, so that those behind it cannot take what it waits for.
	turn chan struct{}

	mu    sync.Mutex
	names map[string]*version
	sets  map[string]*set
	clock int64         // counts uses
	freed chan struct{} // closed when there may be more room
	stats RegistryStats
}

// RegistryStats are what a registry has done.
type RegistryStats struct {
	Adapters    int   // names
	Resident    int   // versions in memory, those among them that have lost their name
	Bytes       int64 // of these, and of those that are being read
	Budget      int64 // 0 = no limit
	Hits        int64 // adapters of requests that were in memory
	Misses      int64 // and those that were read for them, or waited for
	Evictions   int64
	Loads       int64 // times that an adapter's files were read
	Failed      int64 // of these, for nothing
	LoadSeconds float64
	Waiting     int // requests that wait for room
}

// version is an adapter as a folder has it. All fields are the registry's mutex's, but those that never change.
type version struct {
	name, dir, hash, method, task string
	bytes                         int64
	loaded                        time.Time

	state   state         // of the files, as they were read last
	adapter *peft.Loaded  // nil = on disk only
	reading chan struct{} // closed when a reading has ended; nil = none is under way
	err     error         // how the last reading ended
	refs    int
	pinned  bool
	gone    bool  // has lost its name: ends with its last reference
	used    int64 // when, by the registry's clock
}

// NewRegistry returns a registry of no adapters for a model with nothing attached.
func NewRegistry(m *model.Model, o RegistryOptions) *Registry {
	return &Registry{m: m, o: o, publishing: make(chan struct{}, 1), turn: make(chan struct{}, 1), names: map[string]*version{}, sets: map[string]*set{},
		freed: make(chan struct{}), stats: RegistryStats{Budget: o.Budget}}
}

// Load publishes the adapter of a folder under a name, in the place of what had the name. It is read and checked wholly before anybody
// can see it; when it fails nothing has changed. Files that the name stands for already are no new version.
func (r *Registry) Load(ctx context.Context, name, dir string) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	select {
	case r.publishing <- struct{}{}:
		defer func() { <-r.publishing }()
	case <-ctx.Done():
		return Info{}, ctx.Err()
	}
	v, err := r.open(name, dir, nil)
	if err != nil {
		return Info{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.publish(v).info(), nil
}

// open reads the adapter of a folder. The hash of files that are as a known version saw them is that version's.
func (r *Registry) open(name, dir string, known *version) (*version, error) {
	start := time.Now()
	v, err := r.tryOpen(name, dir, known)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Loads++
	r.stats.LoadSeconds += time.Since(start).Seconds()
	if err != nil {
		r.stats.Failed++
		return nil, fmt.Errorf("serve: %w: %w", ErrAdapter, err)
	}
	return v, nil
}

func (r *Registry) tryOpen(name, dir string, known *version) (*version, error) {
	before, err := stateOf(dir)
	if err != nil {
		return nil, err
	}
	v := &version{name: name, dir: dir, state: before, loaded: time.Now()}
	if known != nil && slices.Equal(before, known.state) {
		v.hash = known.hash
	} else if v.hash, err = before.hash(dir); err != nil {
		return nil, err
	}
	v.adapter, err = peft.NewShelf(r.m).Load(name, dir, r.o.Table, r.o.Allow)
	if err != nil {
		return nil, err
	}
	v.method, v.task, v.bytes = kindOf(dir), v.adapter.Config.Shared().TaskType, sizeOf(v.adapter.Adapter)
	after, err := stateOf(dir)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(before, after) {
		return nil, fmt.Errorf("serve: %s: files changed while they were read", dir)
	}
	if r.o.Budget > 0 && v.bytes > r.o.Budget {
		return nil, fmt.Errorf("serve: %s: the adapter takes %d bytes, want at most %d, the budget of all", dir, v.bytes, r.o.Budget)
	}
	return v, nil
}

// publish gives a version that has been read its name. It stays in memory if there is room that nobody uses.
func (r *Registry) publish(v *version) *version {
	old := r.names[v.name]
	if old != nil && old.hash == v.hash {
		old.dir, old.state = v.dir, v.state
		return old
	}
	r.names[v.name] = v
	if old != nil {
		v.pinned = old.pinned
		r.drop(old)
	}
	if !r.room(v.bytes, []*version{v}) {
		v.adapter = nil
		return v
	}
	r.stats.Bytes += v.bytes
	r.stats.Resident++
	r.use(v)
	return v
}

// use notes that a version is the one used last.
func (r *Registry) use(v *version) {
	r.clock++
	v.used = r.clock
}

// room evicts versions that nobody uses, but for those to keep, until so many bytes are free, and says whether they are. It evicts none
// if that is not enough.
func (r *Registry) room(bytes int64, keep []*version) bool {
	short := r.stats.Bytes + bytes - r.o.Budget
	if r.o.Budget == 0 || short <= 0 {
		return true
	}
	var idle []*version
	for _, v := range r.names {
		if v.adapter != nil && v.refs == 0 && !v.pinned && !slices.Contains(keep, v) {
			idle = append(idle, v)
		}
	}
	slices.SortFunc(idle, func(a, b *version) int { return int(a.used - b.used) })
	n := 0
	for ; n < len(idle) && short > 0; n++ {
		short -= idle[n].bytes
	}
	if short > 0 {
		return false
	}
	for _, v := range idle[:n] {
		r.leave(v)
		r.stats.Evictions++
	}
	return true
}

// leave takes a version out of memory.
func (r *Registry) leave(v *version) {
	v.adapter = nil
	r.stats.Bytes -= v.bytes
	r.stats.Resident--
}

// drop takes a version its name, and its memory once no request holds it.
func (r *Registry) drop(v *version) {
	v.gone = true
	r.free(v)
}

// free ends a version that has neither name nor request.
func (r *Registry) free(v *version) {
	if v.gone && v.refs == 0 && v.adapter != nil {
		r.leave(v)
	}
	close(r.freed)
	r.freed = make(chan struct{})
}

// find is the version that a name stands for.
func (r *Registry) find(name string) (*version, error) {
	if v := r.names[name]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("serve: %w: %.80q", ErrNoAdapter, name)
}

// Unload takes an adapter's name off the registry. Requests that hold it go on.
func (r *Registry) Unload(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, err := r.find(name)
	if err != nil {
		return err
	}
	delete(r.names, name)
	r.drop(v)
	return nil
}

// Pin keeps an adapter in memory once it is there, whatever needs the room; and no longer so if pinned is false. A new version of the
// name inherits it.
func (r *Registry) Pin(name string, pinned bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, err := r.find(name)
	if err != nil {
		return err
	}
	v.pinned = pinned
	r.free(v) // those that wait may have room now
	return nil
}

// List tells of all adapters, by name.
func (r *Registry) List() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Info, 0, len(r.names))
	for _, name := range slices.Sorted(maps.Keys(r.names)) {
		list = append(list, r.names[name].info())
	}
	return list
}

// Info tells of one adapter.
func (r *Registry) Info(name string) (Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, err := r.find(name)
	if err != nil {
		return Info{}, err
	}
	return v.info(), nil
}

func (v *version) info() Info {
	return Info{Name: v.name, Version: v.hash, Method: v.method, Task: v.task, Dir: v.dir, Bytes: v.bytes, Resident: v.adapter != nil, Pinned: v.pinned,
		Used: v.refs, Loaded: v.loaded}
}

// Stats tells what the registry has done so far.
func (r *Registry) Stats() RegistryStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Adapters = len(r.names)
	return s
}
