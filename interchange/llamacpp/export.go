package llamacpp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/tokenizer"
)

// Job is a model on its way to a file.
type Job struct {
	Model         *merge.Folded
	Tokenizer     *tokenizer.Tokenizer // nil = none
	TokenizerJSON []byte               // the file it was read from
	Out           string               // the file to be written
	Type          string               // one of FileTypes
	Name          string               // general.name
	Base          string               // what the model was made from; "" = says nothing
	Pre           string               // tokenizer.ggml.pre; "" = found in a table
	Progress      func(done, total int64)

	config *model.Config
}

// Report says what was written.
type Report struct {
	Out       string           `json:"out"`
	Arch      string           `json:"architecture"`
	Type      string           `json:"type"`
	Tensors   int              `json:"tensors"`
	Numbers   int64            `json:"parameters"`
	Bytes     int64            `json:"bytes"`     // of all tensors
	From      int64            `json:"from"`      // bytes that they had
	ByType    map[string]int64 `json:"types"`     // bytes
	FellBack  []string         `json:"fell_back"` // tensors whose rows are not made of whole blocks, with the type that they have
	Notes     []string         `json:"notes"`
	BitsEach  float64          `json:"bits_per_parameter"`
	Tokenizer string           `json:"tokenizer"`
}

// wrap says which package an error is from.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("llamacpp: %w", err)
}

// checked is a config.json that can be exported, and what llama.cpp calls its architecture.
func checked(raw []byte) (*model.Config, *Arch, error) {
	c, err := model.ParseConfig(raw)
	if err != nil {
		return nil, nil, err
	}
	x, err := archOf(c, func(a *Arch) bool { return a.whole != nil })
	if err != nil {
		return nil, nil, err
	}
	return c, x, x.check(c, raw)
}

// Export writes the file.
func Export(ctx context.Context, j Job) (*Report, error) {
	r, err := j.export(ctx)
	return r, wrap(err)
}

func (j *Job) export(ctx context.Context) (*Report, error) {
	raw, err := j.Model.Config()
	if err != nil {
		return nil, err
	}
	c, x, err := checked(raw)
	if err != nil {
		return nil, err
	}
	j.config = c
	f, err := FileTypeNamed(j.Type)
	if err != nil {
		return nil, err
	}
	list, err := x.tensors(j.Model.Tensors(), c)
	if err != nil {
		return nil, err
	}
	r := &Report{Out: j.Out, Arch: x.Name, Type: f.Name, ByType: map[string]int64{}, FellBack: []string{}, Notes: []string{}}
	file, err := j.head(x, f, r)
	if err != nil {
		return nil, err
	}
	r.choose(f, list, c.NumHiddenLayers)
	if err := j.fills(ctx, file, list, r); err != nil {
		return nil, err
	}
	factors, err := ropeTensors(c)
	if err != nil {
		return nil, err
	}
	file.Tensors = append(file.Tensors, factors...)
	r.Tensors += len(factors)
	return r, file.WriteFile(j.Out)
}

// head is the file without its tensors.
func (j *Job) head(x *Arch, f *FileType, r *Report) (*gguf.File, error) {
	file := &gguf.File{Pairs: []gguf.Pair{{Key: KeyArch, Value: x.Name}, {Key: KeyType, Value: "model"}, {Key: keyName, Value: j.Name}}}
	if j.Base != "" {
		file.Pairs = append(file.Pairs, gguf.Pair{Key: KeyBases, Value: uint32(1)}, gguf.Pair{Key: KeyBase, Value: j.Base})
	}
	sizes, notes, err := x.keys(j.config)
	if err != nil {
		return nil, err
	}
	words, more, err := j.vocabKeys(j.config.VocabSize)
	if err != nil {
		return nil, err
	}
	r.Notes = append(append(r.Notes, notes...), more...)
	r.Tokenizer, _ = words[0].Value.(string)
	if len(words) > 1 {
		r.Tokenizer += fmt.Sprintf(", cut as %v", words[1].Value)
	}
	file.Pairs = append(file.Pairs, sizes...)
	file.Pairs = append(file.Pairs, gguf.Pair{Key: KeyFile, Value: f.number})
	if f.quantised() {
		file.Pairs = append(file.Pairs, gguf.Pair{Key: keyVersion, Value: uint32(2)})
	}
	file.Pairs = append(file.Pairs, words...)
	return file, nil
}

