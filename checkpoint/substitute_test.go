package checkpoint

import (
	"io/fs"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// TestSubstitute: weights are the file's, all else is the folder's but for what stands in.
func TestSubstitute(t *testing.T) {
	file := filepath.Join(t.TempDir(), "w.safetensors")
	if err := Write(file, []Entry{FromFloats("x", []int{2}, []float32{1, 2})}, nil); err != nil {
		t.Fatal(err)
	}
	folder := fstest.MapFS{"config.json": {Data: []byte("old")}, "tokenizer.json": {Data: []byte("tok")}, "model.safetensors": {Data: []byte("packed")}}
	c, err := Substitute("models/m", folder, file, map[string][]byte{"config.json": []byte("new")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if x, err := c.Floats("x"); err != nil || len(x) != 2 || x[1] != 2 || c.Path() != "models/m" {
		t.Errorf("%v of %s (%v), want [1 2] of models/m", x, c.Path(), err)
	}
	for name, want := range map[string]string{"config.json": "new", "tokenizer.json": "tok"} {
		if b, err := c.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s is %q (%v), want %q", name, b, err, want)
		}
	}
	if list, err := fs.ReadDir(c.Folder(), "."); err != nil || len(list) != 3 {
		t.Errorf("%d files (%v), want 3", len(list), err)
	}
	if st, err := fs.Stat(c.Folder(), "config.json"); err != nil || st.Size() != 3 || !st.Mode().IsRegular() {
		t.Errorf("config.json: %v (%v)", st, err)
	}
	if _, err := Substitute("m", folder, file+"x", nil); err == nil {
		t.Error("a file that is not there: no error")
	}
}
