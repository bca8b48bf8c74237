package source

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// archiveExtension ends the names of archives that a path may lead through.
const archiveExtension = ".zip"

// archiveEnd is where the first archive's name in a path ends; -1 if no part of the path is called like one.
func archiveEnd(name string) int {
	end := 0
	for part := range strings.SplitSeq(name, "/") {
		end += len(part)
		if strings.EqualFold(path.Ext(part), archiveExtension) {
			return end
		}
		end++
	}
	return -1
}

// within is f itself, or, where the path leads into a zip archive, the files of that: "reviews.zip/train.tsv", or all of them if
// the path ends with it. A folder may be called like an archive.
func (f Files) within() (Files, io.Closer, error) {
	end := archiveEnd(f.Path)
	if end < 0 {
		return f, io.NopCloser(nil), nil
	}
	name := f.Path[:end]
	info, err := fs.Stat(f.FS, name)
	if err != nil || info.IsDir() {
		return f, io.NopCloser(nil), nil // List says what is wrong
	}
	raw, err := f.FS.Open(name)
	if err != nil {
		return f, nil, fmt.Errorf("data: %s: %w", f.name(name), cause(err))
	}
	at, ok := raw.(io.ReaderAt)
	size := info.Size()
	if !ok {
		all, err := io.ReadAll(raw)
		if err != nil {
			raw.Close()
			return f, nil, fmt.Errorf("data: %s: %w", f.name(name), cause(err))
		}
		at, size = bytes.NewReader(all), int64(len(all))
	}
	z, err := zip.NewReader(at, size)
	if err != nil {
		raw.Close()
		return f, nil, fmt.Errorf("data: %s: %w", f.name(name), err)
	}
	f.FS, f.Dir, f.Path = z, f.name(name), strings.TrimPrefix(f.Path[end:], "/")
	if f.Path == "" {
		f.Path = "."
	}
	return f, raw, nil
}
