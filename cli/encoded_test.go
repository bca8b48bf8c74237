package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/keep"
)

// recalledNote is what a run says of rows that an earlier one encoded.
const recalledNote = "was encoded by an earlier run"

// TestEncodedRowsAreRecalled trains the same twice, and then with one thing changed on which the examples depend, or with
// a damaged memory: what is trained is the same as without a memory.
func TestEncodedRowsAreRecalled(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := makeWorld("."); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(t.TempDir(), "cache")
	run := func(out string, args ...string) (adapter []byte, recalled int) {
		t.Helper()
		r := ok(t, append([]string{"train", "r.toml", "--overwrite", "--out", out}, args...)...)
		adapter, err := os.ReadFile(filepath.Join(out, "adapter", "adapter_model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := os.ReadFile(filepath.Join(out, "metrics.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		return append(adapter, metrics...), strings.Count(r.stderr, recalledNote)
	}
	plain, _ := run("a")
	t.Setenv(keep.Variable, cache)
	both := 2 // of the training and the held-out rows
	expect := func(what string, want int, same bool, args ...string) {
		t.Helper()
		got, n := run("b", args...)
		if n != want {
			t.Errorf("%s: %d sources recalled, want %d", what, n, want)
		}
		if bytes.Equal(got, plain) != same {
			t.Errorf("%s: the result is that of the first run: %v, want %v", what, !same, same)
		}
	}
	expect("first", 0, true)
	expect("again", both, true)
	expect("another length", 0, true, "--set", "data.sequence_len=63")
	expect("other targets", 0, false, "--set", "data.train_on_prompt=true")
	damage(t, cache)
	expect("a damaged memory", 0, true)
	expect("mended", both, true)
	edit(t, "train.jsonl", "Copper Pot", "Silver Pot")
	expect("other rows", 1, false)
	edit(t, "train.jsonl", "Silver Pot", "Copper Pot")
	expect("the old rows", both, true)
	edit(t, filepath.Join("base", "tokenizer_config.json"), "{", "{ ")
	expect("another tokenizer", 0, true)
}

// damage cuts every second result short and changes a byte of the others.
func damage(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) == 0 {
		t.Fatalf("%d results, %v", len(list), err)
	}
	for i, e := range list {
		name := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if b[len(b)-1]++; i%2 == 0 {
			b = b[:len(b)/2]
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// edit replaces a text in a file.
func edit(t *testing.T, name, was, is string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil && !bytes.Contains(b, []byte(was)) {
		t.Fatalf("%s has no %q", name, was)
	}
	if err == nil {
		err = os.WriteFile(name, bytes.ReplaceAll(b, []byte(was), []byte(is)), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}
