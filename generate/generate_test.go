package generate

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/internal/kernel"
)

// toy is a language model over v tokens whose logits are a fixed random function of the last two tokens.
type toy struct {
	v     int
	table [][]float32
	live  [][]int32
}

func newToy(v int, seed uint64) *toy {
	rng := rand.New(rand.NewPCG(seed, 1))
	t := &toy{v: v, table: make([][]float32, v*v)}
	for i := range t.table {
		t.table[i] = make([]float32, v)
		for j := range t.table[i] {
			t.table[i][j] = float32(rng.NormFloat64() * 2)
		}
	}
	return t
}

func (t *toy) row(h []int32) []float32 {
	prev := int32(0)
	if len(h) > 1 {
		prev = h[len(h)-2]
	}
	return t.table[int(prev)*t.v+int(h[len(h)-1])]
}

func (t *toy) Extend(tokens [][]int32) (kernel.Mat, error) {
	for len(t.live) < len(tokens) {
		t.live = append(t.live, nil)
	}
	out := kernel.NewMat(make([]float32, len(tokens)*t.v), len(tokens), t.v)
	for i, ids := range tokens {
		t.live[i] = append(slices.Clone(t.live[i]), ids...)
		copy(out.Row(i), t.row(t.live[i]))
	}
	return out, nil
}

func (t *toy) Select(parents []int) {
	var live [][]int32
	for _, p := range parents {
		live = append(live, slices.Clone(t.live[p]))
	}
	t.live = live
}

var prompts = [][]int32{{1, 2}, {3}, {4, 5, 6}}

func TestTokens(t *testing.T) {
	run := func(o Options, p [][]int32, seed uint64) [][]int32 {
		t.Helper()
		out, err := Tokens(context.Background(), newToy(11, seed), p, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Run("greedy takes the best token each time", func(t *testing.T) {
		m := newToy(11, 1)
		h := slices.Clone(prompts[0])
		for range 6 {
			h = append(h, int32(argmax(m.row(h))))
		}
		if got := run(Options{MaxNewTokens: 6}, prompts[:1], 1)[0]; !slices.Equal(got, h[2:]) {
			t.Errorf("got %v, want %v", got, h[2:])
		}
	})
	t.Run("the same seed draws the same tokens, another seed others", func(t *testing.T) {
		o := Options{MaxNewTokens: 30, Temperature: 1, Seed: 3}
		a := run(o, prompts, 1)
		if b := run(o, prompts, 1); !reflect.DeepEqual(a, b) {
			t.Error("the same seed gave other tokens")
		}
		o.Seed = 4
		if b := run(o, prompts, 1); reflect.DeepEqual(a, b) {
			t.Error("another seed gave the same tokens")
		}
	})
	t.Run("top-k of one is greedy at any temperature", func(t *testing.T) {
		a, b := run(Options{MaxNewTokens: 9, Temperature: 3, TopK: 1}, prompts, 2), run(Options{MaxNewTokens: 9}, prompts, 2)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("got %v, want %v", a, b)
		}
	})
	t.Run("a sequence ends with an end token, the others go on", func(t *testing.T) {
		free := run(Options{MaxNewTokens: 12}, prompts, 5)
		eos := free[0][3]
		got := run(Options{MaxNewTokens: 12, EOS: []int32{eos}}, prompts, 5)
		for i := range prompts {
			want := free[i]
			if n := slices.Index(want, eos); n >= 0 {
				want = want[:n+1]
			}
			if !slices.Equal(got[i], want) {
				t.Errorf("sequence %d: got %v, want %v", i, got[i], want)
			}
		}
	})
	t.Run("no n-gram comes twice when forbidden", func(t *testing.T) {
		out := append(slices.Clone(prompts[0]), run(Options{MaxNewTokens: 40, NoRepeatNgram: 2}, prompts[:1], 7)[0]...)
		seen := map[[2]int32]bool{}
		for i := 1; i < len(out); i++ {
			k := [2]int32{out[i-1], out[i]}
			if seen[k] {
				t.Fatalf("%v comes twice in %v", k, out)
			}
			seen[k] = true
		}
	})
	t.Run("wide beams find the most probable text", func(t *testing.T) {
		const v, n = 5, 4
		m := newToy(v, 9)
		best, want := math.Inf(-1), []int32(nil)
		var walk func(h []int32, sum float64)
		walk = func(h []int32, sum float64) {
			if len(h) == 1+n {
				if sum > best {
					best, want = sum, slices.Clone(h[1:])
				}
				return
			}
			row := slices.Clone(m.row(h))
			logSoftmax(row)
			for id := range row {
				walk(append(slices.Clone(h), int32(id)), sum+float64(row[id]))
			}
		}
		walk([]int32{2}, 0)
		out, err := Tokens(context.Background(), newToy(v, 9), [][]int32{{2}}, Options{MaxNewTokens: n, NumBeams: 125, LengthPenalty: 1}, nil)
		if err != nil || !slices.Equal(out[0], want) {
			t.Errorf("got %v, %v, want %v", out, err, want)
		}
	})
	t.Run("cancelling returns what there is", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		out, err := Tokens(ctx, newToy(11, 1), prompts[:1], Options{MaxNewTokens: 100}, func(int, int32) bool {
			if n++; n == 3 {
				cancel()
			}
			return true
		})
		if !errors.Is(err, context.Canceled) || len(out[0]) != 3 {
			t.Errorf("got %d tokens, %v, want 3 and context canceled", len(out[0]), err)
		}
	})
	t.Run("bad options are all named", func(t *testing.T) {
		err := Options{TopP: 2, Temperature: -1}.Validate()
		if err == nil || err.Error() != "generate: max_new_tokens is 0, want at least 1\ngenerate: temperature is -1, want at least 0\ngenerate: top_p is 2, want 0 to 1" {
			t.Errorf("got %v", err)
		}
	})
}

