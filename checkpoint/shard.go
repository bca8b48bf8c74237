package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// DefaultShardSize is the size from which a checkpoint is split into several files.
const DefaultShardSize = 5_000_000_000

// ShardOptions say how a checkpoint is written.
type ShardOptions struct {
	MaxShardSize int64             // of one file's tensors in bytes; 0 means DefaultShardSize
	Metadata     map[string]string // as for Write
}

// WriteShards writes a model's weights into a folder: model.safetensors, or if they are larger than one shard may be,
// model-00001-of-0000N.safetensors and so on with model.safetensors.index.json. Entries fill the shards in the order given;
// one that is larger than a shard gets its own. Every file is written whole or not at all, the index last. A folder that has
// weights already is an error. It returns the names of the files written.
func WriteShards(dir string, entries []Entry, opts ShardOptions) ([]string, error) {
	shards, total, err := split(entries, opts.MaxShardSize)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", dir, err)
	}
	if name := anyWeights(dir); name != "" {
		return nil, fmt.Errorf("checkpoint: %s: %w", filepath.Join(dir, name), fs.ErrExist)
	}
	var files []string
	where := map[string]string{}
	for i, s := range shards {
		name := "model.safetensors"
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		if err := Write(filepath.Join(dir, name), s, opts.Metadata); err != nil {
			return nil, errors.Join(err, removeAll(dir, files))
		}
		files = append(files, name)
		for _, e := range s {
			where[e.Name] = name
		}
	}
	if len(shards) == 1 {
		return files, nil
	}
	name := "model.safetensors.index.json"
	if err := writeIndex(filepath.Join(dir, name), total, where); err != nil {
		return nil, errors.Join(err, removeAll(dir, files))
	}
	return append(files, name), nil
}

// anyWeights is the first file in a folder that WriteShards could have written; empty if there is none, or no folder to read.
func anyWeights(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "" // writing will tell what is wrong, if anything
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "model") && strings.Contains(e.Name(), ".safetensors") {
			return e.Name()
		}
	}
	return ""
}

func removeAll(dir string, files []string) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, os.Remove(filepath.Join(dir, f)))
	}
	return errors.Join(errs...)
}

// totals are the counts in an index.
type totals struct {
	Parameters int64 `json:"total_parameters"`
	Size       int64 `json:"total_size"`
}

// split deals entries out into shards. There is always at least one.
func split(entries []Entry, most int64) (shards [][]Entry, total totals, err error) {
	if most <= 0 {
		most = DefaultShardSize
	}
	var p problems
	var current []Entry
	size := int64(0)
	seen := map[string]bool{}
	for _, e := range entries {
		n, err := sizeOf(e)
		if err != nil {
			p.add("%v", err)
			continue
		}
		if seen[e.Name] {
			p.add("tensor %q is to be written twice", e.Name)
		}
		seen[e.Name] = true
		total.Size += n
		total.Parameters += n / int64(e.DType.Size())
		if n > most {
			shards = append(shards, []Entry{e})
			continue
		}
		if size+n > most {
			shards, current, size = append(shards, current), nil, 0
		}
		current, size = append(current, e), size+n
	}
	if len(current) > 0 || len(shards) == 0 {
		shards = append(shards, current)
	}
	return shards, total, p.bare()
}

func writeIndex(path string, total totals, where map[string]string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(struct {
		Metadata  totals            `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}{total, where}); err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return atomicfile.WriteBytes(path, b.Bytes())
}
