package checkpoint

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Substitute opens a safetensors file as the weights of a folder that has them in another form: what is not weights is the folder's,
// but for files, which stand in for those of their names. place is what errors and records call it.
func Substitute(place string, folder fs.FS, weights string, files map[string][]byte) (*Checkpoint, error) {
	f, err := mapFile(weights, filepath.Base(weights))
	if err != nil {
		return nil, err
	}
	if f.table, err = parseFile(weights, f.data); err != nil {
		return nil, errors.Join(err, closeFiles([]*file{f}))
	}
	return assemble(place, patched{folder, files}, []*file{f})
}

// patched is a folder some of whose files are others.
type patched struct {
	fs.FS
	files map[string][]byte
}

func (p patched) Open(name string) (fs.File, error) {
	if b, ok := p.files[name]; ok {
		return &patch{Reader: bytes.NewReader(b), name: name}, nil
	}
	return p.FS.Open(name)
}

// patch is one of them, open, and what is known about it.
type patch struct {
	*bytes.Reader
	name string
}

func (p *patch) Close() error               { return nil }
func (p *patch) Stat() (fs.FileInfo, error) { return p, nil }
func (p *patch) Name() string               { return p.name }
func (p *patch) Mode() os.FileMode          { return 0o444 }
func (p *patch) ModTime() time.Time         { return time.Time{} }
func (p *patch) IsDir() bool                { return false }
func (p *patch) Sys() any                   { return nil }