// TestNaNOptions gives every number as NaN, which compares with nothing.
func TestNaNOptions(t *testing.T) {
	nan := math.NaN()
	err := Options{MaxNewTokens: 1, Temperature: nan, TopP: nan, MinP: nan, RepetitionPenalty: nan, LengthPenalty: nan}.Validate()
	for _, key := range []string{"temperature", "top_p", "min_p", "repetition_penalty", "length_penalty"} {
		if err == nil || !strings.Contains(err.Error(), key+" is NaN") {
			t.Errorf("Validate() = %v, want an error about %s", err, key)
		}
	}
}

// TestBrokenLogits continues by models that give no numbers, and where all tokens are forbidden.
func TestBrokenLogits(t *testing.T) {
	for _, o := range []Options{{MaxNewTokens: 3}, {MaxNewTokens: 3, Temperature: 1}, {MaxNewTokens: 3, NumBeams: 2}} {
		for _, bad := range []float64{math.NaN(), math.Inf(1)} {
			m := newToy(11, 1)
			for _, row := range m.table {
				row[4] = float32(bad)
			}
			_, err := Tokens(context.Background(), m, prompts[:1], o, nil)
			if err == nil || !strings.Contains(err.Error(), "logit of token 4") {
				t.Errorf("%+v, a score of %g: %v, want an error about it", o, bad, err)
			}
		}
		o.NoRepeatNgram, o.MaxNewTokens = 1, 13 // more tokens than there are
		if out, err := Tokens(context.Background(), newToy(11, 1), prompts[:1], o, nil); err != nil || len(out[0]) != 13 {
			t.Errorf("%+v: %d tokens, %v, want 13", o, len(out[0]), err)
		}
	}
}

func TestDraw(t *testing.T) {
	logits := []float32{2, 1, 0, -1}
	share := func(o Options) (n [4]int) {
		rng := rand.New(rand.NewPCG(1, 2))
		for range 20000 {
			n[o.draw(slices.Clone(logits), rng)]++
		}
		return
	}
	// Probabilities at temperature 1: 0.644, 0.237, 0.087, 0.032. 20,000 draws: the standard deviation is below 0.0035.
	cases := []struct {
		name string
		o    Options
		want [4]float64
	}{
		{"temperature 1", Options{Temperature: 1}, [4]float64{.644, .237, .087, .032}},
		{"top-p keeps the token that crosses the border", Options{Temperature: 1, TopP: .8}, [4]float64{.731, .269, 0, 0}},
		{"min-p is relative to the best", Options{Temperature: 1, MinP: .1}, [4]float64{.665, .245, .090, 0}},
		{"low temperature sharpens", Options{Temperature: .5}, [4]float64{.865, .117, .016, .002}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := share(c.o)
			for i := range n {
				if got := float64(n[i]) / 20000; math.Abs(got-c.want[i]) > .012 {
					t.Errorf("token %d: %.3f, want %.3f", i, got, c.want[i])
				}
			}
		})
	}
}
