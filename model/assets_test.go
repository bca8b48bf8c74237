package model_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
)

// TestNanoSort lets a real GPT-2 of 85,296 parameters sort: given any 6 letters of 3 it writes them in order. All 729
// inputs are sequences of one cache.
func TestNanoSort(t *testing.T) {
	src, err := checkpoint.Open(filepath.Join(golden.Assets(t), "models", "gpt-nano-sort-hf"))
	if err != nil {
		t.Skipf("no model: %v", err)
	}
	defer src.Close()
	m, err := model.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	const letters = 6
	inputs := make([][]int32, 729)
	cache := m.NewCache()
	for i := range inputs {
		cache.Open()
		for n := i; len(inputs[i]) < letters; n /= 3 {
			inputs[i] = append(inputs[i], int32(n%3))
		}
	}
	outputs := make([][]int32, len(inputs))
	next := inputs
	for range letters {
		rows := extend(t, m, cache, next)
		next = make([][]int32, len(inputs))
		for i := range inputs {
			next[i] = []int32{best(rows.Row(i))}
			outputs[i] = append(outputs[i], next[i]...)
		}
	}
	for i, in := range inputs {
		want := slices.Sorted(slices.Values(in))
		if !slices.Equal(outputs[i], want) {
			t.Errorf("%v: %v, want %v", in, outputs[i], want)
		}
	}
	// The table of positions has 11 rows, and the cache holds as many.
	if err := m.CheckPositions([]int32{int32(cache.Len(0))}); err == nil || !strings.Contains(err.Error(), "n_positions 11") {
		t.Errorf("CheckPositions([%d]) = %v, want an error that names n_positions", cache.Len(0), err)
	}
}

// extend appends tokens to every sequence of the cache and returns the logits after the last of each.
func extend(t *testing.T, m *model.Model, cache *op.Cache, tokens [][]int32) kernel.Mat {
	t.Helper()
	var ids, positions []int32
	var segments []op.Segment
	var last []int
	for i, list := range tokens {
		segments = append(segments, op.Segment{Start: len(ids), End: len(ids) + len(list), Sequence: i})
		for j := range list {
			positions = append(positions, int32(cache.Len(i)+j))
		}
		ids = append(ids, list...)
		last = append(last, len(ids)-1)
	}
	if err := m.CheckPositions(positions); err != nil {
		t.Fatal(err)
	}
	p := op.NewPass(segments, positions, kernel.ModeF32, op.NewArena())
	p.Cache = cache
	return m.Logits(p, m.Hidden(p, ids), last)
}

func best(logits []float32) int32 { return int32(slices.Index(logits, slices.Max(logits))) }

// TestMiniLM compares a real BERT, in f16 and without the prefix, with transformers: its first hidden state and the mean of all,
// brought to length 1, of three sentences in one batch.
func TestMiniLM(t *testing.T) {
	dir := filepath.Join(golden.Assets(t), "models", "all-minilm-l6-v2")
	src, err := checkpoint.Open(dir)
	if err != nil {
		t.Skipf("no model: %v", err)
	}
	defer src.Close()
	raw, err := os.ReadFile(filepath.Join(dir, "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		Sentences []struct {
			IDs       []int32   `json:"ids"`
			Embedding []float32 `json:"embedding_first8"`
			CLS       []float32 `json:"cls_hidden_first8"`
			Norm      float64   `json:"norm_before_normalising"`
		} `json:"sentences"`
	}
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	m, err := model.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	var ids, positions []int32
	var segments []op.Segment
	for _, s := range ref.Sentences {
		segments = append(segments, op.Segment{Start: len(ids), End: len(ids) + len(s.IDs)})
		for i := range s.IDs {
			positions = append(positions, int32(i))
		}
		ids = append(ids, s.IDs...)
	}
	p := op.NewPass(segments, positions, kernel.ModeF32, op.NewArena())
	h := m.Hidden(p, ids)
	means := op.Of(op.SegmentMean(p, h)).View()
	for i, s := range ref.Sentences {
		const rounding = 2e-5 // six layers of float32; the reference has six decimals
		check.Close(t, "hidden state of [CLS]", op.Of(h).View().Row(segments[i].Start)[:8], s.CLS, rounding, 1e-5)
		norm := math.Sqrt(float64(kernel.Dot(means.Row(i), means.Row(i))))
		if math.Abs(norm-s.Norm) > 1e-4 {
			t.Errorf("sentence %d: length %g, want %g", i, norm, s.Norm)
		}
		kernel.Scale(means.Row(i), float32(1/norm))
		check.Close(t, "embedding", means.Row(i)[:8], s.Embedding, rounding, 1e-5)
	}
}
