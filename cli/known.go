package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/graft-ml/graft/internal/keep"
	"github.com/graft-ml/graft/recipes"
)

// settled is how old a file must be so that another change would show in its time.
const settled = 2 * time.Second

// stamp tells the weights of a folder by names, sizes and times of its files, as version control tells what has changed; "" if it
// cannot.
func (b *base) stamp() string {
	if b.src == nil || strings.HasPrefix(b.path, recipes.Builtin) {
		return ""
	}
	dir, err := filepath.Abs(b.src.Path())
	if err != nil {
		return ""
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var s strings.Builder
	fmt.Fprintf(&s, "weights of %s\n", dir)
	for _, e := range list {
		st, err := os.Stat(filepath.Join(dir, e.Name())) // of what a link leads to
		if err != nil || time.Since(st.ModTime()) < settled {
			return ""
		}
		if st.Mode().IsRegular() {
			fmt.Fprintf(&s, "%s %d %d\n", e.Name(), st.Size(), st.ModTime().UnixNano())
		}
	}
	return s.String()
}

// soundHash is baseHash after the weights were found to be numbers. What a run found is known to the next as long as the files are
// the same.
func (p *plan) soundHash(ctx context.Context) (string, error) {
	known, stamp := keep.Open(), p.base.stamp()
	if hash, ok := known.Get(stamp); ok && stamp != "" {
		return string(hash), nil
	}
	if err := p.base.checkFinite(ctx); err != nil {
		return "", err
	}
	hash, err := p.baseHash(ctx)
	p.base.forget()
	if err == nil && stamp != "" {
		known.Put(stamp, []byte(hash))
	}
	return hash, err
}
