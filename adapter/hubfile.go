package adapter

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/model/layer"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// HubFiles are the names that files of the library's tensors may have. It writes one of each pair, graft the first.
var (
	HubFiles     = []string{"adapter.safetensors", "pytorch_adapter.bin"}
	hubHeadFiles = []string{"model_head.safetensors", "pytorch_model_head.bin"}
)

const headFile = "head_config.json"

// openOne opens the first of the files that is there; nil if none is.
func openOne(dir string, names []string) (*checkpoint.Checkpoint, error) {
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return checkpoint.OpenFile(path)
		}
	}
	return nil, nil
}

// Files implements peft.Foreign.
func (c *HubConfig) Files() []string { return []string{HubFiles[0], hubHeadFiles[0]} }

// OpenTensors implements peft.Foreign.
func (c *HubConfig) OpenTensors(dir string) (*checkpoint.Checkpoint, error) {
	file, err := openOne(dir, HubFiles)
	if err == nil && file == nil {
		err = fmt.Errorf("adapter: %s: no %s: %w", dir, strings.Join(HubFiles, " and no "), fs.ErrNotExist)
	}
	return file, err
}

// LoadAdapter implements peft.Foreign.
func (c *HubConfig) LoadAdapter(dir string, m layer.Model, allow peft.Allow) (peft.Adapter, error) {
	file, err := c.OpenTensors(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	top, err := c.openHead(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if top != nil {
		defer top.Close()
	}
	a, err := c.build(m, rand.New(rand.NewPCG(0, 0))) // values that no tensor replaces are drawn
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	h := a.unwrap()
	err = peft.Fill(body{h}, file, allow)
	if h.head != nil && top != nil {
		err = errors.Join(err, peft.Fill(headOnly{h.head}, top, allow))
	}
	if err != nil {
		a.Detach()
		return nil, err
	}
	return a, nil
}

// openHead reads the head of a folder; nil if there is none.
func (c *HubConfig) openHead(dir string) (*checkpoint.Checkpoint, error) {
	b, err := os.ReadFile(filepath.Join(dir, headFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("adapter: %w", err)
	}
	if c.head, err = parseHead(b); err != nil {
		return nil, err
	}
	file, err := openOne(dir, hubHeadFiles)
	if err != nil || file == nil {
		return nil, errors.Join(err, fmt.Errorf("adapter: there is %s, but no %s", headFile, strings.Join(hubHeadFiles, " and no ")))
	}
	if c.head == nil { // the model's own
		for _, name := range file.Names() {
			if m := name[:max(0, strings.LastIndexByte(name, '.'))]; !slices.Contains(c.saved, m) {
				c.saved = append(c.saved, m)
			}
		}
	}
	return file, nil
}

// headOnly is the head as an adapter, for its file.
type headOnly struct{ hubHead }

// SaveAdapter implements peft.Foreign.
func (c *HubConfig) SaveAdapter(dir string, a peft.Adapter) error {
	x, ok := a.(attached)
	if !ok {
		return fmt.Errorf("adapter: the files of the library `adapters` hold no %T", a)
	}
	h := x.unwrap()
	config, err := c.JSON()
	if err != nil {
		return err
	}
	if h.head != nil {
		if err := c.writeHead(dir, peft.Entries(headOnly{h.head})); err != nil {
			return err
		}
	}
	return c.writeBody(dir, peft.Entries(body{h}), config)
}

// writeBody writes what is not the head; the settings come last.
func (c *HubConfig) writeBody(dir string, tensors []checkpoint.Entry, config []byte) error {
	if err := checkpoint.Write(filepath.Join(dir, HubFiles[0]), tensors, nil); err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, peft.ConfigFile), config)
}

func (a *hubAdapter) unwrap() *hubAdapter { return a }

// writeHead writes a head. One of transformers' own has no settings.
func (c *HubConfig) writeHead(dir string, tensors []checkpoint.Entry) error {
	o := peft.Object{"config": nil, "hidden_size": c.base.hidden, "model_class": orNil(c.base.class), "model_name": orNil(c.BaseModel),
		"model_type": orNil(c.base.model), "name": nil, "version": hubVersion}
	if c.head != nil {
		maps.Copy(o, c.head.file)
	}
	b, err := peft.PythonJSON(o)
	if err != nil {
		return err
	}
	if err := checkpoint.Write(filepath.Join(dir, hubHeadFiles[0]), tensors, nil); err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, headFile), b)
}

// HubTensors are the tensors of an attached adapter by their names in the library's files, without those of its head.
func HubTensors(a peft.Adapter) iter.Seq2[string, *nn.Param] {
	x, ok := a.(attached)
	if !ok {
		return func(func(string, *nn.Param) bool) {}
	}
	return body{x.unwrap()}.Params()
}
