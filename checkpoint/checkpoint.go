// Package checkpoint reads and writes the tensors of models and adapters: safetensors, and reads those of torch.save, in one file or
// in shards with an index. Reading maps the files into memory and hands out views in the file's own dtype; nothing is copied
// or converted unless asked for.
//
//	c, err := checkpoint.Open("models/llama")       // a folder, or one file
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	w, shape, err := c.Frozen("model.norm.weight")  // in place, for products
//	f, err := c.Floats("model.norm.weight")         // a converted copy
//	config, err := c.ReadFile("config.json")
//
// Writing goes to a temporary file in the same folder, is synced and then renamed: a final name never holds half a file.
//
// # The format
//
// A safetensors file is
//
//	8 bytes   n, the length of the header, little-endian
//	n bytes   the header: one JSON object, padded with spaces to a multiple of 8 when written
//	the rest  the tensors' bytes, little-endian, row-major, without gaps or overlaps
//
// The header maps each tensor's name to {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, offsets counted from
// the end of the header, and "__metadata__" to an object of strings. A sharded checkpoint has an index file,
// {"metadata": {"total_size": …}, "weight_map": {"name": "file"}}.
//
// # Files of torch
//
// pytorch_model.bin, adapter_model.bin and other state dicts that torch.save wrote are a pickled dict of tensors, which are views
// (offset, shape, strides) of storages. Since torch 1.6 the file is a zip archive whose entries are not compressed:
//
//	NAME/data.pkl    the dict; a tensor is _rebuild_tensor_v2(storage, offset, shape, strides, …), a storage is a persistent
//	                 id ("storage", class, KEY, device, number of elements)
//	NAME/data/KEY    the bytes of a storage
//	NAME/byteorder   "little"; absent in old files
//
// Before that it is five pickles, one after the other, and then the storages:
//
//	0x1950a86a20f9469cfc6c    the magic number
//	1001                      the version
//	{"little_endian": True …}
//	the dict
//	[KEY, …]                  and for each KEY in this order 8 bytes, the number of elements, and the storage's bytes
//
// Contiguous views are used in place, others are copied when the file is opened; tensors that share a storage, such as tied weights,
// go on sharing it. The pickle is read by internal/pickle, which runs no code: a file that refers to anything but dicts, tensors and
// storages is refused by name. A general reader of pickles (nlpodyssey/gopickle) was not used because it copies every storage into
// memory and makes objects of whatever classes a file names. Checksums of zip entries are not compared: torch itself does not, its
// writers may leave them out, and it would mean reading all weights to open a file.
//
// Words: a tensor is a name, a dtype, a shape and bytes; the table of a file lists its tensors; a shard is one file of
// several; a folder is what a model's files lie in.
package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/nlpodyssey/safetensors"
)

// DType is the type of a tensor's numbers; its String is the name in the file.
type DType = safetensors.DType

// The dtypes of a safetensors file.
const (
	Bool = safetensors.BOOL
	U8   = safetensors.U8
	I8   = safetensors.I8
	I16  = safetensors.I16
	U16  = safetensors.U16
	F16  = safetensors.F16
	BF16 = safetensors.BF16
	I32  = safetensors.I32
	U32  = safetensors.U32
	F32  = safetensors.F32
	F64  = safetensors.F64
	I64  = safetensors.I64
	U64  = safetensors.U64
)

// ErrFormat is what errors.Is finds in every error about bytes that are not what their format demands, as opposed to errors of the
// file system.
var ErrFormat = errors.New("bad file")

// Info describes one tensor.
type Info struct {
	Name   string
	DType  DType
	Shape  []int
	File   string // the file's name within its folder; empty if parsed from memory
	Offset int64  // of the first element's first byte, from the start of the file
	Size   int64  // in bytes
}

// Len is the number of elements.
func (i Info) Len() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// Checkpoint is an open checkpoint. It is safe for concurrent use, except that nothing may use it or the views it handed
// out during or after Close: they alias the files' mapping, which nobody may write to.
type Checkpoint struct {
	place    string // what the user named
	folder   fs.FS  // where ReadFile reads; nil if parsed from memory
	files    []*file
	tensors  map[string]*tensorAt
	names    []string // sorted
	metadata map[string]string
	once     sync.Once
	closed   error
}

// file is one file of a checkpoint: its bytes and what they hold.
type file struct {
	name  string
	data  []byte
	table *Table
	unmap func() error // nil if the bytes are ordinary memory
}

type tensorAt struct {
	Info
	data []byte
}

// assemble joins the tables of files, in order, into one checkpoint.
func assemble(place string, folder fs.FS, files []*file) (*Checkpoint, error) {
	c := &Checkpoint{place: place, folder: folder, files: files, tensors: map[string]*tensorAt{}, metadata: map[string]string{}}
	var errs problems
	for _, f := range files {
		for k, v := range f.table.Metadata {
			if _, ok := c.metadata[k]; !ok {
				c.metadata[k] = v
			}
		}
		for _, info := range f.table.Tensors {
			info.File = f.name
			if other, ok := c.tensors[info.Name]; ok {
				errs.add("tensor %q is in %s and in %s, want one of them", info.Name, other.File, f.name)
				continue
			}
			c.tensors[info.Name] = &tensorAt{Info: info, data: f.table.bytes(f.data, info)}
		}
	}
	if err := errs.err(place); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.names = slices.Sorted(maps.Keys(c.tensors))
	return c, nil
}

