package methods

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

// TestDescribed computes the table of methods and holds the document and the program's copy to it.
func TestDescribed(t *testing.T) {
	list, err := Describe()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(list); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]byte{"methods.json": b.Bytes(), filepath.Join("..", "..", "docs", "methods.md"): Markdown(list)} {
		if *update {
			if err := os.WriteFile(path, want, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date (%v): go test ./peft/methods -run Described -update", path, err)
		}
	}
}

// TestEveryMethodIsDescribed has a row about each method, and none about others.
func TestEveryMethodIsDescribed(t *testing.T) {
	var names []string
	for _, m := range All {
		names = append(names, m.Name)
		if !slices.ContainsFunc(abouts, func(a about) bool { return a.name == m.Name && a.source != "" }) {
			t.Errorf("nothing is said about %s", m.Name)
		}
	}
	for _, a := range abouts {
		if !slices.Contains(names, a.name) {
			t.Errorf("%s is no method", a.name)
		}
	}
	list, err := Described()
	if err != nil || len(list) != len(All)+1 {
		t.Errorf("%d methods described, %v, want %d", len(list), err, len(All)+1)
	}
}

// TestAffine holds the numbers of a third layer to those that two tell, for methods whose targets share something, too.
func TestAffine(t *testing.T) {
	for _, m := range All {
		if !slices.Contains([]string{"lora", "vera", "ia3", "ln_tuning", "prefix_tuning", "trainable_tokens"}, m.Name) {
			continue
		}
		var settings string
		for _, a := range abouts {
			if a.name == m.Name {
				settings = a.settings
			}
		}
		var params, bytes [4]int64
		for l := 1; l < 4; l++ {
			var err error
			if params[l], bytes[l], _, err = size(m, settings, l); err != nil {
				t.Fatal(err)
			}
		}
		if params[3] != 2*params[2]-params[1] || bytes[3] != 2*bytes[2]-bytes[1] {
			t.Errorf("%s: %v parameters and %v bytes of 1, 2, 3 layers, want a straight line", m.Name, params[1:], bytes[1:])
		}
	}
}
