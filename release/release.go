// Package release makes of a finished run what can be published: a model card as the Hugging Face Hub wants it, a list of hashes, and an
// archive whose bytes depend on nothing but the files in it.
//
//	card := release.Card{Name: "first", Base: "org/base", Library: "peft", …}
//	if err := os.WriteFile("out/README.md", card.Markdown(), 0o666); err != nil {
//		return err
//	}
//	if err := release.WriteSums("out"); err != nil {
//		return err
//	}
//	err := release.Archive(w, os.DirFS("out"), "out")
//
// The card says what the run's report.json says (Figures), and leaves to the author what no program knows: the licence, what the model is
// for, and what is wrong with it.
package release

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// SumsFile lists the SHA-256 of every other file, as sha256sum -c reads it.
const SumsFile = "SHA256SUMS"

// files lists the regular files of a folder and those below, sorted; anything else in it is an error.
func files(folder fs.FS) (names []string, err error) {
	err = fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case !d.Type().IsRegular():
			return fmt.Errorf("release: %s is no regular file", name)
		}
		names = append(names, name)
		return nil
	})
	return names, err
}

// WriteSums hashes all files of a folder into its SumsFile.
func WriteSums(dir string) error {
	folder := os.DirFS(dir)
	names, err := files(folder)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, name := range names {
		if name == SumsFile {
			continue
		}
		sum := sha256.New()
		if err := copyFile(sum, folder, name); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sum.Sum(nil), name)
	}
	return atomicfile.WriteBytes(filepath.Join(dir, SumsFile), []byte(b.String()))
}

func copyFile(w io.Writer, folder fs.FS, name string) error {
	f, err := folder.Open(name)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// Archive writes the files of a folder as a .tar.gz in which they lie below prefix: sorted, without times, owners or modes of their own.
// Equal files give equal bytes.
func Archive(w io.Writer, folder fs.FS, prefix string) error {
	names, err := files(folder)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(w) // its header has no name and no time unless they are set
	t := tar.NewWriter(z)
	for _, name := range names {
		st, err := fs.Stat(folder, name)
		if err != nil {
			return fmt.Errorf("release: %w", err)
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(prefix, name), Size: st.Size(), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("release: %s: %w", name, err)
		}
		if err := copyFile(t, folder, name); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}