// tensor is one of the file and where it comes from.
type tensor struct {
	name       string
	info       checkpoint.Info
	layer      int // -1 outside
	typ        gguf.Type
	rows, cols int     // of the file's
	heads      int     // whose rows are permuted; 0 = none
	turned     bool    // the source has [cols, rows]
	plus       float32 // added to each number
}

// tensors finds the place in the file of each tensor of a model, in the order of the file: the embedding, layers, the ends.
func (x *Arch) tensors(infos []checkpoint.Info, c *model.Config) ([]tensor, error) {
	prefix := ""
	if !slices.ContainsFunc(infos, func(i checkpoint.Info) bool { return strings.HasPrefix(i.Name, x.prefix) }) {
		prefix = x.prefix // the file of a bare model
	}
	var list []tensor
	var errs []error
	for _, info := range infos {
		name := info.Name
		if !strings.HasPrefix(name, "lm_head.") {
			name = prefix + name
		}
		if ignored(name) {
			continue
		}
		t, err := x.tensor(name, info, c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, t)
	}
	slices.SortStableFunc(list, func(a, b tensor) int {
		return cmp.Or(cmp.Compare(a.place(c.NumHiddenLayers), b.place(c.NumHiddenLayers)), cmp.Compare(a.name, b.name))
	})
	return list, errors.Join(errs...)
}

// ignored are stored tensors that are no weights.
func ignored(name string) bool {
	for _, end := range []string{".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// place orders tensors.
func (t *tensor) place(layers int) int {
	switch {
	case t.layer >= 0:
		return t.layer
	case strings.HasPrefix(t.name, outputHead):
		return layers
	}
	return -1
}

// tensor finds the place of one.
func (x *Arch) tensor(name string, info checkpoint.Info, c *model.Config) (tensor, error) {
	module, end := name, ""
	for _, e := range []string{".weight", ".bias"} {
		if m, ok := strings.CutSuffix(name, e); ok {
			module, end = m, e
		}
	}
	stem, ok := x.stem(module, slices.Concat(x.ends, x.whole.ends), slices.Concat(x.parts, x.whole.parts))
	switch {
	case !ok || end == "":
		return tensor{}, fmt.Errorf("tensor %q has no name in llama.cpp's %s", info.Name, x.Name)
	case x.whole.tied && stem == outputHead:
		return tensor{}, fmt.Errorf("tensor %q: llama.cpp's %s has no head but its embedding", info.Name, x.Name)
	case len(info.Shape) != 1 && len(info.Shape) != 2:
		return tensor{}, fmt.Errorf("tensor %q is %v, want a matrix or a vector", info.Name, info.Shape)
	}
	t := tensor{name: stem + end, info: info, layer: -1, rows: info.Shape[0], cols: 1, heads: x.Heads(stem, c)}
	if m := blockName.FindStringSubmatch(stem); m != nil {
		t.layer, _ = strconv.Atoi(m[1]) // digits, by the pattern
	}
	if len(info.Shape) == 2 {
		t.cols = info.Shape[1]
	}
	if x.whole.conv1D && t.layer >= 0 && len(info.Shape) == 2 {
		t.rows, t.cols, t.turned = t.cols, t.rows, true
	}
	if x.whole.plusOne && strings.HasSuffix(stem, "_norm") {
		t.plus = 1
	}
	if t.heads > 0 && t.rows%(2*t.heads) != 0 {
		return t, fmt.Errorf("tensor %q has %d rows, which %d heads of even size do not share", info.Name, t.rows, t.heads)
	}
	return t, nil
}

// choose settles the types.
func (r *Report) choose(f *FileType, list []tensor, layers int) {
	tied := !slices.ContainsFunc(list, func(t tensor) bool { return t.name == outputHead+".weight" })
	for i := range list {
		t := &list[i]
		fellBack := false
		if t.typ, fellBack = f.of(t, layers, tied); fellBack {
			r.FellBack = append(r.FellBack, fmt.Sprintf("%s: rows of %d, %s", t.name, t.cols, t.typ))
		}
	}
}

// shape is the tensor's in the file.
func (t *tensor) shape() []int {
	if len(t.info.Shape) == 1 {
		return t.info.Shape
	}
	return []int{t.rows, t.cols}
}

// fills puts the tensors into a file, to be computed when it is written.
func (j *Job) fills(ctx context.Context, file *gguf.File, list []tensor, r *Report) error {
	var done atomic.Int64
	progress := func(n int) {
		if d := done.Add(int64(n)); j.Progress != nil {
			j.Progress(d, r.Bytes)
		}
	}
	pool := &sync.Pool{New: func() any { return new(scratch) }}
	for i := range list {
		t := &list[i]
		n, err := t.typ.Size(t.shape())
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.name, err)
		}
		r.ByType[t.typ.String()] += int64(n)
		r.Bytes += int64(n)
		r.From += t.info.Size
		r.Numbers += int64(t.info.Len())
		file.Tensors = append(file.Tensors, gguf.Tensor{Name: t.name, Type: t.typ, Shape: t.shape(), Fill: func(w io.WriterAt) error {
			if err := t.fill(ctx, j.Model, pool, progress, w); err != nil {
				return fmt.Errorf("llamacpp: tensor %q: %w", t.info.Name, err)
			}
			return nil
		}})
	}
	r.Tensors = len(list)
	r.BitsEach = 8 * float64(r.Bytes) / float64(max(1, r.Numbers))
	return nil
}

