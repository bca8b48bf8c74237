package checkpoint

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/golden"
	"github.com/nlpodyssey/safetensors"
)

// TestGoldenOpen opens every model folder of the reference values.
func TestGoldenOpen(t *testing.T) {
	suite := golden.NewSuite(t, "checkpoints")
	dirs, err := filepath.Glob(filepath.Join(golden.Dir(t), "models", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		storage := "safetensors"
		if _, err := os.Stat(filepath.Join(dir, "pytorch_model.bin")); err == nil {
			storage = "torch"
		}
		suite.Case(filepath.Base(dir), golden.Facts{"storage": storage}, func(t *testing.T) {
			c, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if len(c.Names()) == 0 || c.MappedBytes() < c.SizeBytes() {
				t.Errorf("%d tensors, %d bytes mapped, %d of tensors", len(c.Names()), c.MappedBytes(), c.SizeBytes())
			}
			for _, name := range c.Names() {
				if i, bad := c.FirstNonFinite(name); bad {
					t.Errorf("%s: not finite at %d", name, i)
				}
			}
		})
	}
}

// safetensorsFiles lists every safetensors file of the reference values and assets.
func safetensorsFiles(t *testing.T) (files []string) {
	for _, root := range []string{golden.Dir(t), golden.Assets(t), golden.Quality(t)} {
		if err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
			if strings.HasSuffix(p, ".safetensors") {
				files = append(files, p)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestGoldenFiles holds our reading of every file to the library's, tensor by tensor.
func TestGoldenFiles(t *testing.T) {
	files := safetensorsFiles(t)
	for _, path := range files {
		c, err := OpenFile(path)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		want, err := safetensors.Deserialize(c.files[0].data)
		if err != nil {
			t.Fatal(err)
		}
		if got := want.Names(); len(got) != len(c.Names()) {
			t.Errorf("%s: %d tensors, want %d", path, len(c.Names()), len(got))
		}
		for _, w := range want.Tensors() {
			b, err := c.Bytes(w.Name)
			info, _ := c.Info(w.Name)
			if err != nil || !bytes.Equal(b, w.TensorView.Data()) || info.DType != w.TensorView.DType() ||
				!slices.EqualFunc(info.Shape, w.TensorView.Shape(), func(a int, b uint64) bool { return uint64(a) == b }) {
				t.Errorf("%s: %s: differs: %v %v", path, w.Name, info, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("golden: files: %d read as the library reads them", len(files))
}

// TestGoldenTorch reads every file that torch.save wrote, and holds that as safetensors it has the same tensors.
func TestGoldenTorch(t *testing.T) {
	read := 0
	for _, root := range []string{golden.Dir(t), filepath.Join(golden.Assets(t), "adapters")} {
		if err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
			if !strings.HasSuffix(p, ".bin") {
				return err
			}
			c, err := OpenFile(p)
			if err != nil {
				t.Error(err)
				return nil
			}
			defer c.Close()
			if len(c.files[0].table.copies) > 0 || len(c.Names()) == 0 {
				t.Errorf("%s: %d tensors, of which %d are copied, want all in place", p, len(c.Names()), len(c.files[0].table.copies))
			}
			rewrite(t, c.files[0].data)
			read++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("golden: torch: %d files read", read)
}
