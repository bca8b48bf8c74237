// Package keep remembers small results of long work from one run of the program to the next, in a folder that may be deleted at any
// time.
//
//	k := keep.Open()                              // $GRAFT_CACHE, else graft below the user's folder for caches
//	if v, ok := k.Get(key); ok { … }              // key says everything that v depends on
//	k.Put(key, v)
//
// A folder that cannot be read or written remembers nothing: no error is worth more than doing the work again.
package keep

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// Variable of the environment that names the folder; "off" is none.
const Variable = "GRAFT_CACHE"

// Folder holds results; the zero value remembers nothing.
type Folder struct{ dir string }

// Open finds the folder.
func Open() Folder {
	switch dir := os.Getenv(Variable); dir {
	case "off":
		return Folder{}
	case "":
		if dir, err := os.UserCacheDir(); err == nil {
			return Folder{filepath.Join(dir, "graft")}
		}
		return Folder{}
	default:
		return Folder{dir}
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
	v, err := os.ReadFile(f.file(key))
	return v, err == nil
}

// Put remembers value. Whoever reads it sees it whole.
func (f Folder) Put(key string, value []byte) {
	path := f.file(key)
	if path == "" || os.MkdirAll(f.dir, 0o755) != nil {
		return
	}
	_ = atomicfile.WriteBytes(path, value) // see the package: then it is not remembered
}