// Close gives the mapping back. Every view that the checkpoint handed out is invalid from then on.
func (c *Checkpoint) Close() error {
	c.once.Do(func() { c.closed = closeFiles(c.files) })
	return c.closed
}

func closeFiles(files []*file) error {
	var errs []error
	for _, f := range files {
		if f.unmap != nil {
			errs = append(errs, f.unmap())
		}
	}
	return errors.Join(errs...)
}

// Path is the file or folder that was opened, as the caller wrote it.
func (c *Checkpoint) Path() string { return c.place }

// Names lists the tensors, sorted. The caller must not modify it.
func (c *Checkpoint) Names() []string { return c.names }

// Stored lists the tensors in the order in which they lie in the files, the files in order of their names.
func (c *Checkpoint) Stored() []Info {
	infos := make([]Info, 0, len(c.tensors))
	for _, f := range c.files {
		for _, t := range f.table.Tensors {
			t.File = f.name
			infos = append(infos, t)
		}
	}
	return infos
}

// Info describes a tensor; false if there is none of that name.
func (c *Checkpoint) Info(name string) (Info, bool) {
	t, ok := c.tensors[name]
	if !ok {
		return Info{}, false
	}
	return t.Info, true
}

// Bytes is the tensor as it lies in the file, little-endian and row-major. It aliases the mapping.
func (c *Checkpoint) Bytes(name string) ([]byte, error) {
	t, err := c.at(name)
	if err != nil {
		return nil, err
	}
	return t.data, nil
}

func (c *Checkpoint) at(name string) (*tensorAt, error) {
	t, ok := c.tensors[name]
	if !ok {
		return nil, fmt.Errorf("checkpoint: %s: no tensor %q among its %d", c.place, name, len(c.tensors))
	}
	return t, nil
}

// errorf reports something about a tensor.
func (c *Checkpoint) errorf(t *tensorAt, format string, args ...any) error {
	return fmt.Errorf("checkpoint: %s: tensor %q is %s", label(c.place, t.File), t.Name, fmt.Sprintf(format, args...))
}

// Metadata is what the files say about themselves; where shards differ the first one wins. The caller must not modify it.
func (c *Checkpoint) Metadata() map[string]string { return c.metadata }

// SizeBytes is the size of all tensors.
func (c *Checkpoint) SizeBytes() (n int64) {
	for _, t := range c.tensors {
		n += t.Size
	}
	return n
}

// MappedBytes is how much memory maps files, as opposed to holding a copy of them.
func (c *Checkpoint) MappedBytes() (n int64) {
	for _, f := range c.files {
		if f.unmap != nil {
			n += int64(len(f.data))
		}
	}
	return n
}

// ReadFile reads another file of the checkpoint's folder, such as config.json. The error wraps fs.ErrNotExist if there is
// none.
func (c *Checkpoint) ReadFile(name string) ([]byte, error) {
	if c.folder == nil {
		return nil, fmt.Errorf("checkpoint: %s: it has no folder: %w", name, fs.ErrNotExist)
	}
	b, err := fs.ReadFile(c.folder, name)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", label(c.place, name), reason(err))
	}
	return b, nil
}

// Folder is the folder that the checkpoint's files lie in; nil if it was parsed from memory.
func (c *Checkpoint) Folder() fs.FS { return c.folder }

// label names a file of a place in errors; the place may be the file itself.
func label(place, name string) string {
	switch {
	case name == "" || place == name || strings.HasSuffix(place, "/"+name):
		return place
	case place == "":
		return name
	}
	return path.Join(place, name)
}

// reason takes the path out of a file system's error, since ours names it.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// problems collects what is wrong with one file, to report it in one line.
type problems struct {
	lines []string
	more  int
}

const maxProblems = 12

func (p *problems) add(format string, args ...any) {
	if len(p.lines) == maxProblems {
		p.more++
		return
	}
	p.lines = append(p.lines, fmt.Sprintf(format, args...))
}

// err names the file; it is nil if nothing was added.
func (p *problems) err(place string) error {
	if err := p.bare(); err != nil {
		return formatError("checkpoint: " + place + ": " + err.Error())
	}
	return nil
}

// bare is err for a caller who will name the file.
func (p *problems) bare() error {
	if len(p.lines) == 0 {
		return nil
	}
	s := strings.Join(p.lines, "; ")
	if p.more > 0 {
		s += fmt.Sprintf("; and %d more", p.more)
	}
	return errors.New(s)
}

// formatError is an error about bytes; it is ErrFormat without saying so.
type formatError string

func (e formatError) Error() string        { return string(e) }
func (e formatError) Is(target error) bool { return target == ErrFormat }
