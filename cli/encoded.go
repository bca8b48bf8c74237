package cli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/data/source"
	"github.com/graft-ml/graft/internal/keep"
)

// encode is the examples of a source: those that an earlier run made of the same bytes with the same settings, or new ones, which the
// next run will find.
func (p *plan) encode(ctx context.Context, files source.Files, s data.Settings) (data.Set, *data.Report, error) {
	key := p.encodedKey(files, s)
	if set, report, ok := recall(key); ok {
		p.recalled = append(p.recalled, files.Name())
		return set, report, nil
	}
	set, report, err := data.Build(ctx, files.Rows(), p.base.tok, p.chat, s)
	if err == nil && key != "" {
		p.base.later.Go(func() {
			if p.encodedKey(files, s) == key { // else a file has changed while it was read
				store(key, set, report)
			}
		})
	}
	return set, report, err
}

// recall finds stored examples.
func recall(key string) (data.Set, *data.Report, bool) {
	if key == "" {
		return nil, nil, false
	}
	b, ok := keep.Open().Get(key)
	if !ok {
		return nil, nil, false
	}
	set, report, err := data.Unmarshal(b)
	return set, report, err == nil
}

func store(key string, set data.Set, report *data.Report) {
	if b, err := data.Marshal(set, report); err == nil {
		keep.Open().Put(key, b)
	}
}

// encodedKey says everything that the examples of a source depend on: bytes of the data and of the tokenizer, settings, chat
// template, and the program; "" if nothing is remembered or a file cannot be read.
func (p *plan) encodedKey(files source.Files, s data.Settings) string {
	if keep.Open() == (keep.Folder{}) {
		return ""
	}
	rows, err := files.Hash()
	if err != nil {
		return ""
	}
	settings, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	template := ""
	if name := p.recipe.Model.ChatTemplate; name != "" {
		b, err := os.ReadFile(name)
		if err != nil {
			return ""
		}
		template = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return fmt.Sprintf("examples, version %d of %s\nrows %s\ntokenizer %s\ntemplate %s\nsettings %s\n", data.EncodingVersion, program(), rows,
		p.base.tokenizerHash, template, settings)
}

// program tells this build from others, for which the same rows may be other examples.
var program = sync.OnceValue(func() string {
	name, err := os.Executable()
	if err != nil {
		return version()
	}
	st, err := os.Stat(name)
	if err != nil {
		return version()
	}
	return fmt.Sprintf("%s, %d bytes of %d", version(), st.Size(), st.ModTime().UnixNano())
})

// witness is a folder that remembers what was read from it.
type witness struct {
	fs.FS
	sums map[string]string
}

func newWitness(fsys fs.FS) *witness { return &witness{fsys, map[string]string{}} }

// ReadFile implements fs.ReadFileFS.
func (w *witness) ReadFile(name string) ([]byte, error) {
	b, err := fs.ReadFile(w.FS, name)
	if err == nil {
		w.sums[name] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return b, err
}

// hash identifies what was read.
func (w *witness) hash() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(w.sums)) {
		fmt.Fprintf(h, "%q %s\n", name, w.sums[name])
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
