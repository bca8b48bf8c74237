package cli

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/model"
)

// companions are the files that make a folder with weights a model that loads elsewhere.
var companions = []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "chat_template.jinja"}

// saveFull writes the trained weights as a model folder, in the dtype that config.json names, rounded once.
func (b *base) saveFull(dir string) error {
	raw, err := fs.ReadFile(b.files, "config.json")
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	dtype, err := dtypeOf(raw)
	if err != nil {
		return err
	}
	var entries []checkpoint.Entry
	for name, w := range b.model.Weights() {
		rows, cols := 1, w.Shape[len(w.Shape)-1]
		if len(w.Shape) == 2 {
			rows = w.Shape[0]
		}
		size := cols * int(dtype.Size())
		row, data := make([]float32, cols), make([]byte, rows*size)
		for i := range rows {
			w.Row(row, i)
			checkpoint.Encode(data[i*size:(i+1)*size], row, dtype)
		}
		entries = append(entries, checkpoint.FromBytes(name, dtype, w.Shape, data))
	}
	if _, err := checkpoint.WriteShards(dir, entries, checkpoint.ShardOptions{}); err != nil {
		return err
	}
	for _, name := range companions {
		data, err := fs.ReadFile(b.files, name)
		if err != nil {
			continue // not every model has every file
		}
		if name == "config.json" {
			if data, err = b.headed(data); err != nil {
				return err
			}
		}
		if err := atomicfile.WriteBytes(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}

// dtypeOf reads the dtype of a config.json.
func dtypeOf(config []byte) (checkpoint.DType, error) {
	var c struct {
		Torch string `json:"torch_dtype"`
		DType string `json:"dtype"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return checkpoint.F32, fmt.Errorf("model: config.json: %w", err)
	}
	if c.DType == "" {
		c.DType = c.Torch
	}
	for name, d := range map[string]checkpoint.DType{"": checkpoint.F32, "float32": checkpoint.F32, "float16": checkpoint.F16, "bfloat16": checkpoint.BF16} {
		if name == c.DType {
			return d, nil
		}
	}
	return checkpoint.F32, fmt.Errorf("model: config.json: dtype is %q, want float32, float16 or bfloat16", c.DType)
}

// headed sets what a config.json must say about the head of the model.
func (b *base) headed(config []byte) ([]byte, error) {
	if b.model.Kind == model.NextToken {
		return config, nil
	}
	fields := b.model.Config.HeadFields()
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value, err := json.Marshal(fields[key])
		if err != nil {
			return nil, fmt.Errorf("model: config.json: %s: %w", key, err)
		}
		config = checkpoint.SetConfig(config, key, string(value))
	}
	return config, nil
}
