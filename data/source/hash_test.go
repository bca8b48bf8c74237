package source

import (
	"testing"
	"testing/fstest"
)

// TestHash changes one thing at a time on which rows depend, and some on which they do not.
func TestHash(t *testing.T) {
	files := func() fstest.MapFS {
		return fstest.MapFS{"d/a.jsonl": {Data: []byte(`{"n":1}`)}, "d/b.jsonl": {Data: []byte(`{"n":2}`)}, "s/seq.in": {Data: []byte("x y\n")}, "s/seq.out": {Data: []byte("O O\n")},
			"s/label": {Data: []byte("l\n")}, "z.zip": {Data: []byte(zipped(t, "t.tsv", "a\tb\n"))}, "other": {Data: []byte("x")}}
	}
	base := map[string]Files{"folder": {Path: "d"}, "pattern": {Path: "d/*.jsonl"}, "file": {Path: "d/a.jsonl"}, "parallel": {Path: "s/seq.in"}, "archive": {Path: "z.zip/t.tsv"}}
	hash := func(f Files, fsys fstest.MapFS) string {
		t.Helper()
		f.FS = fsys
		h, err := f.Hash()
		if err != nil || len(h) != 64 {
			t.Fatalf("%+v: %q, %v", f, h, err)
		}
		return h
	}
	changes := map[string]func(fsys fstest.MapFS){
		"d/a.jsonl":   func(fsys fstest.MapFS) { fsys["d/a.jsonl"] = &fstest.MapFile{Data: []byte(`{"n":3}`)} },
		"d/b.jsonl":   func(fsys fstest.MapFS) { fsys["d/b.jsonl"] = &fstest.MapFile{Data: []byte(`{"n":20}`)} },
		"one more":    func(fsys fstest.MapFS) { fsys["d/c.jsonl"] = &fstest.MapFile{} },
		"tags":        func(fsys fstest.MapFS) { fsys["s/seq.out"] = &fstest.MapFile{Data: []byte("O B\n")} },
		"no label":    func(fsys fstest.MapFS) { delete(fsys, "s/label") },
		"the archive": func(fsys fstest.MapFS) { fsys["z.zip"] = &fstest.MapFile{Data: []byte(zipped(t, "t.tsv", "a\tc\n"))} },
		"unread":      func(fsys fstest.MapFS) { fsys["other"] = &fstest.MapFile{} },
	}
	decide := map[string][]string{"folder": {"d/a.jsonl", "d/b.jsonl", "one more"}, "pattern": {"d/a.jsonl", "d/b.jsonl", "one more"}, "file": {"d/a.jsonl"},
		"parallel": {"tags", "no label"}, "archive": {"the archive"}}
	for name, f := range base {
		was := hash(f, files())
		for _, other := range []Files{{Path: f.Path, Skip: 1}, {Path: f.Path, MaxRows: 1}, {Path: f.Path, Unit: "file"}, {Path: f.Path, Dir: "elsewhere"}} {
			if hash(other, files()) == was {
				t.Errorf("%s: %+v has the same hash", name, other)
			}
		}
		for what, change := range changes {
			fsys := files()
			change(fsys)
			want := false
			for _, w := range decide[name] {
				want = want || w == what
			}
			if got := hash(f, fsys) != was; got != want {
				t.Errorf("%s: %s changes the hash: %v, want %v", name, what, got, want)
			}
		}
	}
	if _, err := (Files{FS: files(), Path: "d/none.jsonl"}).Hash(); err == nil {
		t.Error("a file that is not there has a hash")
	}
}
