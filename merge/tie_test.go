package merge

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/check"
)

// embedded is a checkpoint of an embedding [31, 11], and of a head if stored.
func embedded(t *testing.T, config string, head bool) *checkpoint.Checkpoint {
	t.Helper()
	data := make([]float32, 31*11)
	for i := range data {
		data[i] = float32(i%17) / 4
	}
	entries := []checkpoint.Entry{checkpoint.FromFloats("model.embed_tokens.weight", []int{31, 11}, data)}
	if head {
		entries = append(entries, checkpoint.FromFloats("lm_head.weight", []int{31, 11}, data))
	}
	dir := t.TempDir()
	if err := checkpoint.Write(filepath.Join(dir, "model.safetensors"), entries, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestFoldTies folds into weights that embedding and head share.
func TestFoldTies(t *testing.T) {
	const embed, head = "model.embed_tokens.weight", "lm_head.weight"
	ties := []Tie{{Stored: embed, Other: head}}
	const tied, silent = `{"tie_word_embeddings": true, "x": 1}`, `{"x": 1}`
	low := func(name string, both bool) *LowRank {
		l := lowRank(name, 31, 11, 2, false)
		l.BothEnds = both
		return l
	}
	rows := &Rows{Tensor: embed, Rows: 31, Cols: 11, IDs: []int{30, 2}, Data: make([]float32, 22), BothEnds: true}
	for _, c := range []struct {
		name    string
		config  string
		stored  bool // the base has both
		deltas  []Delta
		changed []string
		untied  bool // the output has both, and says so
	}{
		{"one end", tied, false, []Delta{low(embed, false)}, []string{embed}, true},
		{"the other end", tied, false, []Delta{low(head, false)}, []string{head}, true},
		{"each end its own way", tied, false, []Delta{low(embed, false), low(head, false)}, []string{head, embed}, true},
		{"both ends alike", tied, false, []Delta{low(embed, true)}, []string{embed}, false},
		{"rows of both ends", tied, false, []Delta{rows}, []string{embed}, false},
		{"rows of both ends, and the head its own way", tied, false, []Delta{rows, low(head, false)}, []string{head, embed}, true},
		{"a config that is silent", silent, false, []Delta{low(embed, false)}, []string{embed}, true},
		{"a base that stores both", tied, true, []Delta{low(embed, false)}, []string{embed}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := embedded(t, c.config, c.stored)
			out := filepath.Join(t.TempDir(), "out")
			r, err := Fold(context.Background(), Job{Base: base, Deltas: c.deltas, Ties: ties, Out: out})
			if err != nil {
				t.Fatal(err)
			}
			var changed []string
			for _, x := range r.Changed {
				changed = append(changed, x.Tensor)
			}
			if !slices.Equal(changed, c.changed) {
				t.Errorf("changed %v, want %v", changed, c.changed)
			}
			got, err := checkpoint.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			was, _ := base.Floats(embed)
			for _, name := range got.Names() {
				v, _ := got.Floats(name)
				if same := slices.Equal(v, was); same == slices.Contains(c.changed, name) {
					t.Errorf("%s: as the base's %v", name, same)
				}
			}
			config, _ := got.ReadFile("config.json")
			if _, both := got.Info(head); both != c.untied || strings.Contains(string(config), `"tie_word_embeddings": false`) != c.untied {
				t.Errorf("head stored %v, want %v; config %s", both, c.untied, config)
			}
			if want := c.untied && !c.stored; slices.Contains(r.Untied, head) != want {
				t.Errorf("Untied = %v", r.Untied)
			}
		})
	}
}

// TestChangers compares with the dense formulas.
func TestChangers(t *testing.T) {
	for _, transposed := range []bool{false, true} {
		sum := lowRank("x", 13, 7, 3, transposed)
		rows, cols := sum.Dims()
		g := &Gained{Sum: *sum, Gain: make([]float32, sum.B.Rows)}
		for i := range g.Gain {
			g.Gain[i] = 1 + float32(i)/3
		}
		base, want := make([]float32, rows*cols), make([]float32, rows*cols)
		for i := range base {
			base[i] = float32(i%5) - 2
		}
		copy(want, base)
		sum.AddTo(0, rows, want)
		for i := range want {
			at := i / cols
			if transposed {
				at = i % cols
			}
			want[i] *= g.Gain[at]
		}
		got := make([]float32, rows*cols)
		for lo := 0; lo < rows; lo += 4 {
			hi := min(lo+4, rows)
			g.Change(lo, hi, base[lo*cols:hi*cols], got[lo*cols:hi*cols])
		}
		check.Close(t, "gained", got, want, 1e-6, 1e-6) // products of parts may be summed in another order
		if err := g.Check(); err != nil {
			t.Error(err)
		}
		g.Gain = g.Gain[1:]
		if err := g.Check(); err == nil {
			t.Error("a gain too few: no error")
		}
	}
	if err := (&Rows{Rows: 3, Cols: 2, IDs: []int{3}, Data: make([]float32, 2)}).Check(); err == nil {
		t.Error("a row beyond: no error")
	}
}

// TestLoosened says in config.json that embedding and head differ, and keeps what else the field meant.
func TestLoosened(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{"model_type": "gpt2", "tie_word_embeddings": true}`, `"tie_word_embeddings": false`},
		{`{"model_type": "t5", "tie_word_embeddings": true}`, `"scale_decoder_outputs": true`},
		{`{"model_type": "mt5", "scale_decoder_outputs": false, "tie_word_embeddings": true}`, `"scale_decoder_outputs": false`},
	} {
		got := string(loosened([]byte(c.config)))
		if !strings.Contains(got, c.want) || !strings.Contains(got, `"tie_word_embeddings": false`) || strings.Contains(got, scaleOutputs) != strings.Contains(c.want+c.config, scaleOutputs) {
			t.Errorf("loosened(%s) = %s, want %s in it", c.config, got, c.want)
		}
	}
}
