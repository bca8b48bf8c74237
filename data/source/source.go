// Package source reads rows from files: JSON lines, JSON, CSV, TSV, Parquet and plain text, compressed with gzip or
// Zstandard or not, or within a zip archive ("reviews.zip/train.tsv").
//
//	dir, pattern := source.Split("corpus/*.jsonl.gz")
//	rows := source.Files{FS: os.DirFS(dir), Dir: dir, Path: pattern}.Rows()
//	set, report, err := data.Build(ctx, rows, tok, chat, data.Settings{})
//
// The format of a file is told by its name; if the name does not tell, by its first bytes. Compression is told by the
// first bytes in any case. All texts must be UTF-8; a byte order mark is skipped, and lines may end in LF or CR LF. Blank
// lines are no rows. What each format gives:
//
//	jsonl     an object in each line
//	json      a list of objects; or an object with the list under "data"; or an object of columns, {"a": [..], "b": [..]},
//	          all equally long; or objects one after the other. SQuAD's articles give a row for each question
//	csv       RFC 4180: the first record names the columns, all values are strings
//	tsv       the same with tabs; quotes are letters like others unless a field begins and ends with one
//	parquet   records, lists and groups nested as they are
//	conll     {"tokens": […], "tags": […]} for each sentence: a word a line, its tag in the last column
//	parallel  {"text": …, "label": …, "tokens": […], "tags": […]} for each line of NAME.in, label and NAME.out
//	text      {"text": …} for each line, paragraph (ended by blank lines), or file: Files.Unit
package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/graft-ml/graft/data"
)

// Files are the files of one source.
type Files struct {
	FS      fs.FS
	Dir     string // what FS is called in messages; it is put before the names of files
	Path    string // within FS: a file, a folder (all its files of one known format), or a pattern for path.Match
	Format  string // one of Formats; "" finds out
	Unit    string // of format text: "line" (""), "paragraph" or "file"
	Skip    int    // leave out so many rows at the beginning
	MaxRows int    // and read at most so many; 0 = all
}

// Format is a way to read rows.
type Format struct {
	Name       string
	Extensions []string // without that of compression
	read       func(*file, func(data.Row, error) bool)
}

// Formats are all formats.
var Formats = []Format{
	{"jsonl", []string{".jsonl", ".ndjson"}, readLines},
	{"json", []string{".json"}, readJSON},
	{"csv", []string{".csv"}, readCSV},
	{"tsv", []string{".tsv", ".tab"}, readTSV},
	{"parquet", []string{".parquet"}, readParquet},
	{"conll", []string{".conll", ".bio", ".iob", ".iob2", ".annotated"}, readCoNLL},
	{parallelFormat, []string{".in"}, readParallel},
	{"text", []string{".txt", ".text", ".md"}, readText},
}

// FormatNames are the names of Formats.
func FormatNames() []string {
	var names []string
	for _, f := range Formats {
		names = append(names, f.Name)
	}
	return names
}

// Units are what a row of a plain text may be.
var Units = []string{"line", "paragraph", "file"}

// compressions are endings that hide the one of the format.
var compressions = []string{".gz", ".zst", ".zstd"}

// formatOf tells a format by a file's name; nil if the name does not tell.
func formatOf(name string) *Format {
	name = strings.ToLower(name)
	if ext := path.Ext(name); slices.Contains(compressions, ext) {
		name = strings.TrimSuffix(name, ext)
	}
	ext := path.Ext(name)
	for i := range Formats {
		if slices.Contains(Formats[i].Extensions, ext) {
			return &Formats[i]
		}
	}
	return nil
}

