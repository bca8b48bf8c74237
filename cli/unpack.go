package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/checkpoint/bnb"
	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/interchange/llamacpp"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
)

// openWeights opens the weights of a model folder. Packed ones, of bitsandbytes or a GGUF file, are unpacked into a temporary file first,
// which takes disk but no memory; how says so, and is nil for others.
func openWeights(ctx context.Context, path string) (c *checkpoint.Checkpoint, how *merge.Unpacked, err error) {
	if file := ggufIn(path); file != "" {
		return unpackGGUF(ctx, path, file)
	}
	if c, err = checkpoint.Open(path); err != nil {
		return nil, nil, err
	}
	packed, how, err := packedIn(c)
	if err != nil || packed == nil {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
		return c, nil, err
	}
	config, err := c.ReadFile("config.json")
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	defer c.Close()
	plain, err := substitute(path, packed.Entries(ctx), checkpoint.RemoveConfig(config, "quantization_config"))
	return plain, how, err
}

// packing is what config.json says about packed weights.
type packing struct {
	Quantization *struct {
		Method string `json:"quant_method"`
	} `json:"quantization_config"`
	DType string `json:"dtype"`
	Torch string `json:"torch_dtype"`
}

// packedIn finds the packed weights of a checkpoint; nil if there are none.
func packedIn(c *checkpoint.Checkpoint) (*bnb.Weights, *merge.Unpacked, error) {
	var p packing
	if config, err := c.ReadFile("config.json"); err == nil && json.Unmarshal(config, &p) != nil {
		return nil, nil, nil // whoever reads it will tell what is wrong
	}
	other := checkpoint.F32
	for d, name := range map[checkpoint.DType]string{checkpoint.BF16: "bfloat16", checkpoint.F16: "float16"} {
		if p.DType == name || p.DType == "" && p.Torch == name {
			other = d
		}
	}
	w, err := bnb.Find(c, other)
	switch {
	case err != nil:
		return nil, nil, err
	case w.Packed() > 0:
		how := &merge.Unpacked{Format: "bitsandbytes " + strings.Join(w.Kinds(), ", "), Tensors: w.Packed()}
		for _, d := range w.DTypes() {
			how.DTypes = append(how.DTypes, d.String())
		}
		return w, how, nil
	case p.Quantization != nil:
		return nil, nil, fmt.Errorf("%s: its weights are packed by %q, which is not read: want plain weights, those of bitsandbytes, or a GGUF file", c.Path(), p.Quantization.Method)
	}
	return nil, nil, nil
}

// ggufIn is the only GGUF file of a folder without other weights.
func ggufIn(dir string) string {
	list, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var found []string
	for _, e := range list {
		switch name := e.Name(); {
		case strings.HasSuffix(name, ".safetensors"), strings.HasSuffix(name, ".bin"):
			return ""
		case strings.HasSuffix(name, ".gguf"):
			found = append(found, filepath.Join(dir, name))
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// unpackGGUF unpacks the file that lies beside config.json and tokenizer.
func unpackGGUF(ctx context.Context, dir, file string) (*checkpoint.Checkpoint, *merge.Unpacked, error) {
	raw, err := fs.ReadFile(os.DirFS(dir), "config.json")
	if err != nil {
		return nil, nil, fmt.Errorf("model: %s: %w; beside a GGUF file its model's config.json is needed, and tokenizer.json to read text", dir, err)
	}
	config, err := model.ParseConfig(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	f, closeFile, err := gguf.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer closeFile()
	entries, err := llamacpp.Import(ctx, f, config)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	var types []string
	for _, t := range f.Tensors {
		if name := t.Type.String(); !slices.Contains(types, name) {
			types = append(types, name)
		}
	}
	slices.Sort(types)
	how := &merge.Unpacked{Format: "GGUF " + strings.Join(types, ", "), Tensors: len(entries), DTypes: []string{checkpoint.F32.String()}}
	c, err := substitute(dir, entries, checkpoint.SetConfigDType(raw, checkpoint.F32))
	return c, how, err
}

// substitute writes the weights into a temporary file and opens it in place of the folder's. The file goes with the program, and where
// open files can be removed at once.
func substitute(place string, entries []checkpoint.Entry, config []byte) (*checkpoint.Checkpoint, error) {
	dir, err := os.MkdirTemp("", "graft-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "model.safetensors")
	if err := checkpoint.Write(file, entries, nil); err != nil {
		return nil, fmt.Errorf("unpacking %s into the temporary folder: %w", place, err)
	}
	return checkpoint.Substitute(place, os.DirFS(place), file, map[string][]byte{"config.json": config})
}

// sayUnpacked tells on stderr what was done to packed weights.
func sayUnpacked(w io.Writer, path string, how *merge.Unpacked) {
	if how != nil {
		fmt.Fprintf(w, "%s: %s\n", path, how)
	}
}
