package serve_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
	"github.com/graft-ml/graft/serve"
)

// folder makes the folder of a LoRA with numbers of a seed.
func folder(t testing.TB, m *model.Model, seed uint64) string {
	return write(t, m, filepath.Join(t.TempDir(), "adapter"), kind("lora"), seed)
}

// load publishes a folder under a name.
func loadAs(t testing.TB, r *serve.Registry, name, dir string) serve.Info {
	t.Helper()
	info, err := r.Load(context.Background(), name, dir)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func acquire(t testing.TB, r *serve.Registry, names ...string) *serve.Lease {
	t.Helper()
	l, err := r.Acquire(context.Background(), peft.Fully(names...))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLoadRefuses lists what must not become visible, and that what had the name stays.
func TestLoadRefuses(t *testing.T) {
	base := tiny(t, "llama")
	damaged := func(seed uint64, change func(p []float32)) string {
		view, err := base.Model.View()
		if err != nil {
			t.Fatal(err)
		}
		dir := folder(t, base.Model, seed)
		c, a, err := peft.Load(dir, view, methods.All, peft.Allow{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range a.Params() {
			change(op.Data(p))
		}
		if err := peft.Save(dir, c, a); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	other := tiny(t, "qwen2, window in the upper layer") // of another hidden_size
	cut := folder(t, base.Model, 1)
	if err := os.Truncate(filepath.Join(cut, peft.TensorsFile), 100); err != nil {
		t.Fatal(err)
	}
	hashed := func() string { // trained on another base, whose hash it has
		c := kind("lora")
		c.Shared().BaseHash = strings.Repeat("0", 64)
		return write(t, base.Model, filepath.Join(t.TempDir(), "adapter"), c, 1)
	}
	for _, c := range []struct {
		says, name, dir string
		is              error
		want            string
	}{
		{"a name with a path", "../x", folder(t, base.Model, 1), serve.ErrName, `"../x"`},
		{"a name of dots", "..", folder(t, base.Model, 1), serve.ErrName, `".."`},
		{"no name", "", folder(t, base.Model, 1), serve.ErrName, `""`},
		{"no folder", "a", filepath.Join(t.TempDir(), "none"), serve.ErrAdapter, "no such file"},
		{"an empty folder", "a", t.TempDir(), serve.ErrAdapter, peft.ConfigFile},
		{"half a file", "a", cut, serve.ErrAdapter, peft.TensorsFile},
		{"NaN", "a", damaged(1, func(p []float32) { p[0] = float32(math.NaN()) }), serve.ErrAdapter, "no finite number"},
		{"nothing trained", "a", damaged(1, func(p []float32) { clear(p) }), serve.ErrAdapter, "changes nothing"},
		{"another model's", "a", folder(t, other.Model, 1), serve.ErrAdapter, "want [4 10]"},
		{"another base's", "a", hashed(), serve.ErrAdapter, "trained on another base"},
	} {
		t.Run(c.says, func(t *testing.T) {
			r := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All})
			before := loadAs(t, r, "a", folder(t, base.Model, 7))
			if _, err := r.Load(context.Background(), c.name, c.dir); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Load: %v, want %v with %q", err, c.is, c.want)
			}
			after, err := r.Info("a")
			if err != nil || after != before || len(r.List()) != 1 || r.Stats().Bytes != before.Bytes {
				t.Errorf("after it %+v, %v, %+v, want %+v alone", after, err, r.Stats(), before)
			}
		})
	}
}

// TestVersionsStay replaces and unloads what a request holds.
func TestVersionsStay(t *testing.T) {
	base := tiny(t, "llama")
	r := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All})
	one, two := folder(t, base.Model, 1), folder(t, base.Model, 2)
	first := loadAs(t, r, "a", one)
	if again := loadAs(t, r, "a", one); again != first {
		t.Errorf("the same files once more are %+v, want %+v", again, first)
	}
	old := acquire(t, r, "a")
	second := loadAs(t, r, "a", two)
	now := acquire(t, r, "a")
	if old.Versions()[0] != first.Version || now.Versions()[0] != second.Version || first.Version == second.Version {
		t.Errorf("versions %v and %v, want %q and %q", old.Versions(), now.Versions(), first.Version, second.Version)
	}
	if old.Key() == now.Key() || old.Overlay() == now.Overlay() {
		t.Error("two versions have one key or one overlay")
	}
	if n := r.Stats().Bytes; n != first.Bytes+second.Bytes {
		t.Errorf("%d bytes in memory while both are held, want %d", n, first.Bytes+second.Bytes)
	}
	old.Release()
	old.Release()
	if n := r.Stats().Bytes; n != second.Bytes {
		t.Errorf("%d bytes in memory after the old has ended, want %d", n, second.Bytes)
	}
	if err := r.Unload("a"); err != nil {
		t.Error(err)
	}
	if _, err := r.Acquire(context.Background(), peft.Fully("a")); !errors.Is(err, serve.ErrNoAdapter) {
		t.Errorf("Acquire after Unload: %v, want ErrNoAdapter", err)
	}
	if err := r.Unload("a"); !errors.Is(err, serve.ErrNoAdapter) {
		t.Errorf("Unload twice: %v, want ErrNoAdapter", err)
	}
	if n := r.Stats().Bytes; n != second.Bytes {
		t.Errorf("%d bytes in memory while it is held, want %d", n, second.Bytes)
	}
	now.Release()
	if s := r.Stats(); s.Bytes != 0 || s.Resident != 0 || s.Adapters != 0 {
		t.Errorf("%+v at the end, want nothing in memory", s)
	}
}

