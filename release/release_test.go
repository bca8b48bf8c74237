package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// folder makes a folder with files of the present, or of long ago.
func folder(t *testing.T, when time.Time) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"b.bin": "two", "a.txt": "one", "eval/c": ""} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestArchive gives the same bytes for equal files, whatever their times and modes.
func TestArchive(t *testing.T) {
	var a, b bytes.Buffer
	one, two := folder(t, time.Now()), folder(t, time.Unix(1e9, 0))
	if err := os.Chmod(filepath.Join(two, "a.txt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Archive(&a, os.DirFS(one), "x"), Archive(&b, os.DirFS(two), "x")); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("equal files give archives of other bytes")
	}
	z, err := gzip.NewReader(&a)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(time.Unix(0, 0)) || h.Mode != 0o644 || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: %+v", h.Name, h)
		}
		got = append(got, h.Name+" "+string(text))
	}
	if want := "x/a.txt one,x/b.bin two,x/eval/c "; strings.Join(got, ",") != want {
		t.Errorf("archive has %q, want %q", strings.Join(got, ","), want)
	}
	if err := os.Symlink("a.txt", filepath.Join(one, "l")); err == nil {
		if err := Archive(&a, os.DirFS(one), "x"); err == nil || !strings.Contains(err.Error(), "release: l is no regular file") {
			t.Errorf("a link: %v", err)
		}
	}
}

// TestSums lists every file but the list.
func TestSums(t *testing.T) {
	dir := folder(t, time.Now())
	for range 2 {
		if err := WriteSums(dir); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, SumsFile))
	if err != nil {
		t.Fatal(err)
	}
	const want = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed  a.txt\n" +
		"3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3  b.bin\n" +
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  eval/c\n"
	if string(got) != want {
		t.Errorf("%s is\n%s, want\n%s", SumsFile, got, want)
	}
}

const reportJSON = `{"name": "r", "facts": [{"name": "method", "value": "lora"}, {"name": "seed", "value": "0"}], "sections": {
	"loss": {"examples": 100, "models": [{"name": "base", "loss": 8.1, "low": 7.9, "high": 8.25}, {"name": "fine-tuned", "loss": 6.8, "low": 6.7, "high": 6.9}]},
	"values": [{"name": "base", "mse": 2}, {"name": "fine-tuned", "mse": 0.5, "mae": 0.25, "pearson": null}],
	"classes": {"accuracy": 0.75, "matthews": 0.5}}}`

// TestCard writes a card in full and one of a run that held nothing out.
func TestCard(t *testing.T) {
	f, err := ReadFigures([]byte(reportJSON))
	if err != nil {
		t.Fatal(err)
	}
	c := Card{Name: "my | run", Base: "org/base", Library: "peft", Pipeline: textGeneration, Method: "lora", Trained: 224, Tags: []string{"graft", "lora"},
		Data: []Fact{{Name: "training file", Value: "a|b.jsonl"}}, Figures: f, Recipe: []byte("[model]\n")}
	got := string(c.Markdown())
	for _, want := range []string{
		"---\nbase_model: \"org/base\"\nbase_model_relation: adapter\nlibrary_name: \"peft\"\npipeline_tag: \"text-generation\"\n# license: to be filled in by the author, such as apache-2.0\ntags:\n- \"graft\"\n- \"lora\"\n---\n",
		"\n# my | run\n\nAn adapter (lora) of `org/base`, made with", "| trained numbers | 224 |\n| seed | 0 |\n", "On 100 held-out examples", "| fine-tuned | 6.8000 | 6.7000–6.9000 |",
		"| values: mse | 0.5000 |\n| values: mae | 0.2500 |\n", "| classes: accuracy | 0.7500 |", `a\|b.jsonl`, "```toml\n[model]\n```", "graft generate . --prompt '…' --base models/base", `AutoModel.from_pretrained("org/base"), ".")`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the card lacks %q:\n%s", want, got)
		}
	}
	c = Card{Name: "m", Merged: true, Library: "transformers", License: "mit", Method: "lora"}
	got = string(c.Markdown())
	for _, want := range []string{"license: \"mit\"\n", "No rows were held out", "A fine-tuned form (lora, folded in) of a base model", "graft generate . --prompt '…'\n```", "## Licence\n\nmit\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("the card lacks %q:\n%s", want, got)
		}
	}
	for _, bad := range []string{"", "[]", `{"sections": {"loss": 7}}`} {
		if _, err := ReadFigures([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "release: report.json: ") {
			t.Errorf("report.json %q: %v", bad, err)
		}
	}
}
