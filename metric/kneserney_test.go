package metric

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// kneserNey is the finished model of some sequences.
func kneserNey(t interface{ Fatal(...any) }, order, vocab int, sequences ...[]int32) *KneserNey {
	m, err := NewKneserNey(order, vocab)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sequences {
		if err := m.Add(s, nil); err != nil {
			t.Fatal(err)
		}
	}
	m.Finish()
	return m
}

// TestKneserNeyByHand: of ab, ab, ac, bc the pairs occur ab 2, ac 1, bc 1 times, and b, c follow 1, 2 tokens. Counts of
// 3 are missing, so discounts are ½, 1, 1½. Single tokens: γ = (½+1)/3 = ½ over the uniform ⅓.
func TestKneserNeyByHand(t *testing.T) {
	const a, b, c = 0, 1, 2
	m := kneserNey(t, 2, 3, []int32{a, b}, []int32{a, b}, []int32{a, c}, []int32{b, c})
	for _, w := range []struct {
		name    string
		context []int32
		token   int32
		want    float64
	}{
		{"a alone", []int32{c}, a, 1. / 6},          // ½·⅓
		{"b alone", []int32{c}, b, 1. / 3},          // (1−½)/3 + ⅙
		{"c alone", []int32{c}, c, 1. / 2},          // (2−1)/3 + ⅙
		{"b after a", []int32{a}, b, 1. / 2},        // (2−1)/3 + ½·⅓
		{"c after a", []int32{b, c, a}, c, 5. / 12}, // (1−½)/3 + ½·½
		{"a after a", []int32{a}, a, 1. / 12},       // ½·⅙
		{"c after b", []int32{b}, c, 3. / 4},        // (1−½)/1 + ½·½
		{"a at the start", nil, a, 1. / 6},          // no first token was a target
	} {
		got, err := m.Prob(w.context, w.token)
		if err != nil {
			t.Fatal(err)
		}
		near(t, w.name, got, w.want)
	}
	loss, err := m.Loss([]int32{a, b, c}, nil)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "loss of abc", loss.Sum, math.Log(2)+math.Log(4./3))
	near(t, "targets of abc", loss.Weight, 2)
	weighted, err := m.Loss([]int32{a, b, c}, []float32{0, 0, 0.5})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "weighted loss", weighted.PerToken(), math.Log(4./3))
}

// TestKneserNeyTargets: what is no target is context only.
func TestKneserNeyTargets(t *testing.T) {
	m, err := NewKneserNey(3, 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Add([]int32{0, 1, 2, 3}, []float32{0, 0, 0, 1}); err != nil {
		t.Fatal(err)
	}
	m.Finish()
	// The only n-grams are 3, 23, 123, each once: ½ at every order, over ¼.
	p, err := m.Prob([]int32{0, 1, 2}, 3)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "p(3|12)", p, 0.5+0.5*(0.5+0.5*(0.5+0.5*0.25)))
	if p, err = m.Prob([]int32{1}, 2); err != nil {
		t.Fatal(err)
	}
	near(t, "p(2|1)", p, 0.5*0.25)
}

func TestDiscounts(t *testing.T) {
	for _, c := range []struct {
		n    [4]int64
		want [3]float64
	}{
		{[4]int64{10, 4, 3, 2}, [3]float64{5. / 9, 3. / 4, 41. / 27}}, // Y = 10/18
		{[4]int64{10, 4, 0, 2}, [3]float64{0.5, 1, 1.5}},              // no n-gram occurs 3 times
		{[4]int64{10, 1, 90, 2}, [3]float64{0.5, 1, 1.5}},             // D₂ would be below 0
		{[4]int64{}, [3]float64{0.5, 1, 1.5}},
	} {
		got := discounts(c.n)
		nearAll(t, "discounts", got[:], c.want[:])
	}
}

func TestKneserNeySumsToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vocab := rapid.IntRange(1, 6).Draw(t, "vocab")
		order := rapid.IntRange(1, 4).Draw(t, "order")
		sequence := rapid.SliceOfN(rapid.Int32Range(0, int32(vocab)-1), 0, 30)
		sequences := rapid.SliceOfN(sequence, 0, 8).Draw(t, "sequences")
		m := kneserNey(t, order, vocab, sequences...)
		slices.Reverse(sequences)
		reversed := kneserNey(t, order, vocab, sequences...)
		context := sequence.Draw(t, "context")
		sum := 0.0
		for w := range int32(vocab) {
			p, err := m.Prob(context, w)
			q, err2 := reversed.Prob(context, w)
			if err != nil || err2 != nil || !(p > 0) || p != q {
				t.Fatalf("Prob(%v, %d) = %v, %v, and %v, %v from the sequences reversed, want equal and above 0", context, w, p, err, q, err2)
			}
			sum += p
		}
		if math.Abs(sum-1) > tolerance {
			t.Fatalf("probabilities after %v sum to %v, want 1", context, sum)
		}
	})
}

func TestKneserNeyRefuses(t *testing.T) {
	m, _ := NewKneserNey(2, 3)
	refused(t, "a token beyond the vocabulary", m.Add([]int32{0, 3}, nil))
	refused(t, "a weight too few", m.Add([]int32{0, 1}, []float32{1}))
	_, err := m.Prob(nil, 0)
	refused(t, "use before Finish", err)
	_, err = m.Loss([]int32{0}, nil)
	refused(t, "use before Finish", err)
	m.Finish()
	refused(t, "Add after Finish", m.Add([]int32{0, 1}, nil))
	_, err = m.Prob(nil, -1)
	refused(t, "a negative token", err)
	_, err = m.Loss([]int32{7}, nil)
	refused(t, "a token beyond the vocabulary", err)
	_, err = NewKneserNey(0, 3)
	refused(t, "order 0", err)
	_, err = NewKneserNey(2, 0)
	refused(t, "no vocabulary", err)
}

func BenchmarkKneserNey(b *testing.B) {
	const tokens = 10_000
	ids := make([]int32, tokens)
	for i := range ids {
		ids[i] = int32(i * i % 509 % 97)
	}
	m := kneserNey(b, 5, 97, ids)
	for b.Loop() {
		if _, err := m.Loss(ids, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*tokens/b.Elapsed().Seconds(), "tokens/s")
}
