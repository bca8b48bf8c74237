package serve

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/graft-ml/graft/peft"
)

// nameForm is what adapters may be called: names become parts of paths, of headers and of metrics.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// CheckName reports what no adapter may be called.
func CheckName(name string) error {
	if !nameForm.MatchString(name) || name == "." || name == ".." {
		return fmt.Errorf("serve: %w: %.80q, want 1 to 64 letters, digits, dots, hyphens and underscores", ErrName, name)
	}
	return nil
}

// fileKinds end the names of files that make an adapter what it is; a README is none of them.
var fileKinds = []string{".json", ".safetensors", ".bin"}

// state is what tells without reading them whether the files of a folder are the same as before.
type state []fileState

type fileState struct {
	name    string
	size    int64
	changed int64 // nanoseconds
}

// stateOf lists the files of an adapter folder by name.
func stateOf(dir string) (list state, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries { // ReadDir sorts
		if !slices.Contains(fileKinds, filepath.Ext(e.Name())) {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			list = append(list, fileState{e.Name(), info.Size(), info.ModTime().UnixNano()})
		}
	}
	return list, nil
}

// hash is the SHA-256 of a folder's files: of each the length of its name, its name, its size (both numbers 8 bytes, little-endian)
// and its bytes, by the names' order.
func (s state) hash(dir string) (string, error) {
	h := sha256.New()
	number := func(n int64) { h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))) }
	for _, f := range s {
		number(int64(len(f.name)))
		io.WriteString(h, f.name)
		number(f.size)
		if err := copyFile(h, filepath.Join(dir, f.name)); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func copyFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// kindOf is the peft_type of a folder's adapter_config.json, which has been read once already.
func kindOf(dir string) string {
	var c struct {
		Type string `json:"peft_type"`
	}
	b, err := os.ReadFile(filepath.Join(dir, peft.ConfigFile))
	if err != nil || json.Unmarshal(b, &c) != nil || c.Type == "" {
		return peft.HubType
	}
	return c.Type
}

// sizeOf is what an adapter takes in memory: four bytes a number of its parameters and buffers, and what it says to hold beside.
func sizeOf(a peft.Adapter) int64 {
	n := 4 * peft.NumParams(a)
	if x, ok := a.(peft.Buffered); ok {
		for _, b := range x.Buffers() {
			n += 4*int64(len(b.Data)) + 8*int64(len(b.Ints))
		}
	}
	if x, ok := a.(peft.Holder); ok {
		n += x.Held()
	}
	return n
}
