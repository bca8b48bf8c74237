package peft

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/internal/op"
)

// Names of the files of an adapter folder.
const (
	ConfigFile  = "adapter_config.json"
	TensorsFile = "adapter_model.safetensors"
	TorchFile   = "adapter_model.bin" // of old PEFTs: read where there is no TensorsFile, never written
)

// OpenTensors opens the tensors of an adapter folder.
func OpenTensors(dir string) (*checkpoint.Checkpoint, error) {
	for _, name := range []string{TensorsFile, TorchFile} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return checkpoint.OpenFile(path)
		}
	}
	return nil, fmt.Errorf("peft: %s: no %s and no %s: %w", dir, TensorsFile, TorchFile, fs.ErrNotExist)
}

// Save writes the adapter into a folder, which it makes. Each file appears whole or not at all.
func Save(dir string, c Config, a Adapter) error {
	if f, ok := c.(Foreign); ok {
		if err := atomicfile.MkdirAll(dir); err != nil {
			return fmt.Errorf("peft: %w", err)
		}
		return f.SaveAdapter(dir, a)
	}
	if x, ok := a.(Converter); ok {
		c, a = x.Convert(c)
	}
	config, err := c.JSON()
	if err != nil {
		return err
	}
	if err := atomicfile.MkdirAll(dir); err != nil {
		return fmt.Errorf("peft: %w", err)
	}
	if err := checkpoint.Write(filepath.Join(dir, TensorsFile), Entries(a), metadata(c)); err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, ConfigFile), config)
}

// Converter is an adapter that is stored as another: one whose start was taken out of the base, as one over the base itself.
type Converter interface {
	// Convert returns what is stored, which is only read.
	Convert(c Config) (Config, Adapter)
}

// Entries are the adapter's tensors as its file holds them.
func Entries(a Adapter) (list []checkpoint.Entry) {
	for name, p := range a.Params() {
		list = append(list, checkpoint.FromFloats(name, op.FileShape(p), op.Data(p)))
	}
	if x, ok := a.(Buffered); ok {
		for _, b := range x.Buffers() {
			list = append(list, b.entries()...)
		}
	}
	if x, ok := a.(Extended); ok {
		for _, e := range x.Extras() {
			if e.Written {
				list = append(list, e.entry())
			}
		}
	}
	return list
}
