package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/serve"
)

// Types of vLLM's errors on its two routes.
const (
	invalidInput = "InvalidUserInput"
	notFound     = "NotFoundError"
)

// loadAdapter is vLLM's: {"lora_name", "lora_path", "load_inplace"}. The path is below the adapters' folder, or its name there.
func (s *Server) loadAdapter(x *exchange) error {
	f := x.body
	name, dir := f.str("lora_name", ""), f.str("lora_path", "")
	inplace, pinned := f.flag("load_inplace", false), f.flag("pinned", false)
	f.ignore("base_model_name", "lora_int_id", "is_3d_lora_weight")
	if err := f.end(); err != nil {
		return asVLLM(err)
	}
	if name == "" || dir == "" {
		return refusal(http.StatusBadRequest, invalidInput, "missing", "Both 'lora_name' and 'lora_path' must be provided.")
	}
	if !ValidName(name) || name == s.Name {
		return refusal(http.StatusBadRequest, invalidInput, "invalid_name", "lora_name is %q, want 1 to 64 of A-Z a-z 0-9 . _ - that are not the base's name", shown(name))
	}
	folder, err := s.inside(dir)
	if err != nil {
		return asVLLM(err)
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	if _, err := s.Adapters.Info(name); err == nil && !inplace {
		return refusal(http.StatusBadRequest, invalidInput, "already_loaded",
			"The lora adapter '%s' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.", name)
	}
	if err := s.load(x.ctx, name, folder, pinned); err != nil {
		return asVLLM(err)
	}
	return x.text(http.StatusOK, fmt.Sprintf("Success: LoRA adapter '%s' added successfully.", name))
}

func (s *Server) load(ctx context.Context, name, folder string, pinned bool) error {
	if _, err := s.Adapters.Load(ctx, name, folder); err != nil {
		return s.refused(err)
	}
	if !pinned {
		return nil
	}
	return s.Adapters.Pin(name, true)
}

func (s *Server) unloadAdapter(x *exchange) error {
	f := x.body
	name := f.str("lora_name", "")
	f.ignore("lora_int_id")
	if err := f.end(); err != nil {
		return asVLLM(err)
	}
	if name == "" {
		return refusal(http.StatusBadRequest, invalidInput, "missing", "'lora_name' must be provided.")
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	if !ValidName(name) {
		return refusal(http.StatusNotFound, notFound, "model_not_found", "The lora adapter '%s' cannot be found.", shown(name))
	}
	err := s.Adapters.Unload(name)
	if errors.Is(err, serve.ErrNoAdapter) {
		return refusal(http.StatusNotFound, notFound, "model_not_found", "The lora adapter '%s' cannot be found.", name)
	}
	if err != nil {
		return asVLLM(err)
	}
	return x.text(http.StatusOK, fmt.Sprintf("Success: LoRA adapter '%s' removed successfully.", name))
}

// asVLLM gives what a client did wrong vLLM's type.
func asVLLM(err error) error {
	e := *asError(err)
	if e.Type == badRequest {
		e.Type = invalidInput
		if e.Status == http.StatusNotFound {
			e.Type = notFound
		}
	}
	if e.Status == http.StatusInternalServerError {
		return err // the log wants the words
	}
	return &e
}

// inside is the folder that a path means, if it is one with an adapter below the adapters' folder. No part of it nor any file in it may be a link.
func (s *Server) inside(dir string) (string, error) {
	outside := refusal(http.StatusForbidden, noRight, "outside", "lora_path is outside of the adapters' folder")
	if s.Folder == "" {
		return "", refusal(http.StatusForbidden, noRight, "no_folder", "this server has no adapters' folder (graft serve --adapters)")
	}
	if strings.ContainsRune(dir, 0) {
		return "", outside
	}
	rel := dir
	if filepath.IsAbs(dir) {
		var err error
		if rel, err = filepath.Rel(s.Folder, dir); err != nil {
			return "", outside
		}
	}
	rel = filepath.ToSlash(rel)
	for part := range strings.SplitSeq(rel, "/") {
		if part == ".." {
			return "", outside
		}
	}
	rel = path.Clean(rel)
	if !fs.ValidPath(rel) || strings.Contains(rel, `\`) {
		return "", outside
	}
	root, err := os.OpenRoot(s.Folder)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := s.plain(root, rel); err != nil {
		return "", err
	}
	return filepath.Join(s.Folder, filepath.FromSlash(rel)), nil
}

// plain refuses links, what is no folder, and folders whose files are too large together.
func (s *Server) plain(root *os.Root, rel string) error {
	missing := refusal(http.StatusNotFound, badRequest, "not_found", "there is no adapter at %s", shown(rel))
	at := ""
	for part := range strings.SplitSeq(rel, "/") {
		at = path.Join(at, part)
		st, err := root.Lstat(at)
		switch {
		case err != nil:
			return missing
		case st.Mode()&fs.ModeSymlink != 0:
			return refusal(http.StatusForbidden, noRight, "link", "%s is a link, and links are not followed", shown(at))
		case !st.IsDir():
			return missing
		}
	}
	dir, err := root.Open(rel)
	if err != nil {
		return missing
	}
	defer dir.Close()
	files, err := dir.ReadDir(maxFiles + 1)
	if err != nil || len(files) > maxFiles {
		return refuse("lora_path", "%s has more than %d files, or cannot be read: want an adapter's folder", shown(rel), maxFiles)
	}
	size := int64(0)
	for _, f := range files {
		st, err := f.Info()
		switch {
		case err != nil:
			return missing
		case st.Mode()&fs.ModeSymlink != 0:
			return refusal(http.StatusForbidden, noRight, "link", "%s is a link, and links are not followed", shown(path.Join(rel, f.Name())))
		case st.Mode().IsRegular():
			size += st.Size()
		}
	}
	if size > s.Limits.AdapterBytes {
		return refusal(http.StatusRequestEntityTooLarge, badRequest, "adapter_too_large", "the adapter has %d bytes, want at most %d", size, s.Limits.AdapterBytes)
	}
	return nil
}

// maxFiles bounds the files of an adapter's folder.
const maxFiles = 1000

// refused says why an adapter is no good, without where the adapters' folder lies.
func (s *Server) refused(err error) error {
	if !errors.Is(err, serve.ErrAdapter) && !errors.Is(err, serve.ErrName) {
		return err
	}
	return refusal(http.StatusBadRequest, invalidInput, "adapter_refused", "%s", strings.ReplaceAll(err.Error(), s.Folder+string(filepath.Separator), ""))
}
