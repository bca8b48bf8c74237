package data

import (
	"math"
	"reflect"
	"slices"
	"testing"
)

// words is an example of n tokens in words of per tokens, between two special ones.
func words(n, per int) Example {
	e := Example{IDs: []int32{1}, Words: []int32{-1}}
	for i := range n {
		e.IDs, e.Words = append(e.IDs, int32(100+i)), append(e.Words, int32(i/per))
	}
	e.IDs, e.Words = append(e.IDs, 2), append(e.Words, -1)
	return e
}

const maskID = 3

func TestMaskingHidesWhatItSays(t *testing.T) {
	for _, whole := range []bool{false, true} {
		m := &Masking{Mask: maskID, Vocabulary: 50, Probability: 0.2, WholeWord: whole}
		var hidden, other, kept int
		for epoch := range 50 {
			e := words(300, 3)
			x := m.pick(Set{e}, []int32{0}, epoch)[0]
			targets := 0
			for i, tag := range x.Tags {
				switch {
				case tag == NoTarget && x.IDs[i] != e.IDs[i], tag != NoTarget && tag != e.IDs[i], tag != NoTarget && e.Words[i] < 0:
					t.Fatalf("token %d: id %d, target %d, was %d in word %d", i, x.IDs[i], tag, e.IDs[i], e.Words[i])
				case tag == NoTarget:
					continue
				case x.IDs[i] == maskID:
					hidden++
				case x.IDs[i] == e.IDs[i]:
					kept++
				default:
					other++
				}
				targets++
				if whole && (x.Tags[i-i%3+1] == NoTarget && i%3 != 0) {
					t.Fatalf("token %d is hidden without its word", i)
				}
			}
			if targets != 60 {
				t.Fatalf("whole words %v, epoch %d: %d targets of 300 tokens, want a fifth", whole, epoch, targets)
			}
		}
		all := float64(hidden + other + kept)
		for _, p := range []struct {
			what      string
			n         int
			want, far float64 // five standard deviations of 3000 draws
		}{{"the mask", hidden, 0.8, 0.037}, {"another token", other, 0.1, 0.028}, {"as it was", kept, 0.1, 0.028}} {
			if got := float64(p.n) / all; math.Abs(got-p.want) > p.far {
				t.Errorf("whole words %v: %s in %.3f of the cases, want %.1f", whole, p.what, got, p.want)
			}
		}
	}
}

func TestMaskingHidesWholeWordsOnly(t *testing.T) {
	m := &Masking{Mask: maskID, Vocabulary: 50, WholeWord: true}
	for epoch := range 100 {
		x := m.pick(Set{words(40, 4)}, []int32{0}, epoch)[0]
		for w := 1; w < 41; w += 4 {
			n := 0
			for _, tag := range x.Tags[w : w+4] {
				if tag != NoTarget {
					n++
				}
			}
			if n != 0 && n != 4 {
				t.Fatalf("epoch %d: %d of 4 tokens of the word at %d are hidden: %v", epoch, n, w, x.Tags)
			}
		}
	}
}

func TestMaskingHidesAtLeastOne(t *testing.T) {
	m := &Masking{Mask: maskID, Vocabulary: 50, WholeWord: true}
	for _, e := range []Example{words(1, 1), words(3, 3)} {
		if x := m.Set(Set{e})[0]; x.Targets() != len(e.IDs)-2 {
			t.Errorf("%d targets of one word of %d tokens", x.Targets(), len(e.IDs)-2)
		}
	}
}

func TestMaskingIsAnewInEachEpochAndTheSameAgain(t *testing.T) {
	set := Set{words(40, 2), words(40, 2), words(40, 2)}
	walk := func(from Position) (all []*Batch) {
		s, err := NewStream(set, Schedule{BatchSize: 1, Seed: 7, Masking: &Masking{Mask: maskID, Vocabulary: 50, Seed: 7}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Seek(from); err != nil {
			t.Fatal(err)
		}
		for s.Position().Epoch < 2 {
			step, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, step.Batches...)
		}
		return all
	}
	all := walk(Position{})
	if again := walk(Position{Epoch: 1, Index: 1}); !reflect.DeepEqual(again, all[4:]) {
		t.Error("a stream that starts in the middle masks otherwise")
	}
	for i := range all {
		for j := range i {
			if slices.Equal(all[i].Tokens, all[j].Tokens) {
				t.Errorf("batches %d and %d are masked alike", j, i)
			}
		}
	}
}

func TestMaskedTextKeepsWordsAndWindows(t *testing.T) {
	for _, c := range []struct {
		name  string
		s     Settings
		ids   []string
		words [][]int32
	}{
		{"whole", Settings{}, []string{"[abcde]"}, [][]int32{{-1, 0, 0, 0, 0, 0, -1}}},
		{"windows", Settings{SequenceLen: 5, Stride: 1}, []string{"[abc]", "[cde]"}, [][]int32{{-1, 0, 0, 0, -1}, {-1, 0, 0, 0, -1}}},
		{"truncated", Settings{SequenceLen: 5, Overlong: "truncate"}, []string{"[abc]"}, [][]int32{{-1, 0, 0, 0, -1}}},
		{"end to end", Settings{SequenceLen: 4, Concatenate: true}, []string{"[abc", "de]"}, [][]int32{{-1, 0, 0, 0}, {0, 0, -1}}},
	} {
		c.s.Task = "masked-lm"
		set, _, err := supervised(t, c.s, `{"text": "ab cde"}`)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var ids []string
		var words [][]int32
		for _, e := range set {
			b := make([]byte, len(e.IDs))
			for i, id := range e.IDs {
				b[i] = byte(id)
			}
			ids, words = append(ids, string(b)), append(words, e.Words)
		}
		if !reflect.DeepEqual(ids, c.ids) || !reflect.DeepEqual(words, c.words) {
			t.Errorf("%s: %q %v, want %q %v", c.name, ids, words, c.ids, c.words)
		}
	}
}
