package pefttest

import (
	"fmt"
	"testing"

	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
)

// caching passes two sequences in pieces through a cache and compares with the sequences whole. One is forgotten in part, then
// as a whole, and read again.
func caching(t *testing.T, x *bench) {
	if x.base.CheckDecodes() != nil {
		return // an encoder's rows see later ones
	}
	x.trained(t)
	cache, arena := x.base.NewCache(), op.NewArena()
	extend := func(seq int, tokens []int32) []float32 {
		p := op.NewPass([]op.Segment{{End: len(tokens), Sequence: seq}}, nil, kernel.ModeF32, arena)
		for i := range tokens {
			p.Positions = append(p.Positions, int32(cache.Len(seq)+i))
		}
		p.Cache = cache
		rows := make([]int, len(tokens))
		for i := range rows {
			rows[i] = i
		}
		y := x.base.Model.Logits(p, x.base.Hidden(p, tokens), rows)
		arena.Reset()
		return y.Data
	}
	for _, i := range []int32{0, 2} {
		b := x.set.Batch([]int32{i})
		want, seq := x.base.Logits(t, b), cache.Open()
		if b.Source != nil {
			p := op.NewPass(nil, nil, kernel.ModeF32, arena)
			p.Source = b.Source
			cache.Remember(seq, x.base.Encode(p)[0])
			arena.Reset()
		}
		same := func(what string, got []float32, from int) {
			vocab := len(want) / len(b.Tokens)
			check.Close(t, fmt.Sprintf("sequence %d: %s", seq, what), got, want[from*vocab:from*vocab+len(got)], 2e-5, 1e-5) // other blocks of sums; logits of size 1 to 10
		}
		same("the first four rows", extend(seq, b.Tokens[:4]), 0)
		same("one more row", extend(seq, b.Tokens[4:5]), 4)
		same("the rest", extend(seq, b.Tokens[5:]), 5)
		cache.Truncate(seq, 3)
		same("from row 3 again", extend(seq, b.Tokens[3:]), 3)
		cache.Truncate(seq, 0)
		same("from the start again", extend(seq, b.Tokens), 0)
		if n := cache.Len(seq); n != len(b.Tokens) {
			t.Errorf("sequence %d has %d rows, want %d", seq, n, len(b.Tokens))
		}
	}
}
