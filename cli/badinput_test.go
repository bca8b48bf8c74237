package cli

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/internal/synth"
)

// bad is an input that must end in one line.
type bad struct {
	name  string
	setup func(t *testing.T) // spoils the tiny world in the working directory; may be nil
	args  string             // parted by spaces
	code  int
	want  string // within the line
	lines int    // more lines than one, of a list of problems or of an excerpt
	made  string // a folder or file that may stay behind
}

// TestBadInput gives the program one bad input after the other. With -v it prints them with their answers.
func TestBadInput(t *testing.T) {
	origin := newWorld(t)
	for _, b := range badInputs() {
		t.Run(b.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.CopyFS(".", os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			if b.setup != nil {
				b.setup(t)
			}
			before := listing(t)
			r := b.run(t)
			b.judge(t, r)
			b.nothingLeft(t, before, listing(t))
		})
	}
}

// run gives the input to the program; a panic ends the row, not the table.
func (b *bad) run(t *testing.T) result {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("graft %s panics: %v\n%s", b.args, p, debug.Stack())
		}
	}()
	return graft("", strings.Fields(b.args)...)
}

// judge holds the answer to what the table wants.
func (b *bad) judge(t *testing.T, r result) {
	t.Helper()
	t.Logf("graft %s\n%s", b.args, r.stderr)
	if r.code != b.code {
		t.Errorf("graft %s = %d, want %d", b.args, r.code, b.code)
	}
	var lines []string
	for _, l := range strings.Split(strings.TrimSpace(r.stderr), "\n") {
		if strings.HasPrefix(l, "graft: ") || len(lines) > 0 {
			lines = append(lines, l)
		}
	}
	if len(lines) != max(1, b.lines) || !strings.Contains(lines[0], b.want) {
		t.Errorf("graft %s: %d lines, want %d with %q", b.args, len(lines), max(1, b.lines), b.want)
	}
	for _, w := range []string{"failed to", "goroutine", "runtime error", "unmarshal", "Go value", "Go struct", "%!"} {
		if strings.Contains(r.stderr, w) {
			t.Errorf("graft %s: %q in the answer, want words for people", b.args, w)
		}
	}
}

// nothingLeft checks that the command changed no file and left none behind.
func (b *bad) nothingLeft(t *testing.T, before, after map[string]string) {
	t.Helper()
	for path, content := range after {
		was, old := before[path]
		switch {
		case atomicfile.IsTemp(path):
			t.Errorf("graft %s left the temporary %s", b.args, path)
		case b.made != "" && (path == b.made || strings.HasPrefix(path, b.made+"/")):
		case !old:
			t.Errorf("graft %s left %s", b.args, path)
		case was != content:
			t.Errorf("graft %s changed %s", b.args, path)
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			t.Errorf("graft %s removed %s", b.args, path)
		}
	}
}

// listing is the content of every file below the working directory, and "dir" for folders.
func listing(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			files[path] = "dir"
		case d.Type().IsRegular():
			var b []byte
			b, err = os.ReadFile(path)
			files[path] = string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The setups. Each returns what spoils one file.

func all(setups ...func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) {
		for _, s := range setups {
			s(t)
		}
	}
}

func file(path, content string) func(*testing.T) {
	return func(t *testing.T) {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(path string) func(*testing.T) {
	return func(t *testing.T) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// recipe puts lines behind the recipe's [method] header line, or any other that is named first.
func recipe(header, lines string) func(*testing.T) {
	return func(t *testing.T) {
		out := strings.Replace(tinyRecipe, header+"\n", header+"\n"+lines+"\n", 1)
		if out == tinyRecipe {
			out += header + "\n" + lines + "\n"
		}
		file("r.toml", out)(t)
	}
}

// instead replaces a part of a file.
func instead(path, old, new string) func(*testing.T) {
	return func(t *testing.T) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), old) {
			t.Fatalf("%s: no %q in it", path, old)
		}
		file(path, strings.Replace(string(b), old, new, 1))(t)
	}
}