// TestSizeIsThatOfTheNumbers compares an adapter's bytes with the file's tensors.
func TestSizeIsThatOfTheNumbers(t *testing.T) {
	base := tiny(t, "llama")
	r := newRegistry(t, base.Model, 0)
	info, err := r.Info("lora")
	if err != nil {
		t.Fatal(err)
	}
	file, err := peft.OpenTensors(info.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var want int64
	for _, name := range file.Names() {
		x, err := file.Floats(name)
		if err != nil {
			t.Fatal(err)
		}
		want += 4 * int64(len(x))
	}
	if info.Bytes != want || info.Method != "LORA" {
		t.Errorf("%d bytes of %s, want %d of LORA", info.Bytes, info.Method, want)
	}
}

// TestBudget fills memory, and looks at who leaves it, who waits, and who is refused.
func TestBudget(t *testing.T) {
	base := tiny(t, "llama")
	dirs := []string{folder(t, base.Model, 1), folder(t, base.Model, 2), folder(t, base.Model, 3)}
	size := loadAs(t, serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All}), "a", dirs[0]).Bytes
	r := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All, Budget: 2*size + 1})
	for i, name := range []string{"a", "b", "c"} {
		loadAs(t, r, name, dirs[i])
	}
	resident := func() (s string) {
		for _, i := range r.List() {
			if i.Resident {
				s += i.Name
			}
		}
		return s
	}
	expect := func(when, want string, evictions int64) {
		t.Helper()
		if got, s := resident(), r.Stats(); got != want || s.Evictions != evictions || s.Bytes != int64(len(want))*size || s.Resident != len(want) {
			t.Errorf("%s: %q in memory, %+v, want %q after %d evictions", when, got, s, want, evictions)
		}
	}
	expect("after three in the room of two", "bc", 1)
	acquire(t, r, "b").Release()
	acquire(t, r, "a").Release()
	expect("after b and a were used", "ab", 2)
	held := acquire(t, r, "b")
	acquire(t, r, "c").Release()
	expect("while b is held", "bc", 3)
	if err := r.Pin("c", true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.Acquire(ctx, peft.Fully("a")); !errors.Is(err, serve.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Acquire without room: %v, want ErrBusy when ctx ends", err)
	}
	got := make(chan *serve.Lease)
	go func() {
		l, err := r.Acquire(context.Background(), peft.Fully("a"))
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	for r.Stats().Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	held.Release()
	(<-got).Release()
	expect("after b was let go", "ac", 4)
	if err := r.Pin("a", true); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Acquire(context.Background(), peft.Fully("b")); !errors.Is(err, serve.ErrBusy) {
		t.Errorf("Acquire beside pins: %v, want ErrBusy at once", err)
	}
	if err := errors.Join(r.Pin("a", false), r.Pin("c", false)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Acquire(context.Background(), peft.Fully("a", "b", "c")); !errors.Is(err, serve.ErrRequest) {
		t.Errorf("Acquire of more than there may be: %v, want ErrRequest at once", err)
	}
	small := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All, Budget: size - 1})
	if _, err := small.Load(context.Background(), "a", dirs[0]); !errors.Is(err, serve.ErrAdapter) {
		t.Errorf("Load of more than there may be: %v, want ErrAdapter", err)
	}
}

// TestManyAskOneReads has many requests want one adapter that is on disk.
func TestManyAskOneReads(t *testing.T) {
	base := tiny(t, "llama")
	dirs := []string{folder(t, base.Model, 1), folder(t, base.Model, 2)}
	size := loadAs(t, serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All}), "a", dirs[0]).Bytes
	r := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All, Budget: size})
	loadAs(t, r, "a", dirs[0])
	loadAs(t, r, "b", dirs[1]) // evicts a
	before := r.Stats().Loads
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			l, err := r.Acquire(context.Background(), peft.Fully("a"))
			if err != nil {
				t.Error(err)
				return
			}
			l.Release()
		})
	}
	wg.Wait()
	if n := r.Stats().Loads - before; n != 1 {
		t.Errorf("%d loads for 20 requests, want 1", n)
	}
}

