package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/graft-ml/graft/peft"
)

const (
	settle = 100 * time.Millisecond // from a change until the folder is looked at: changes come in crowds
	rescan = 15 * time.Second       // for changes that nobody told of, as in file systems of other machines
)

// Events of Watch.
const (
	EventLoad   = "load"   // an adapter appeared or changed, or could not be loaded
	EventUnload = "unload" // an adapter's folder is gone
	EventScan   = "scan"   // the folder could not be read; without an error, once: what was in it from the beginning is loaded
)

// Watch keeps the registry as a folder is: each folder in it is an adapter by its name. What it finds first is loaded before it waits. An
// adapter that is damaged, or is being written, leaves what had its name as it was until its files change again; write adapters
// elsewhere in the same file system and rename them. Files that lie outside by a link are refused. It tells log of what it does, and
// returns when ctx ends, or at once if there is no such folder; the adapters stay.
func (r *Registry) Watch(ctx context.Context, dir string, log func(event, name string, err error)) error {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	w := &watch{r: r, root: root, log: log, seen: map[string]state{}}
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		log(EventScan, "", fmt.Errorf("serve: changes are found by looking only: %w", err))
		w.notify = &fsnotify.Watcher{}
	} else {
		defer w.notify.Close()
		if err := w.notify.Add(root); err != nil {
			log(EventScan, "", err)
		}
	}
	w.scan(ctx)
	log(EventScan, "", nil)
	timer := time.NewTimer(rescan)
	defer timer.Stop()
	changed := func() {
		if !w.soon {
			w.soon = true
			timer.Reset(settle)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.notify.Events:
			if !ok {
				return nil
			}
			changed()
		case err := <-w.notify.Errors:
			log(EventScan, "", err) // such as an overflow: what was lost is found now
			changed()
		case <-timer.C:
			w.soon = false
			w.scan(ctx)
			timer.Reset(rescan)
		}
	}
}

// watch is a folder of adapters while it is watched.
type watch struct {
	r      *Registry
	root   string
	notify *fsnotify.Watcher
	log    func(event, name string, err error)
	seen   map[string]state // by name, as it was looked at last
	soon   bool             // it will be looked at, for a change
}

// scan loads what has appeared or changed and unloads what is gone.
func (w *watch) scan(ctx context.Context) {
	entries, err := os.ReadDir(w.root)
	if err != nil { // nothing is unloaded for it
		w.log(EventScan, "", err)
		return
	}
	there := map[string]bool{}
	for _, e := range entries {
		path := filepath.Join(w.root, e.Name())
		if info, err := os.Stat(path); strings.HasPrefix(e.Name(), ".") || err == nil && !info.IsDir() {
			continue
		}
		there[e.Name()] = true
		if ctx.Err() == nil {
			w.look(ctx, e.Name(), path)
		}
	}
	for name := range w.seen {
		if !there[name] {
			delete(w.seen, name)
			w.vanish(name)
		}
	}
}

// look loads an adapter whose files have changed since it was looked at.
func (w *watch) look(ctx context.Context, name, path string) {
	now, err := w.state(path)
	if before, known := w.seen[name]; known && slices.Equal(now, before) {
		return
	}
	if w.notify.Events != nil && err == nil {
		if err = w.notify.Add(path); err == nil {
			now, err = w.state(path) // it may have changed before it was watched
		}
	}
	w.seen[name] = now
	if err == nil && !slices.ContainsFunc(now, func(f fileState) bool { return f.name == peft.ConfigFile }) {
		return // no adapter, or not yet
	}
	if err == nil {
		_, err = w.r.Load(ctx, name, path)
	}
	w.log(EventLoad, name, err)
}

// state is that of an adapter's files, which must lie in the folder. A folder that is refused has the state of its error.
func (w *watch) state(path string) (state, error) {
	now, err := stateOf(path)
	if err == nil {
		err = w.inside(path)
	}
	for i := 0; i < len(now) && err == nil; i++ {
		err = w.inside(filepath.Join(path, now[i].name))
	}
	if err != nil {
		return state{{name: err.Error()}}, err
	}
	return now, nil
}

// inside reports a path that leads out of the folder.
func (w *watch) inside(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(w.root, real); err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("serve: %w: %s is a link out of the folder", ErrAdapter, path)
	}
	return nil
}

// vanish unloads an adapter whose folder is gone, if that is what has the name.
func (w *watch) vanish(name string) {
	info, err := w.r.Info(name)
	if err != nil || info.Dir != filepath.Join(w.root, name) {
		return
	}
	if _, err := os.Stat(info.Dir); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	w.log(EventUnload, name, w.r.Unload(name))
}
