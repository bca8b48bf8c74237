package golden

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/graft-ml/graft/"

// floors orders the rooms from the ground up: a package may import only packages of lower floors, or of its own floor
// where allowed below. It is the picture of docs/architecture.md as a test.
var floors = []struct {
	name  string
	rooms []string
}{
	{"schema", []string{"recipes"}}, // imports nothing of ours; examples may use it
	{"ground", []string{"internal/kernel", "internal/check", "internal/atomicfile", "internal/meminfo", "internal/golden", "internal/corpus", "internal/jinja", "internal/tilecpu", "metric", "internal/pickle"}},
	{"memory of the program", []string{"internal/keep"}},
	{"leaves", []string{"internal/linalg", "internal/op", "checkpoint", "checkpoint/gguf", "checkpoint/bnb", "tokenizer"}},
	{"writers", []string{"internal/synth", "internal/tape", "release"}},
	{"data", []string{"data", "data/source"}},
	{"layers", []string{"model/layer"}},
	{"models", []string{"model", "model/modeltest"}},
	{"merging", []string{"merge"}},
	{"contracts", []string{"peft", "task", "task/tasktest", "merge/verify"}},
	{"methods on one projection", []string{"peft/tuner"}},
	{"methods", []string{"lora", "adapter", "prefix"}},
	{"methods on files", []string{"lora/factor"}},
	{"table of methods", []string{"peft/methods"}},
	{"programs", []string{"train", "generate", "interchange", "interchange/llamacpp"}},
	{"serving", []string{"serve", "serve/api"}},
	{"reports", []string{"report"}},
	{"laws", []string{"peft/pefttest"}}, // for tests: trains, merges and loads by any method
	{"surface", []string{"cli", "internal/corpus/gen", "internal/tilecpu/run"}},
	{"main", []string{""}},
}

// TestImportsPointDown holds every import of the project to the order of floors.
func TestImportsPointDown(t *testing.T) {
	floor := map[string]int{}
	for i, f := range floors {
		for _, r := range f.rooms {
			floor[r] = i
		}
	}
	root := project(t)
	for _, file := range goFiles(t, root) {
		rel, _ := filepath.Rel(root, filepath.Dir(file))
		from := strings.TrimPrefix(filepath.ToSlash(rel), ".")
		at, known := floor[from]
		if !known {
			t.Errorf("%s: package %q has no floor in the table", file, from)
			continue
		}
		for _, to := range imports(t, file) {
			if f, ok := floor[to]; !ok || f > at || f == at && !strings.HasPrefix(from, to) && !strings.HasPrefix(to, from) && at > 1 {
				t.Errorf("%s imports %s: imports point down only", file, to)
			}
		}
	}
}

// TestUnsafeStaysHome allows unsafe only where numbers meet memory.
func TestUnsafeStaysHome(t *testing.T) {
	root := project(t)
	seen := map[string]bool{}
	for _, file := range goFiles(t, root) {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(root, file)
		rel = filepath.ToSlash(rel)
		if !strings.Contains(string(src), "\"unsafe\"") || strings.HasPrefix(rel, "internal/kernel/") || rel == "internal/golden/house_test.go" {
			continue
		}
		seen[rel] = true
		if !strings.HasPrefix(rel, "checkpoint/") || len(seen) > 1 {
			t.Errorf("%s uses unsafe; only internal/kernel and one file of checkpoint may", rel)
		}
	}
}

// goFiles lists the non-test Go files of the project.
func goFiles(t *testing.T, root string) (files []string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || path != root && strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")) {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// imports lists the project's own packages that a file imports, relative to the module.
func imports(t *testing.T, file string) (paths []string) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range f.Imports {
		p, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p, module) {
			paths = append(paths, strings.TrimPrefix(p, module))
		}
	}
	return paths
}
