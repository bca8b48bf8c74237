package model

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
)

// TestRename reads a checkpoint of old under today's names, in place.
func TestRename(t *testing.T) {
	source := func(names ...string) *checkpoint.Checkpoint {
		var entries []checkpoint.Entry
		for i, n := range names {
			entries = append(entries, checkpoint.FromFloats(n, []int{1}, []float32{float32(i + 1)}))
		}
		b, err := checkpoint.Marshal(entries, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := checkpoint.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Run("old names become today's, others stay", func(t *testing.T) {
		src, err := rename(source("e.LayerNorm.gamma", "e.LayerNorm.beta", "layer.gamma", "LayerNorm.gamma_x", "a.weight"))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"LayerNorm.gamma_x", "a.weight", "e.LayerNorm.bias", "e.LayerNorm.weight", "layer.gamma"}
		if !slices.Equal(src.Names(), want) {
			t.Errorf("Names: %q, want %q", src.Names(), want)
		}
		for name, want := range map[string]float32{"e.LayerNorm.weight": 1, "e.LayerNorm.bias": 2, "layer.gamma": 3, "a.weight": 5} {
			v, err1 := src.Floats(name)
			w, _, err2 := src.Frozen(name)
			if err := errors.Join(err1, err2); err != nil || v[0] != want || w.At(0, 0) != want {
				t.Errorf("%s: %v, want %g (%v)", name, v, want, err)
			}
		}
		if _, err := src.Floats("none"); err == nil || !strings.Contains(err.Error(), `no tensor "none"`) {
			t.Errorf("Floats: %v", err)
		}
	})
	t.Run("a checkpoint of today stays itself", func(t *testing.T) {
		c := source("e.LayerNorm.weight", "e.LayerNorm.bias")
		if src, err := rename(c); err != nil || src != Source(c) {
			t.Errorf("rename: %v %v", src, err)
		}
	})
	t.Run("both names at once are an error", func(t *testing.T) {
		_, err := rename(source("e.LayerNorm.gamma", "e.LayerNorm.weight"))
		if err == nil || !strings.Contains(err.Error(), `tensors "e.LayerNorm.gamma" and "e.LayerNorm.weight" are both "e.LayerNorm.weight"`) {
			t.Errorf("rename: %v", err)
		}
	})
}