// synthWeights makes new random weights by the config.json of a folder.
func synthWeights(t *testing.T, dir string) {
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err == nil {
		err = synth.Write("temp", config, 1, synth.Options{})
	}
	if err == nil {
		err = os.Rename("temp/model.safetensors", filepath.Join(dir, "model.safetensors"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// cutTo keeps the first n bytes of a file; of its length, if n is negative, all but so many.
func cutTo(path string, n int64) func(*testing.T) {
	return func(t *testing.T) {
		st, err := os.Stat(path)
		if err == nil && n < 0 {
			n += st.Size()
		}
		if err == nil {
			err = os.Truncate(path, n)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// field sets a key of a JSON file; nil removes it.
func field(path, key string, value any) func(*testing.T) {
	return func(t *testing.T) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var o map[string]any
		if err := json.Unmarshal(b, &o); err != nil {
			t.Fatal(err)
		}
		if o[key] = value; value == nil {
			delete(o, key)
		}
		if b, err = json.Marshal(o); err != nil {
			t.Fatal(err)
		}
		file(path, string(b))(t)
	}
}

// headerFile writes a safetensors file of a header and some bytes.
func headerFile(path, json string, data int) func(*testing.T) {
	n := len(json)
	length := string([]byte{byte(n), byte(n >> 8), byte(n >> 16), 0, 0, 0, 0, 0})
	return file(path, length+json+strings.Repeat("\x00", data))
}

// tensors rewrites a safetensors file after change had its tensors as numbers.
func tensors(path string, change func(map[string][]float32, map[string][]int)) func(*testing.T) {
	return func(t *testing.T) {
		c, err := checkpoint.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		values, shapes := map[string][]float32{}, map[string][]int{}
		for _, name := range c.Names() {
			info, _ := c.Info(name)
			if values[name], err = c.Floats(name); err != nil {
				t.Fatal(err)
			}
			shapes[name] = info.Shape
		}
		c.Close()
		change(values, shapes)
		var names []string
		for name := range values {
			names = append(names, name)
		}
		sort.Strings(names)
		var entries []checkpoint.Entry
		for _, name := range names {
			entries = append(entries, checkpoint.FromFloats(name, shapes[name], values[name]))
		}
		if err := checkpoint.Write(path, entries, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryPrefix cuts files after each of their bytes, or after every so many for want of time; with -long at up to ten
// thousand places.
func TestEveryPrefix(t *testing.T) {
	origin := newWorld(t)
	values := []float32{1, 2, 3, 4, 5, 6}
	small, err := checkpoint.Marshal([]checkpoint.Entry{checkpoint.FromFloats("a", []int{2, 3}, values), checkpoint.FromFloats("b", []int{1}, values[:1])}, map[string]string{"format": "pt"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file string
		step int
		args string
	}{
		{"small.safetensors", 1, "inspect small.safetensors"},
		{weightsFile, 997, "generate base -p x -n 1"},
		{adapterFile, 13, logitsOf},
		{configFile, 13, logitsOf},
		{"base/config.json", 3, logitsOf},
		{"base/tokenizer.json", 499, "inspect base/tokenizer.json"},
		{"run/environment.json", 13, "inspect run"},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.CopyFS(".", os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			file("small.safetensors", string(small))(t)
			b, err := os.ReadFile(c.file)
			if err != nil {
				t.Fatal(err)
			}
			whole := strings.TrimSpace(string(b))
			if *long {
				c.step = 1 + len(whole)/10_000
			}
			for n := 0; n < len(whole); n += c.step {
				file(c.file, whole[:n])(t)
				b := bad{args: c.args, code: exitFailed}
				if r := b.run(t); r.code != exitFailed || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "graft: ") {
					t.Errorf("the first %d bytes of %d: graft %s = %d\n%s", n, len(whole), c.args, r.code, r.stderr)
				} else if n/c.step%50 == 0 {
					t.Logf("%d bytes: %s", n, r.stderr)
				}
			}
		})
	}
}
