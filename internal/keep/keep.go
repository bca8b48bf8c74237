// Package keep remembers results of long work from one run of the program to the next, in a folder that may be deleted at any time.
//
//	k := keep.Open()                              // $GRAFT_CACHE, else graft below the user's folder for caches
//	if v, ok := k.Get(key); ok { … }              // key says everything that v depends on
//	k.Put(key, v)
//
// A folder that cannot be read or written remembers nothing: no error is worth more than doing the work again. A result that is damaged
// is none. Together the results take no more than some gigabytes: those longest unused go first. Safe for concurrent use, by several
// processes as well.
package keep

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// Variable of the environment that names the folder; "off" is none.
const Variable = "GRAFT_CACHE"

// most is how many bytes the folder may take; one result has at most a quarter of them.
const most = 2 << 30

// Folder holds results; the zero value remembers nothing.
type Folder struct {
	dir  string
	most int64
}

// Open finds the folder.
func Open() Folder {
	switch dir := os.Getenv(Variable); dir {
	case "off":
		return Folder{}
	case "":
		if dir, err := os.UserCacheDir(); err == nil {
			return Folder{filepath.Join(dir, "graft"), most}
		}
		return Folder{}
	default:
		return Folder{dir, most}
	}
}

// file is where the result of a key is, "" for nowhere.
func (f Folder) file(key string) string {
	if f.dir == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(f.dir, hex.EncodeToString(sum[:]))
}

// Get is what Put was given with the key.
func (f Folder) Get(key string) ([]byte, bool) {
	path := f.file(key)
	b, err := os.ReadFile(path)
	if err != nil || len(b) < sha256.Size {
		return nil, false
	}
	v := b[sha256.Size:]
	if sum := sha256.Sum256(v); !bytes.Equal(b[:sha256.Size], sum[:]) {
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // else it goes sooner
	return v, true
}

// Put remembers value, in a file that begins with its SHA-256. Whoever reads it sees it whole.
func (f Folder) Put(key string, value []byte) {
	path := f.file(key)
	if path == "" || int64(len(value)) > f.most/4 || os.MkdirAll(f.dir, 0o700) != nil { // texts are nobody else's business
		return
	}
	sum := sha256.Sum256(value)
	_ = atomicfile.WriteBytes(path, append(sum[:], value...)) // see the package: then it is not remembered
	f.tidy()
}

// tidy removes the results longest unused until the others are within bounds.
func (f Folder) tidy() {
	list, err := os.ReadDir(f.dir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	total := int64(0)
	for _, e := range list {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && ours(e.Name()) {
			files, total = append(files, info), total+info.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, old := range files {
		if total <= f.most {
			return
		}
		if os.Remove(filepath.Join(f.dir, old.Name())) == nil {
			total -= old.Size()
		}
	}
}

// ours says whether a file is called like a result.
func ours(name string) bool {
	_, err := hex.DecodeString(name)
	return err == nil && len(name) == 2*sha256.Size
}
