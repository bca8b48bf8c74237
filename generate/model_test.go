package generate

import (
	"context"
	"reflect"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
)

// uncached is a Session that reads every sequence again from its start.
type uncached struct {
	m       *model.Model
	live    [][]int32
	sources [][]int32 // of sequences that begin, in their order
	own     [][]int32 // of the live ones
}

func (s *uncached) Extend(tokens [][]int32) (kernel.Mat, error) {
	for len(s.live) < len(tokens) {
		s.live, s.own = append(s.live, nil), append(s.own, nil)
		if s.sources != nil {
			s.own[len(s.own)-1], s.sources = s.sources[0], s.sources[1:]
		}
	}
	out := kernel.NewMat(make([]float32, len(tokens)*s.m.Config.VocabSize), len(tokens), s.m.Config.VocabSize)
	for i, ids := range tokens {
		s.live[i] = append(s.live[i][:len(s.live[i]):len(s.live[i])], ids...)
		positions := make([]int32, len(s.live[i]))
		for j := range positions {
			positions[j] = int32(j)
		}
		p := op.NewPass([]op.Segment{{End: len(positions)}}, positions, kernel.ModeF32, op.NewArena())
		if src := s.own[i]; src != nil {
			p.Source = (data.Set{{Source: src, IDs: []int32{0, 0}}}).Batch([]int32{0}).Source
		}
		copy(out.Row(i), s.m.Logits(p, s.m.Hidden(p, s.live[i]), []int{len(positions) - 1}).Row(0))
	}
	return out, nil
}

func (s *uncached) Select(parents []int) {
	var live, own [][]int32
	for _, p := range parents {
		live, own = append(live, s.live[p]), append(own, s.own[p])
	}
	s.live, s.own = live, own
}

// ways are options of every kind of decoding. The tiny models' logits are far enough apart for float32.
var ways = []struct {
	name string
	o    Options
}{
	{"greedy", Options{MaxNewTokens: 9}},
	{"greedy until some end token", Options{MaxNewTokens: 9, EOS: []int32{3, 5, 8, 13, 21}}},
	{"sampled", Options{MaxNewTokens: 9, Temperature: 0.8, TopK: 9, TopP: 0.95, Seed: 5}},
	{"penalised", Options{MaxNewTokens: 9, RepetitionPenalty: 1.3, NoRepeatNgram: 2}},
	{"three beams", Options{MaxNewTokens: 7, NumBeams: 3, LengthPenalty: 0.8, EOS: []int32{3, 5, 8}}},
}

// TestCachedIsUncached decodes in every way on every architecture, with a cache and without; and a batch as each prompt alone.
func TestCachedIsUncached(t *testing.T) {
	for _, c := range modeltest.Tiny {
		base := modeltest.Open(t, modeltest.Write(t, c))
		if base.CheckDecodes() != nil {
			if _, err := Tokens(t.Context(), NewSession(base.Model, kernel.ModeF32), [][]int32{{1}}, Options{MaxNewTokens: 1}, nil); err == nil {
				t.Errorf("%s generates, want an error: its head is %s", c.Name, base.Kind)
			}
			continue
		}
		var prompts, sources [][]int32
		for _, e := range base.Set()[:4] {
			prompts = append(prompts, e.IDs)
			if e.Source != nil {
				sources = append(sources, e.Source)
			}
		}
		for _, w := range ways {
			t.Run(c.Name+": "+w.name, func(t *testing.T) {
				want := tokens(t, &uncached{m: base.Model, sources: sources}, prompts, w.o)
				if got := tokens(t, begun(t, base.Model, sources), prompts, w.o); !reflect.DeepEqual(got, want) {
					t.Errorf("with a cache %v, want %v as without", got, want)
				}
				if w.o.Temperature > 0 {
					return // alone, a prompt has index 0 and other random numbers
				}
				for i, p := range prompts {
					if got := tokens(t, begun(t, base.Model, pick(sources, i)), [][]int32{p}, w.o); !reflect.DeepEqual(got[0], want[i]) {
						t.Errorf("prompt %d alone %v, want %v as in a batch", i, got[0], want[i])
					}
				}
			})
		}
	}
}

// begun is a session with sources for a model that reads some.
func begun(t *testing.T, m *model.Model, sources [][]int32) *ModelSession {
	t.Helper()
	s := NewSession(m, kernel.ModeF32)
	if sources != nil {
		if err := s.Read(sources); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// pick is element i of a list as a list, nil of none.
func pick(list [][]int32, i int) [][]int32 {
	if list == nil {
		return nil
	}
	return list[i : i+1]
}

func tokens(t *testing.T, s Session, prompts [][]int32, o Options) [][]int32 {
	t.Helper()
	out, err := Tokens(context.Background(), s, prompts, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTruncate continues a conversation from its middle.
func TestTruncate(t *testing.T) {
	base := modeltest.Open(t, modeltest.Write(t, modeltest.Tiny[0]))
	s, fresh := NewSession(base.Model, kernel.ModeF32), NewSession(base.Model, kernel.ModeF32)
	extend := func(s *ModelSession, ids ...int32) []float32 {
		m, err := s.Extend([][]int32{ids})
		if err != nil {
			t.Fatal(err)
		}
		return m.Row(0)
	}
	if n := s.Len(0); n != 0 {
		t.Errorf("a new session has %d tokens", n)
	}
	first := append([]float32(nil), extend(s, 1, 2, 3)...)
	extend(s, 9, 9, 9)
	s.Truncate(0, 2)
	if n := s.Len(0); n != 2 {
		t.Errorf("%d tokens after Truncate, want 2", n)
	}
	extend(fresh, 1, 2)
	if got := extend(s, 3); !reflect.DeepEqual(got, extend(fresh, 3)) {
		t.Errorf("logits after Truncate differ from those of a session that never read further (first %g)", first[0])
	}
	if _, err := s.Extend([][]int32{{99}}); err == nil {
		t.Error("a token beyond the vocabulary was read")
	}
}
