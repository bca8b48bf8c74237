package checkpoint

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/golden"
)

// TestGoldenRewrite writes every file of the reference values again and wants the same bytes.
func TestGoldenRewrite(t *testing.T) {
	same := 0
	for _, path := range safetensorsFiles(t) {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(want)
		if err != nil {
			t.Fatal(err)
		}
		var entries []Entry
		for _, name := range c.Names() {
			e, err := c.Entry(name)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, e)
		}
		got, err := Marshal(entries, c.Metadata())
		switch {
		case err != nil:
			t.Errorf("%s: %v", path, err)
		case !bytes.Equal(got, want):
			t.Errorf("%s: written again it has %d bytes that differ from its %d", path, len(got), len(want))
		default:
			same++
		}
	}
	t.Logf("golden: rewrite: %d files have the same bytes", same)
}

// TestGoldenShards splits a checkpoint as the reference split it.
func TestGoldenShards(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "models", "llama-sharded")
	if _, err := os.Stat(dir); err != nil {
		t.Skip(err)
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var entries []Entry
	stored := c.Stored()
	slices.SortStableFunc(stored, func(a, b Info) int { // what does not fit comes first, as it did in the model's own order
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(b.Size, a.Size))
	})
	for _, info := range stored {
		e, err := c.Entry(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	out := t.TempDir()
	files, err := WriteShards(out, entries, ShardOptions{MaxShardSize: 97_000})
	if err != nil || len(files) != 4 {
		t.Fatalf("WriteShards: %q, %v", files, err)
	}
	for _, f := range files {
		got, err1 := os.ReadFile(filepath.Join(out, f))
		want, err2 := os.ReadFile(filepath.Join(dir, f))
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs: %v", f, err)
		}
	}
}

func TestWrite(t *testing.T) {
	a := FromFloats("a", []int{2}, []float32{1, 2})
	broken := Entry{Name: "x", DType: F32, Shape: []int{4}, Fill: func(w Section) error { return errors.New("broken") }}
	short := Entry{Name: "s", DType: F32, Shape: []int{4}, Fill: func(w Section) error { _, err := w.Write(make([]byte, 15)); return err }}
	long := Entry{Name: "l", DType: F32, Shape: []int{4}, Fill: func(w Section) error { _, err := w.WriteAt(make([]byte, 8), 9); return err }}
	for _, c := range []struct {
		name    string
		entries []Entry
		want    string
	}{
		{"an entry that fails", []Entry{a, broken}, "broken"},
		{"an entry that stops early", []Entry{a, short}, `tensor "s": 15 bytes written, want 16`},
		{"an entry that leaves its place", []Entry{long, a}, "8 bytes at 9 of a tensor of 16"},
		{"a name twice", []Entry{a, a}, `tensor "a" is to be written twice`},
		{"a name that is taken", []Entry{{Name: "__metadata__"}}, `"__metadata__": not a name that a file can have`},
		{"a name that is not UTF-8", []Entry{{Name: "\xff"}}, `not a name that a file can have`},
		{"negative and huge shapes", []Entry{{Name: "n", Shape: []int{-1}}, {Name: "h", Shape: []int{1 << 40, 1 << 40}}}, `negative dimension`},
	} {
		t.Run(c.name+" leaves nothing behind", func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "m.safetensors")
			_, sharded := WriteShards(dir, c.entries, ShardOptions{MaxShardSize: 16})
			_, memory := Marshal(c.entries, nil)
			for _, err := range []error{Write(path, c.entries, nil), sharded, memory} {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want …%s", err, c.want)
				}
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("%s stayed", left[0].Name())
			}
		})
	}
	t.Run("names and metadata are quoted as JSON", func(t *testing.T) {
		names := []string{"é\u2028<&>", "a\"b\\c", "\b\f\n\r\t\x01\x7f", "", "日本"}
		var entries []Entry
		for _, n := range names {
			entries = append(entries, FromFloats(n, nil, []float32{1}))
		}
		b, err := Marshal(entries, map[string]string{"k\n": "v\x02", "a": ""})
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(b)
		if slices.Sort(names); err != nil || !slices.Equal(c.Names(), names) || c.Metadata()["k\n"] != "v\x02" {
			t.Errorf("Parse: %v, %q", err, c.Names())
		}
	})
	t.Run("weights are not mixed with others", func(t *testing.T) {
		dir := t.TempDir()
		if _, err := WriteShards(dir, []Entry{a}, ShardOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := WriteShards(dir, []Entry{a}, ShardOptions{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("WriteShards: %v", err)
		}
	})
}

// TestShardsAnywhere refuses to mix weights whatever characters the folder's name has.
func TestShardsAnywhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `run [1-3]`)
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	entries := []Entry{FromFloats("a", []int{2}, []float32{1, 2}), FromFloats("b", []int{2}, []float32{3, 4})}
	if _, err := WriteShards(dir, entries, ShardOptions{MaxShardSize: 8}); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteShards(dir, entries, ShardOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("WriteShards: %v, want that there are weights already", err)
	}
}

func TestSplit(t *testing.T) {
	size := func(n int) Entry { return Entry{Name: string(rune('a' + n)), DType: U8, Shape: []int{n}} }
	for _, c := range []struct {
		sizes []int
		most  int64
		want  string
	}{
		{nil, 10, "[]"},
		{[]int{3, 4, 5}, 0, "[def]"},
		{[]int{3, 4, 5}, 12, "[def]"},
		{[]int{3, 4, 5}, 11, "[de][f]"},
		{[]int{3, 12, 4, 5}, 10, "[m][de][f]"},
		{[]int{12, 11}, 10, "[m][l]"},
	} {
		var entries []Entry
		for _, n := range c.sizes {
			entries = append(entries, size(n))
		}
		shards, _, err := split(entries, c.most)
		got := ""
		for _, s := range shards {
			got += "["
			for _, e := range s {
				got += e.Name
			}
			got += "]"
		}
		if err != nil || got != c.want {
			t.Errorf("split(%v, %d) = %s, %v, want %s", c.sizes, c.most, got, err, c.want)
		}
	}
}

// TestFormats holds every line of the table to what the others rely on.
func TestFormats(t *testing.T) {
	for _, f := range Formats {
		if f.Name == "" || f.Sniff == nil || (f.Parse == nil) == (f.Refusal == "") {
			t.Errorf("%s: needs a name, a Sniff, and either Parse or Refusal", f.Name)
		}
		for _, head := range []string{"", "{}", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", "plain text"} {
			if f.Sniff([]byte(head)) {
				t.Errorf("%s takes %q for itself", f.Name, head)
			}
		}
	}
}