// blockNumbers is about how many numbers are worked on at once.
const blockNumbers = 1 << 15

// scratch is the memory of one block.
type scratch struct {
	x, y []float32
	out  []byte
}

// fill computes a tensor block by block, several at a time, and writes each at its place.
func (t *tensor) fill(ctx context.Context, m *merge.Folded, pool *sync.Pool, wrote func(n int), w io.WriterAt) error {
	unit := 1
	if t.heads > 0 {
		unit = t.rows / t.heads // heads stay whole
	}
	step := unit * max(1, blockNumbers/max(1, unit*t.cols))
	rowBytes, err := t.typ.Size([]int{t.cols})
	if err != nil {
		return err
	}
	read := func(lo, hi int, dst []float32) error { return m.Rows(t.info, lo, hi, dst) }
	if t.turned {
		if read, err = t.columns(m); err != nil {
			return err
		}
	}
	return kernel.ParallelErr(ctx, (t.rows+step-1)/step, func(i int) error {
		s := pool.Get().(*scratch)
		defer pool.Put(s)
		lo, hi := i*step, min(t.rows, (i+1)*step)
		s.grow((hi-lo)*t.cols, (hi-lo)*rowBytes)
		if err := read(lo, hi, s.x); err != nil {
			return err
		}
		if err := t.typ.Encode(s.out, t.arrange(s, (hi-lo)/unit)); err != nil {
			return fmt.Errorf("rows %d and on: %w", lo, err)
		}
		_, err := w.WriteAt(s.out, int64(lo)*int64(rowBytes))
		wrote(len(s.out))
		return err
	})
}

// arrange puts a block of so many heads into the order of the file.
func (t *tensor) arrange(s *scratch, heads int) []float32 {
	x := s.x
	if t.heads > 0 {
		Permute(s.y, s.x, heads, t.cols, false)
		x = s.y
	}
	if t.plus != 0 {
		for i := range x {
			x[i] += t.plus
		}
	}
	return x
}

// columns reads a matrix whole and gives its columns as rows.
func (t *tensor) columns(m *merge.Folded) (func(lo, hi int, dst []float32) error, error) {
	x := make([]float32, t.rows*t.cols)
	if err := m.Rows(t.info, 0, t.cols, x); err != nil {
		return nil, err
	}
	return func(lo, hi int, dst []float32) error {
		for k := range t.cols {
			for i := lo; i < hi; i++ {
				dst[(i-lo)*t.cols+k] = x[k*t.rows+i]
			}
		}
		return nil
	}, nil
}

// grow gives the scratch room.
func (s *scratch) grow(numbers, bytes int) {
	if cap(s.x) < numbers {
		s.x, s.y = make([]float32, numbers), make([]float32, numbers)
	}
	if cap(s.out) < bytes {
		s.out = make([]byte, bytes)
	}
	s.x, s.y, s.out = s.x[:numbers], s.y[:numbers], s.out[:bytes]
}
