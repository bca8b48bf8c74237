package merge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
)

// Mix is what to make of which checkpoints.
type Mix struct {
	Recipes []*Recipe                         // an output each
	Models  map[string]*checkpoint.Checkpoint // by the names that the recipes give them; see Recipe.ModelNames

	// MaxShardSize is the size in bytes from which weights are split; 0 means checkpoint.DefaultShardSize.
	MaxShardSize int64
	// Force replaces existing model folders.
	Force bool
	// Unpacked says of which of them the weights were packed, for the record.
	Unpacked map[string]*Unpacked
	// NoHash leaves the hashes of the inputs out of the record, which take a pass over all their bytes.
	NoHash bool
	// Version is the program's, for the record.
	Version string
	// Progress, if set, is told how much of all outputs is written. It is called from several goroutines.
	Progress func(done, total int64)
}

// Mixed says what was written: it is the content of RecordFile.
type Mixed struct {
	Tool    string   `json:"tool"`
	Version string   `json:"version,omitempty"`
	Out     string   `json:"out,omitempty"` // not in the file: the folder may move
	Recipe  *Recipe  `json:"recipe"`
	Does    string   `json:"formula"`
	Inputs  []Input  `json:"inputs"`
	Bytes   int64    `json:"bytes"` // of all tensors
	Tensors int      `json:"tensors"`
	Layers  int      `json:"layers,omitempty"` // where they were put together
	Files   []string `json:"files"`            // sorted
}

