// Package modeltest holds a small model of every architecture, as a folder on disk with random weights, for tests that
// range over all of them.
//
//	for _, c := range modeltest.Tiny {
//		t.Run(c.Name, func(t *testing.T) {
//			base := modeltest.Open(t, modeltest.Write(t, c))
//			logits := base.Logits(t, base.Set().Batch([]int32{0, 1}))
//			…
//		})
//	}
//
// No number of these models sits where the mathematics has a fixed point: norms are not 1, biases not 0.
package modeltest

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
)

// noise is how far norms are from 1 and biases from 0.
const noise = 0.2

// Write makes the model's folder: config.json and float32 weights that depend on nothing but the config.
func Write(t testing.TB, c Config) string {
	t.Helper()
	cfg, err := model.ParseConfig([]byte(c.JSON))
	if err != nil {
		t.Fatalf("modeltest: %s: %v", c.Name, err)
	}
	rng := rand.New(rand.NewPCG(11, 13))
	m, err := model.New(cfg, rng)
	if err != nil {
		t.Fatalf("modeltest: %s: %v", c.Name, err)
	}
	m.Unfreeze() // gives every weight a name
	var entries []checkpoint.Entry
	for name, p := range m.Params() {
		shape, values := p.Shape(), op.Data(p)
		if shape[0] == 1 { // a norm or a bias
			shape = shape[1:]
			for i := range values {
				values[i] += float32(noise * rng.NormFloat64())
			}
		}
		entries = append(entries, checkpoint.FromFloats(name, shape, values))
	}
	dir := t.TempDir()
	if err := checkpoint.Write(filepath.Join(dir, "model.safetensors"), entries, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(c.JSON), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Base is a model over its open checkpoint.
type Base struct {
	*model.Model
	Source *checkpoint.Checkpoint
}

// Open loads the model of a folder; its checkpoint is closed when the test ends.
func Open(t testing.TB, dir string) *Base {
	t.Helper()
	src, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	m, err := model.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return &Base{m, src}
}

// Rows passes the batch through the model in f32 and returns the logits after some of its rows [len(rows), V].
func (b *Base) Rows(t testing.TB, x *data.Batch, rows []int) []float32 {
	t.Helper()
	if err := b.CheckTokens(x.Tokens); err != nil {
		t.Fatal(err)
	}
	if err := b.CheckSource(x.Source, len(x.Segments)); err != nil {
		t.Fatal(err)
	}
	p := op.NewPass(x.Segments, x.Positions, kernel.ModeF32, op.NewArena())
	p.Source = x.Source
	return b.Model.Logits(p, b.Hidden(p, x.Tokens), rows).Data
}

// Logits are those after every row of the batch [T, V].
func (b *Base) Logits(t testing.TB, x *data.Batch) []float32 {
	t.Helper()
	rows := make([]int, len(x.Tokens))
	for i := range rows {
		rows[i] = i
	}
	return b.Rows(t, x, rows)
}

// Set is eight sequences of unequal length over the model's vocabulary, with masked rows and weights other than 1, and with sources if
// the model reads some.
func (b *Base) Set() data.Set {
	set := Set(b.Config.VocabSize)
	if b.Encoder == nil {
		return set
	}
	rng := rand.New(rand.NewPCG(23, 29))
	for i := range set {
		for range []int{4, 9, 2, 1, 6, 3, 8, 5}[i] {
			set[i].Source = append(set[i].Source, int32(rng.IntN(b.Config.VocabSize)))
		}
	}
	return set
}

// Set is eight sequences of unequal length over a vocabulary, with masked rows and weights other than 1.
func Set(vocab int) data.Set {
	rng := rand.New(rand.NewPCG(17, 19))
	var set data.Set
	for i, n := range []int32{7, 3, 11, 2, 5, 9, 4, 6} {
		e := data.Example{Loss: []data.Span{{Start: n / 3, End: n, Weight: 1}}}
		if i%3 == 1 {
			e.Loss[0].Weight = 0.25
		}
		for range n {
			e.IDs = append(e.IDs, int32(rng.IntN(vocab)))
		}
		set = append(set, e)
	}
	return set
}

// All picks every example of a set.
func All(set data.Set) []int32 {
	picked := make([]int32, len(set))
	for i := range picked {
		picked[i] = int32(i)
	}
	return picked
}
