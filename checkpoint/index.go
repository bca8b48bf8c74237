package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// index is a shard index: which file holds which tensor.
type index struct {
	name  string
	where map[string]string // tensor to file
	files []string          // sorted
}

// readIndex reads an index and checks what can be checked without the shards. Its total_size is not compared: files in
// the wild often have it wrong, and no reader uses it.
func readIndex(place string, folder fs.FS, name string) (*index, error) {
	data, err := fs.ReadFile(folder, name)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", label(place, name), reason(err))
	}
	ix := &index{name: name, where: map[string]string{}}
	p := headerParser{dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	err = p.object("the index", func(key string) error {
		if key == "weight_map" {
			return ix.readMap(&p)
		}
		var skip json.RawMessage
		return syntax(p.dec.Decode(&skip))
	})
	if err != nil {
		return nil, formatError(fmt.Sprintf("checkpoint: %s: %v", label(place, name), err))
	}
	ix.checkFiles(folder, &p.problems)
	if err := p.problems.err(label(place, name)); err != nil {
		return nil, err
	}
	return ix, nil
}

func (ix *index) readMap(p *headerParser) error {
	return p.object("weight_map", func(tensor string) error {
		file, err := p.string(fmt.Sprintf("weight_map: %q", tensor))
		if err != nil {
			return err
		}
		if other, ok := ix.where[tensor]; ok {
			p.problems.add("tensor %q is listed twice, in %s and in %s", tensor, other, file)
		}
		ix.where[tensor] = file
		return nil
	})
}

// checkFiles checks that the shards are files of this very folder and exist.
func (ix *index) checkFiles(folder fs.FS, p *problems) {
	if len(ix.where) == 0 {
		p.add("weight_map is missing or empty")
	}
	ix.files = slices.Compact(slices.Sorted(maps.Values(ix.where)))
	for _, f := range ix.files {
		if !fs.ValidPath(f) || strings.ContainsAny(f, `/\:`) || f == "." {
			p.add("shard %q is not the name of a file in this folder", f)
			continue
		}
		if _, err := fs.Stat(folder, f); err != nil {
			p.add("shard %s: %v", f, reason(err))
		}
	}
}

// check compares the index with what the shards hold. A tensor that a shard holds and the index does not list counts as
// listed, as other readers do.
func (ix *index) check(c *Checkpoint) error {
	var p problems
	for _, name := range slices.Sorted(maps.Keys(ix.where)) {
		t, ok := c.tensors[name]
		switch {
		case !ok:
			p.add("tensor %q is not in %s, where the index has it", name, ix.where[name])
		case t.File != ix.where[name]:
			p.add("tensor %q is in %s, but the index has it in %s", name, t.File, ix.where[name])
		}
	}
	return p.err(label(c.place, ix.name))
}