// Combine makes every output of a mix in one pass over the inputs: they go through the tensors side by side. Each output appears
// whole or not at all.
func Combine(ctx context.Context, x Mix) ([]*Mixed, error) {
	if len(x.Recipes) == 0 {
		return nil, errors.New("merge: no recipe")
	}
	var all []*arrangement
	var errs []error
	for i, r := range x.Recipes {
		a, err := arrange(r, x.Models)
		if err == nil {
			err = x.checkOut(r, x.Recipes[:i])
		}
		all, errs = append(all, a), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return x.run(ctx, all)
}

// checkOut keeps outputs away from inputs and from each other.
func (x *Mix) checkOut(r *Recipe, others []*Recipe) error {
	for _, o := range others {
		if resolved(o.Out) == resolved(r.Out) {
			return fmt.Errorf("merge: two outputs are %s, want folders of their own", r.Out)
		}
	}
	var inputs []*checkpoint.Checkpoint
	for _, name := range r.ModelNames() {
		inputs = append(inputs, x.Models[name])
	}
	return checkOut(r.Out, x.Force, inputs...)
}

// run writes the outputs, a goroutine each. The first error ends the others.
func (x *Mix) run(ctx context.Context, all []*arrangement) ([]*Mixed, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &mixing{Mix: x, convoy: newConvoy(len(all)), pool: &sync.Pool{New: func() any { return new(sheet) }}, hashers: map[string]*hasher{}}
	for _, a := range all {
		w.total += a.bytes()
		for _, name := range a.ModelNames() {
			w.hashers[name] = newHasher(x.Models[name], x.NoHash)
		}
	}
	list, errs := make([]*Mixed, len(all)), make([]error, len(all))
	var first atomic.Pointer[error]
	var wg sync.WaitGroup
	for i, a := range all {
		wg.Go(func() {
			defer w.convoy.leave(i)
			if list[i], errs[i] = w.output(ctx, i, a); errs[i] != nil {
				first.CompareAndSwap(nil, &errs[i])
				cancel()
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return nil, *err
	}
	return list, nil
}

// mixing is a mix being made.
type mixing struct {
	*Mix
	convoy  *convoy
	pool    *sync.Pool
	hashers map[string]*hasher
	total   int64
	done    atomic.Int64
}

// bytes is the size of an output's tensors.
func (a *arrangement) bytes() (n int64) {
	for _, p := range a.parts {
		n += int64(p.like.Len()) * int64(a.out(p).Size())
	}
	return n
}

// out is the dtype that a tensor is written in.
func (a *arrangement) out(p part) checkpoint.DType {
	if a.convert && checkpoint.IsFloat(p.like.DType) {
		return a.dtype
	}
	return p.like.DType
}

// output writes one output.
func (w *mixing) output(ctx context.Context, i int, a *arrangement) (*Mixed, error) {
	r := &Mixed{Tool: "graft", Version: w.Version, Out: a.Out, Recipe: a.Recipe, Does: a.algorithm.Does, Bytes: a.bytes(), Tensors: len(a.parts), Layers: a.layers}
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	return r, atomicfile.WriteDir(a.Out, w.Force, func(dir string) error {
		files, err := checkpoint.WriteShards(dir, w.entries(ctx, i, a), checkpoint.ShardOptions{MaxShardSize: w.MaxShardSize})
		if err != nil {
			return err
		}
		w.convoy.leave(i) // the others need not wait for what is not weights
		return w.beside(ctx, dir, a, r, config, files)
	})
}

// beside writes what is not weights: config, tokenizer and the record.
func (w *mixing) beside(ctx context.Context, dir string, a *arrangement, r *Mixed, config []byte, weights []string) error {
	names, err := companions(a.files.Folder())
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for _, name := range names {
		if files[name], err = a.files.ReadFile(name); err != nil {
			return err
		}
	}
	files["config.json"] = config
	for _, name := range a.ModelNames() {
		in, err := w.hashers[name].input(ctx, name)
		if err != nil {
			return err
		}
		in.Unpacked = w.Unpacked[name]
		r.Inputs = append(r.Inputs, in)
	}
	for name := range files {
		r.Files = append(r.Files, name)
	}
	r.Files = append(append(r.Files, weights...), RecordFile)
	slices.Sort(r.Files)
	record := *r
	record.Out = ""
	if files[RecordFile], err = json.MarshalIndent(&record, "", "  "); err != nil {
		return fmt.Errorf("merge: %s: %w", filepath.Join(a.Out, RecordFile), err)
	}
	_, err = writeFiles(ctx, dir, files)
	return err
}

// entries are the tensors of an output, to be computed when their turn comes.
func (w *mixing) entries(ctx context.Context, i int, a *arrangement) (list []checkpoint.Entry) {
	for k, p := range a.parts {
		e := checkpoint.Entry{Name: p.name, DType: a.out(p), Shape: p.like.Shape}
		e.Fill = func(to checkpoint.Section) error {
			if !w.convoy.reach(ctx, i, k) {
				return ctx.Err()
			}
			wait := w.hash(ctx, p)
			err := w.fill(ctx, a, p, to)
			if hashed := wait(); err == nil {
				err = hashed
			}
			return err
		}
		list = append(list, e)
	}
	return list
}

// hash hashes the sources of a tensor while it is made, when their bytes are at hand; the function waits for that.
func (w *mixing) hash(ctx context.Context, p part) (wait func() error) {
	list := p.sources
	if p.base != nil {
		list = append(slices.Clone(list), *p.base)
	}
	var waits []func() error
	for _, f := range list {
		waits = append(waits, w.hashers[f.model].tensor(ctx, f.tensor))
	}
	return func() error {
		var errs []error
		for _, wait := range waits {
			errs = append(errs, wait())
		}
		return errors.Join(errs...)
	}
}

// wrote counts bytes.
func (w *mixing) wrote(n int) {
	if d := w.done.Add(int64(n)); w.Progress != nil {
		w.Progress(d, w.total)
	}
}

// fill computes and writes one tensor.
func (w *mixing) fill(ctx context.Context, a *arrangement, p part, to checkpoint.Section) error {
	if p.raw {
		src, err := a.models[p.sources[0].model].Bytes(p.sources[0].tensor)
		if err != nil {
			return err
		}
		return (&work{src: src}).copy(ctx, w.wrote, to)
	}
	m := &mixture{ctx: ctx, name: p.name, origin: p.base != nil, all: p.shared, own: p.own, seed: a.Seed, pool: w.pool}
	m.rows, m.cols = 1, p.like.Len()
	if n := len(p.like.Shape); n > 1 && m.cols > 0 {
		m.rows, m.cols = m.cols/p.like.Shape[n-1], p.like.Shape[n-1]
	}
	list := p.sources
	if m.origin {
		list = append(slices.Clone(list), *p.base)
	}
	for _, f := range list {
		b, err := a.models[f.model].Bytes(f.tensor)
		if err != nil {
			return err
		}
		info, _ := a.models[f.model].Info(f.tensor)
		m.inputs = append(m.inputs, input{data: b, dtype: info.DType, model: f.model})
	}
	mix, grain, err := a.algorithm.open(m)
	if err != nil {
		return fmt.Errorf("merge: %q: %w", p.name, err)
	}
	return m.write(mix, grain, to, a.out(p), w.wrote)
}

// config is that of the output: of base_model or the first model, with its dtype and its number of layers.
func (a *arrangement) config() ([]byte, error) {
	config, err := a.files.ReadFile("config.json")
	if err != nil {
		return nil, err
	}
	if a.convert {
		config = checkpoint.SetConfigDType(config, a.dtype)
	}
	if a.Slices == nil {
		return config, nil
	}
	var was map[string]json.RawMessage
	if err := json.Unmarshal(config, &was); err != nil {
		return nil, fmt.Errorf("merge: %s: config.json: %w", a.files.Path(), err)
	}
	for _, key := range []string{"num_hidden_layers", "n_layer", "num_layers", "n_layers"} {
		if was[key] != nil {
			config = checkpoint.SetConfig(config, key, fmt.Sprint(a.layers))
		}
	}
	return a.layerTypes(config, was["layer_types"])
}

// layerTypes lets config.json say of what kind each layer is, where it did.
func (a *arrangement) layerTypes(config []byte, was json.RawMessage) ([]byte, error) {
	var kinds, now []string
	if was == nil || string(was) == "null" {
		return config, nil
	}
	if err := json.Unmarshal(was, &kinds); err != nil {
		return nil, fmt.Errorf("merge: %s: config.json: layer_types: %w", a.files.Path(), err)
	}
	for _, run := range a.Slices {
		r := run.Sources[0].LayerRange
		if r[1] > len(kinds) {
			return nil, fmt.Errorf("merge: %s: config.json: layer_types has %d layers, want %d", a.files.Path(), len(kinds), r[1])
		}
		now = append(now, kinds[r[0]:r[1]]...)
	}
	b, err := json.Marshal(now)
	if err != nil {
		return nil, err
	}
	return checkpoint.SetConfig(config, "layer_types", string(b)), nil
}

// convoy keeps outputs beside each other: none begins a tensor before all have begun the one before. What they read of the
// inputs is then read from the disk once.
type convoy struct {
	mu   sync.Mutex
	cond *sync.Cond
	at   []int
}

func newConvoy(n int) *convoy {
	c := &convoy{at: make([]int, n)}
	c.cond = sync.NewCond(&c.mu)
	return c
}

// reach waits until member i may begin with tensor k; false means that the context has ended.
func (c *convoy) reach(ctx context.Context, i, k int) bool {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cond.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[i] = max(c.at[i], k)
	c.cond.Broadcast()
	for slices.Min(c.at) < k && ctx.Err() == nil {
		c.cond.Wait()
	}
	return ctx.Err() == nil
}

// leave lets nobody wait for member i any more.
func (c *convoy) leave(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[i] = math.MaxInt
	c.cond.Broadcast()
}