// Split parts a path into the folder up to the first name that is an archive's or has a pattern in it, and the rest with slashes.
func Split(name string) (dir, pattern string) {
	name = strings.ReplaceAll(name, `\`, "/")
	head, rest := name, ""
	i := strings.IndexAny(name, "*?[")
	if end := archiveEnd(name); end >= 0 && (i < 0 || end < i) {
		i = end
	}
	if i >= 0 {
		cut := strings.LastIndexByte(name[:i], '/') + 1
		head, rest = name[:cut], name[cut:]
	} else {
		head = strings.TrimRight(name, "/")
		cut := strings.LastIndexByte(head, '/') + 1
		head, rest = head[:cut], head[cut:]
		if rest == "" || rest == "." || rest == ".." {
			head, rest = name, "."
		}
	}
	switch {
	case head == "":
		return ".", rest
	case strings.Trim(head, "/") == "":
		return "/", rest
	}
	return strings.TrimRight(head, "/"), rest
}

// check reports every bad field.
func (f *Files) check() error {
	var errs []error
	if f.Format != "" && !slices.Contains(FormatNames(), f.Format) {
		errs = append(errs, fmt.Errorf("data: format is %q, want one of %s", f.Format, strings.Join(FormatNames(), ", ")))
	}
	if f.Unit != "" && !slices.Contains(Units, f.Unit) {
		errs = append(errs, fmt.Errorf("data: unit is %q, want one of %s", f.Unit, strings.Join(Units, ", ")))
	}
	if f.Skip < 0 {
		errs = append(errs, fmt.Errorf("data: skip is %d, want at least 0", f.Skip))
	}
	if f.MaxRows < 0 {
		errs = append(errs, fmt.Errorf("data: max_rows is %d, want at least 0", f.MaxRows))
	}
	return errors.Join(errs...)
}

// Name is what the source is called in messages.
func (f Files) Name() string { return f.name(f.Path) }

// name is what a file is called in messages.
func (f *Files) name(file string) string {
	if f.Dir == "" || f.Dir == "." {
		return file
	}
	return path.Join(f.Dir, file)
}

// List is the files, sorted by name.
func (f Files) List() ([]string, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	info, err := fs.Stat(f.FS, f.Path)
	switch {
	case err == nil && info.IsDir():
		return f.folder()
	case err == nil:
		return []string{f.Path}, nil
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid):
		return nil, fmt.Errorf("data: %s: %w", f.name(f.Path), cause(err))
	case strings.ContainsAny(f.Path, "*?["):
		files, err := fs.Glob(f.FS, f.Path)
		if err != nil {
			return nil, fmt.Errorf("data: %s: %w", f.name(f.Path), err)
		}
		files = slices.DeleteFunc(files, func(name string) bool {
			info, err := fs.Stat(f.FS, name)
			return err == nil && info.IsDir()
		})
		if len(files) == 0 {
			return nil, fmt.Errorf("data: %s: no file matches the pattern", f.name(f.Path))
		}
		return files, nil
	}
	return nil, fmt.Errorf("data: %s: no such file%s", f.name(f.Path), f.neighbours())
}

// neighbours lists what the folder of a missing file has.
func (f *Files) neighbours() string {
	const most = 5
	entries, err := fs.ReadDir(f.FS, path.Dir(f.Path))
	if err != nil || len(entries) == 0 {
		return ""
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return "; its folder has " + strings.Join(names, ", ")
}

// folder is all files of a known format in a folder and its subfolders. Hidden files are left out.
func (f *Files) folder() ([]string, error) {
	var files []string
	found := map[string]string{} // format → the first file of it
	err := fs.WalkDir(f.FS, f.Path, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") && name != f.Path {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		format := formatOf(name)
		if e.IsDir() || format == nil || f.Format != "" && format.Name != f.Format {
			return nil
		}
		if _, ok := found[format.Name]; !ok {
			found[format.Name] = name
		}
		files = append(files, name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", f.name(f.Path), cause(err))
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("data: %s: no file of a known format in the folder", f.name(f.Path))
	}
	if len(found) > 1 {
		var kinds []string
		for _, format := range Formats {
			if name, ok := found[format.Name]; ok {
				kinds = append(kinds, format.Name+" ("+path.Base(name)+")")
			}
		}
		return nil, fmt.Errorf("data: %s: the folder has files of several formats, %s; name a pattern or the format", f.name(f.Path), strings.Join(kinds, ", "))
	}
	return files, nil
}

// cause is an error without the path that the caller says better.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Rows reads all files one after the other. An error belongs to a row if reading can go on after it, and is the last
// thing if it cannot.
func (f Files) Rows() iter.Seq2[data.Row, error] {
	return func(yield func(data.Row, error) bool) {
		f, archive, err := f.within()
		if err != nil {
			yield(data.Row{}, err)
			return
		}
		defer archive.Close()
		files, err := f.List()
		if err != nil {
			yield(data.Row{}, err)
			return
		}
		skip, left := f.Skip, f.MaxRows
		for _, name := range files {
			more := true
			f.read(name, func(row data.Row, err error) bool {
				if err == nil && skip > 0 {
					skip--
					return true
				}
				if more = yield(row, err); f.MaxRows > 0 && more {
					left--
					more = left > 0
				}
				return more
			})
			if !more {
				return
			}
		}
	}
}

// file is an opened file.
type file struct {
	name string // for messages
	path string // within fs
	fs   fs.FS
	unit string
	r    *bufio.Reader // after decompression
	raw  fs.File       // before it
	zip  bool          // it was compressed
	line int           // lines read so far
}

// read gives the rows of one file.
func (f *Files) read(name string, yield func(data.Row, error) bool) {
	x := &file{name: f.name(name), path: name, fs: f.FS, unit: f.Unit}
	raw, err := f.FS.Open(name)
	if err != nil {
		yield(data.Row{}, x.errorf(0, "%w", cause(err)))
		return
	}
	defer raw.Close()
	x.raw = raw
	closer, err := x.decompress()
	if err != nil {
		yield(data.Row{}, x.errorf(0, "%w", cause(err)))
		return
	}
	defer closer()
	if err := x.mark(); err != nil {
		yield(data.Row{}, err)
		return
	}
	format := formatOf(name)
	if f.Format != "" {
		format = &Formats[slices.Index(FormatNames(), f.Format)]
	}
	if format == nil {
		if format = x.sniff(); format == nil {
			yield(data.Row{}, x.errorf(0, "the file is not text, and its name tells no format, want one of %s", strings.Join(FormatNames(), ", ")))
			return
		}
	}
	format.read(x, yield)
}

// sniff tells the format by the first bytes; nil if they are no text.
func (x *file) sniff() *Format {
	head, _ := x.r.Peek(512)
	name := "text"
	switch t := strings.TrimLeft(string(head), " \t\r\n"); {
	case strings.HasPrefix(t, "PAR1"):
		name = "parquet"
	case strings.HasPrefix(t, "{"), strings.HasPrefix(t, "["):
		name = "json"
	case strings.IndexByte(t, 0) >= 0:
		return nil
	case looksTagged(head):
		name = "conll"
	}
	return &Formats[slices.Index(FormatNames(), name)]
}

const byteOrderMark = "\ufeff"

// mark skips a byte order mark of UTF-8 and refuses those of UTF-16.
func (x *file) mark() error {
	head, _ := x.r.Peek(3)
	switch s := string(head); {
	case s == byteOrderMark:
		x.r.Discard(len(byteOrderMark))
	case strings.HasPrefix(s, "\xff\xfe"), strings.HasPrefix(s, "\xfe\xff"):
		return x.errorf(0, "the text is UTF-16, want UTF-8")
	}
	return nil
}

// errorf is an error at a line; 0 = the file.
func (x *file) errorf(line int, format string, args ...any) error {
	return data.Place{File: x.name, Line: line}.Errorf(format, args...)
}

// place is that of a row.
func (x *file) place(line, row int) data.Place { return data.Place{File: x.name, Line: line, Row: row} }

// next reads a line of any length, without its end. The bytes are good until the next call.
func (x *file) next(buf []byte) ([]byte, error) {
	buf = buf[:0]
	for {
		part, err := x.r.ReadSlice('\n')
		buf = append(buf, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF && len(buf) > 0 {
			err = nil
		}
		if err != nil {
			return buf, err
		}
		x.line++
		if n := len(buf); buf[n-1] == '\n' {
			buf = buf[:n-1]
			if n > 1 && buf[n-2] == '\r' {
				buf = buf[:n-2]
			}
		}
		return buf, nil
	}
}
