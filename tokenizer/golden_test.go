package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/graft-ml/graft/internal/golden"
)

// goldenFile is golden/tokenizers/*.json; offsets count characters.
type goldenFile struct {
	Tokenizer string
	Cases     []struct {
		Text              string
		IDs               []int32  `json:"ids"`
		IDsNoSpecial      []int32  `json:"ids_no_special"`
		Offsets           [][2]int `json:"offsets"`
		Decode            string   `json:"decode"`
		DecodeSkipSpecial string   `json:"decode_skip_special"`
	}
	Pair []struct {
		A, B    string
		IDs     []int32  `json:"ids"`
		Offsets [][2]int `json:"offsets"`
		TypeIDs []int32  `json:"type_ids"`
	}
}

func readJSON(t testing.TB, path string, to any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// asset loads a tokenizer of the assets by its folder's name.
func asset(t testing.TB, name string) *Tokenizer {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(golden.Assets(t), "tokenizers", name, "tokenizer.json"))
	if err != nil {
		t.Skipf("no asset: %v", err)
	}
	tk, err := New(b)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

// characters turns byte offsets into character offsets, as the goldens have them.
func characters(text string, offsets [][2]int) [][2]int {
	out := make([][2]int, len(offsets))
	for i, o := range offsets {
		out[i] = [2]int{utf8.RuneCountInString(text[:o[0]]), utf8.RuneCountInString(text[:o[1]])}
	}
	return out
}

func TestGoldenTokenizers(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(golden.Dir(t), "tokenizers", "*.json"))
	if err != nil || len(paths) == 0 {
		t.Skip("no golden tokenizers")
	}
	suite := golden.NewSuite(t, "tokenizers")
	for _, path := range paths {
		var g goldenFile
		readJSON(t, path, &g)
		suite.Case(strings.TrimSuffix(filepath.Base(path), ".json"), golden.Facts{}, func(t *testing.T) {
			tk := asset(t, g.Tokenizer)
			checkGolden(t, tk, &g)
		})
	}
}

func checkGolden(t *testing.T, tk *Tokenizer, g *goldenFile) {
	exact := 0
	for _, c := range g.Cases {
		e, plain := tk.Encode(c.Text, true), tk.Encode(c.Text, false)
		ok := equal(t, c.Text, "ids", e.IDs, c.IDs)
		ok = equal(t, c.Text, "ids without special tokens", plain.IDs, c.IDsNoSpecial) && ok
		ok = equal(t, c.Text, "offsets", characters(c.Text, e.Offsets), c.Offsets) && ok
		ok = checkDecode(t, tk, c.IDsNoSpecial, false, c.Decode) && ok
		ok = checkDecode(t, tk, c.IDsNoSpecial, true, c.DecodeSkipSpecial) && ok
		ok = checkDecode(t, tk, c.IDs, true, c.DecodeSkipSpecial) && ok
		if ok {
			exact++
		}
	}
	for _, p := range g.Pair {
		e := tk.EncodePair(p.A, p.B, true)
		equal(t, p.A+" | "+p.B, "ids", e.IDs, p.IDs)
		equal(t, p.A+" | "+p.B, "type ids", e.TypeIDs, p.TypeIDs)
		for i, o := range e.Offsets {
			text := p.A
			if e.Texts[i] == 1 {
				text = p.B
			}
			if got := characters(text, [][2]int{o})[0]; i < len(p.Offsets) && got != p.Offsets[i] {
				t.Errorf("pair: offsets[%d] = %v, want %v", i, got, p.Offsets[i])
			}
		}
	}
	t.Logf("%s: %d of %d inputs exact", g.Tokenizer, exact, len(g.Cases))
}

func checkDecode(t *testing.T, tk *Tokenizer, ids []int32, skip bool, want string) bool {
	t.Helper()
	got, streamed := tk.Decode(ids, skip), stream(tk, ids, skip)
	if got != want {
		t.Errorf("Decode(%v, %v)\n got %q\nwant %q", ids, skip, got, want)
	}
	if streamed != got {
		t.Errorf("streaming %v, %v\n got %q\nwant %q", ids, skip, streamed, got)
	}
	return got == want && streamed == got
}

func equal[E comparable](t *testing.T, text, what string, got, want []E) bool {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%q: %s\n got %v\nwant %v", text, what, got, want)
		return false
	}
	return true
}

// stream decodes id by id and checks that no part ends inside a character.
func stream(tk *Tokenizer, ids []int32, skip bool) string {
	d := tk.NewDecoder(skip)
	var b strings.Builder
	for _, id := range ids {
		part := d.Next(id)
		if !utf8.ValidString(part) {
			return "half a character: " + part
		}
		b.WriteString(part)
	}
	b.WriteString(d.Flush())
	return b.String()
}