// TestFilesThatChange replaces the files of an adapter that is on disk only: what is asked for next is a new version, or an error.
func TestFilesThatChange(t *testing.T) {
	base := tiny(t, "llama")
	dirs := []string{folder(t, base.Model, 1), folder(t, base.Model, 2)}
	size := loadAs(t, serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All}), "a", dirs[0]).Bytes
	r := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All, Budget: size})
	a := loadAs(t, r, "a", dirs[0])
	loadAs(t, r, "b", dirs[1]) // evicts a
	write(t, base.Model, dirs[0], kind("lora"), 3)
	l := acquire(t, r, "a")
	if now, err := r.Info("a"); err != nil || now.Version == a.Version || l.Versions()[0] != now.Version {
		t.Errorf("%v, %+v, %v after the files changed from %q, want a new version", l.Versions(), now, err, a.Version)
	}
	l.Release()
	acquire(t, r, "b").Release() // evicts a
	if err := os.Remove(filepath.Join(dirs[0], peft.TensorsFile)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Acquire(context.Background(), peft.Fully("a")); !errors.Is(err, serve.ErrAdapter) {
			t.Errorf("Acquire without the file: %v, want ErrAdapter", err)
		}
	}
	acquire(t, r, "b").Release()
	if n := r.Stats().Bytes; n != size {
		t.Errorf("%d bytes in memory, want %d", n, size)
	}
}

// TestUses lists sets of adapters that cannot be, and compares the overlays of sets that are alike.
func TestUses(t *testing.T) {
	base := tiny(t, "llama")
	r := newRegistry(t, base.Model, 0)
	for _, c := range []struct {
		says string
		use  []peft.Use
		is   error
	}{
		{"nobody", peft.Fully("nobody"), serve.ErrNoAdapter},
		{"one twice", peft.Fully("lora", "lora"), serve.ErrRequest},
		{"half a prefix", []peft.Use{{Name: "prefix", Scale: 0.5}}, serve.ErrRequest},
		{"two kinds of virtual tokens", peft.Fully("prefix", "prompt"), serve.ErrRequest},
		{"a scale that is no number", []peft.Use{{Name: "lora", Scale: math.NaN()}}, serve.ErrRequest},
		{"a scale beyond float32", []peft.Use{{Name: "lora", Scale: 1e300}}, serve.ErrRequest},
	} {
		if _, err := r.Acquire(context.Background(), c.use); !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %v", c.says, err, c.is)
		}
	}
	half := []peft.Use{{Name: "lora", Scale: 0.5}, {Name: "dora", Scale: 1}, {Name: "prefix"}}
	var leases []*serve.Lease
	for range 2 {
		l, err := r.Acquire(context.Background(), half)
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
	}
	if a, b := leases[0], leases[1]; a.Overlay() != b.Overlay() || a.Key() != b.Key() || len(a.Versions()) != 3 {
		t.Error("two requests through the same adapters have overlays, keys or versions of their own")
	}
	for _, info := range r.List() {
		want := map[string]int{"lora": 2, "dora": 2}[info.Name]
		if info.Used != want {
			t.Errorf("%d requests use %q, want %d", info.Used, info.Name, want)
		}
	}
	none := acquire(t, r)
	if none.Overlay() != nil || none.Key() != "" {
		t.Error("no adapters have an overlay or a key")
	}
	for _, l := range append(leases, none) {
		l.Release()
	}
}

// TestWatch has adapters appear, change and vanish in a folder.
func TestWatch(t *testing.T) {
	base := tiny(t, "llama")
	root := t.TempDir()
	put := func(name string, seed uint64) { // as rename does: whole or not at all
		t.Helper()
		dir := folder(t, base.Model, seed)
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	put("a", 1)
	r := serve.NewRegistry(base.Model, serve.RegistryOptions{Table: methods.All})
	events := make(chan string, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- r.Watch(ctx, root, func(event, name string, err error) {
			if err != nil {
				event = "no " + event
			}
			events <- event + " " + name
		})
	}()
	expect := func(want string) {
		t.Helper()
		for timeout := time.After(20 * time.Second); ; {
			select {
			case got := <-events:
				if got == want {
					return
				}
				if got == "scan " || strings.HasPrefix(got, "unload") { // between RemoveAll and Rename it may be seen as gone
					continue
				}
				t.Fatalf("%q, want %q", got, want)
			case <-timeout:
				t.Fatalf("nothing, want %q", want)
			}
		}
	}
	expect("load a")
	first, err := r.Info("a")
	if err != nil {
		t.Fatal(err)
	}
	put("b", 2)
	expect("load b")
	put("a", 3)
	expect("load a")
	if now, err := r.Info("a"); err != nil || now.Version == first.Version {
		t.Errorf("%+v, %v after a change, want another version than %q", now, err, first.Version)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	expect("no load link")
	put("not a name", 2)
	expect("no load not a name")
	if err := os.WriteFile(filepath.Join(root, "b", peft.TensorsFile), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	expect("no load b")
	if _, err := r.Info("b"); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	expect("unload b")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := r.Watch(context.Background(), filepath.Join(root, "none"), nil); err == nil {
		t.Error("Watch of no folder: no error")
	}
	if list := r.List(); len(list) != 1 || list[0].Name != "a" {
		t.Errorf("%+v are left, want a alone", list)
	}
}
