package metric

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// refused wants an error of this package's form.
func refused(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), "metric: ") {
		t.Errorf("%s: error is %v, want one of metric", what, err)
	}
}

func TestBadInputIsRefused(t *testing.T) {
	nan := math.NaN()
	one, two := []string{"a"}, []string{"a", "b"}
	refs := [][]string{{"a"}}
	bleu := func(set func(*BLEU)) error {
		b := NewBLEU()
		set(&b)
		_, err := b.Corpus(one, refs)
		return err
	}
	errs := map[string]func() error{
		"classes of other length": func() error { _, err := Classify([]int{1}, nil); return err },
		"no classes":              func() error { _, err := Classify(nil, nil); return err },
		"rows of other length":    func() error { _, err := ClassifyMulti([][]bool{{true}}, [][]bool{{true, false}}); return err },
		"no labels":               func() error { _, err := ClassifyMulti([][]bool{{}}, [][]bool{{}}); return err },
		"no sets of labels":       func() error { _, err := ClassifyMulti(nil, nil); return err },
		"NaN score":               func() error { _, err := ROCAUC([]bool{true}, []float64{nan}); return err },
		"no scores":               func() error { _, err := AveragePrecision(nil, nil); return err },
		"numbers of other length": func() error { _, err := Regress([]float64{1}, nil); return err },
		"confidence above 1":      func() error { _, err := Calibrate([]float64{1.5}, []bool{true}, 10); return err },
		"confidence NaN":          func() error { _, err := Calibrate([]float64{nan}, []bool{true}, 10); return err },
		"no bins":                 func() error { _, err := Calibrate([]float64{1}, []bool{true}, 0); return err },
		"nothing to calibrate":    func() error { _, err := Calibrate(nil, nil, 1); return err },
		"tags of other length":    func() error { _, err := EvaluateTags([][]string{two}, [][]string{one}, nil); return err },
		"no sentences":            func() error { _, err := EvaluateTags(nil, nil, nil); return err },
		"empty tag":               func() error { _, err := Entities([]string{"O", ""}); return err },
		"empty strict tag":        func() error { _, err := Schemes[0].Entities([]string{""}); return err },
		"unknown prefix":          func() error { _, err := Schemes[0].Entities([]string{"X-PER"}); return err },
		"unknown scheme":          func() error { _, err := SchemeNamed("IOB3"); return err },
		"question without gold":   func() error { _, err := SQuAD1([]Question{{}}); return err },
		"target beyond logits":    func() error { _, err := NLL([]float32{1}, 1); return err },
		"negative target":         func() error { _, err := NLL([]float32{1}, -1); return err },
		"BLEU: lengths":           func() error { _, err := NewBLEU().Corpus(two, refs); return err },
		"BLEU: no reference":      func() error { _, err := NewBLEU().Sentence("a", nil); return err },
		"BLEU: tokenize":          func() error { return bleu(func(b *BLEU) { b.Tokenize = "ja" }) },
		"BLEU: smooth_method":     func() error { return bleu(func(b *BLEU) { b.SmoothMethod = "" }) },
		"BLEU: smooth_value":      func() error { return bleu(func(b *BLEU) { b.SmoothMethod, b.SmoothValue = "floor", &nan }) },
		"BLEU: max_ngram_order":   func() error { return bleu(func(b *BLEU) { b.MaxNgramOrder = 0 }) },
		"BLEU: zero settings":     func() error { _, err := BLEU{}.Corpus(one, refs); return err },
		"chrF: zero settings":     func() error { _, err := CHRF{}.Corpus(one, refs); return err },
		"chrF: char_order":        func() error { _, err := CHRF{CharOrder: -1, WordOrder: 2, Beta: 1}.Corpus(one, refs); return err },
		"chrF: word_order":        func() error { _, err := CHRF{CharOrder: 6, WordOrder: -1, Beta: 1}.Corpus(one, refs); return err },
		"chrF: no segments":       func() error { _, err := NewCHRF().Corpus(nil, nil); return err },
		"TER: no reference":       func() error { _, err := TER{}.Sentence("a", nil); return err },
		"ROUGE: type":             func() error { _, err := ROUGE{Types: []string{"rouge0"}}.Score("a", "a"); return err },
		"ROUGE: no reference":     func() error { _, err := NewROUGE().ScoreMulti(nil, "a"); return err },
		"ROUGE: no segments":      func() error { _, err := NewROUGE().Corpus(nil, nil); return err },
		"interval of nothing":     func() error { _, err := MeanSample(nil).Interval(0.95, 10, 1); return err },
		"level of 95":             func() error { _, err := MeanSample([]float64{1}).Interval(95, 10, 1); return err },
		"no resamples":            func() error { _, err := MeanSample([]float64{1}).Interval(0.95, 0, 1); return err },
		"ragged segments":         func() error { _, err := Sample{Segments: [][]float64{{1}, {1, 2}}}.Interval(0.95, 1, 1); return err },
		"unpaired": func() error {
			_, err := Paired(MeanSample([]float64{1}), MeanSample([]float64{1, 2}), 10, 1)
			return err
		},
	}
	for name, f := range errs {
		refused(t, name, f())
	}
}

// TestAnyTextIsScored: no text makes a metric fail, and scores stay in their range.
func TestAnyTextIsScored(t *testing.T) {
	words := rapid.Custom(func(t *rapid.T) string {
		alphabet := []string{"a", "b", " ", "\n", "-", ".", "5", "&lt;", "天", "\xff", "İ", "Σ", "'s"}
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(alphabet), 0, 40).Draw(t, "text"), "")
	})
	rapid.Check(t, func(t *rapid.T) {
		hyp, ref := words.Draw(t, "hypothesis"), words.Draw(t, "reference")
		in := func(what string, v float64, err error, high float64) {
			if err != nil || !(v >= 0 && v <= high) {
				t.Fatalf("%s of %q and %q = %v, %v, want 0 to %g", what, hyp, ref, v, err, high)
			}
		}
		const full = 100 * (1 + tolerance)
		for _, tok := range bleuTokenizers {
			b := NewBLEU()
			b.Tokenize = tok.name
			s, err := b.Sentence(hyp, []string{ref})
			in("BLEU "+tok.name, s.Score, err, full)
		}
		c, err := NewCHRF().Sentence(hyp, []string{ref})
		in("chrF", c, err, full)
		r := TER{Normalized: true, NoPunct: true, AsianSupport: true}
		ter, err := r.Sentence(hyp, []string{ref})
		in("TER", ter, err, math.Inf(1))
		same, err := r.Sentence(hyp, []string{r.tokenize(hyp)})
		in("TER with itself", same, err, math.Inf(1))
		rouge, err := NewROUGE().Score(ref, hyp)
		for i, s := range rouge {
			in("ROUGE "+NewROUGE().Types[i], s.F1, err, 1)
		}
		in("SQuAD F1", AnswerF1V2(hyp, ref), nil, 1)
	})
}

// TestSampleIsTheScore: summing segments gives what the corpus gives.
func TestSampleIsTheScore(t *testing.T) {
	hyps, refs := []string{"a b c d e", "x y"}, [][]string{{"a b c d f"}, {"x z", "x y z"}}
	b := NewBLEU()
	b.SmoothMethod = "add-k" // adds to counts: the sum must stay as it was
	sample, err := b.Sample(hyps, refs)
	if err != nil {
		t.Fatal(err)
	}
	score, err := b.Corpus(hyps, refs)
	if err != nil {
		t.Fatal(err)
	}
	sum := sample.total()
	near(t, "first", sample.Score(sum), score.Score)
	near(t, "second", sample.Score(sum), score.Score)
}

func TestBootstrap(t *testing.T) {
	base, better := make([]float64, 200), make([]float64, 200)
	for i := range base {
		base[i] = float64(i % 10)
		better[i] = base[i] + 0.5*float64(i%3)
	}
	first, err := MeanSample(base).Interval(0.95, 2000, 1)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := MeanSample(base).Interval(0.95, 2000, 1)
	other, _ := MeanSample(base).Interval(0.95, 2000, 2)
	if first != again || first == other {
		t.Errorf("intervals of one seed are %v and %v, of another %v; want equal and different", first, again, other)
	}
	// The mean of 200 values of variance 8.25 has the standard error √(8.25/200) = 0.203; 2000 resamples give the
	// ends, 1.96 of them away, within 0.03.
	for _, end := range []struct{ got, want float64 }{{first.Low, 4.5 - 0.398}, {first.High, 4.5 + 0.398}, {first.Mean, 4.5}} {
		if math.Abs(end.got-end.want) > 0.03 {
			t.Errorf("interval is %+v, want about 4.5 ± 0.398", first)
		}
	}
	c, err := Paired(MeanSample(base), MeanSample(better), 1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if c.PValue > 0.01 || c.Wins != 1 || !(c.Low > 0.3 && c.High < 0.7) {
		t.Errorf("comparison with a system that is better by 0.5 is %+v, want it significant", c)
	}
	c, _ = Paired(MeanSample(base), MeanSample(base), 1000, 3)
	if c.PValue != 1 || c.Wins != 0.5 || c.Difference != 0 {
		t.Errorf("comparison of a system with itself is %+v, want p 1 and half of wins", c)
	}
	reversed := slices.Clone(base)
	slices.Reverse(reversed)
	c, _ = Paired(MeanSample(base), MeanSample(reversed), 1000, 3)
	if c.PValue < 0.9 {
		t.Errorf("comparison of equal means is %+v, want p near 1", c)
	}
}

func TestCalibrate(t *testing.T) {
	// Bins of width ½: (0, ½] holds 0, 0.3, 0.5 with 1 right; (½, 1] holds 0.9 and 1, both right.
	c, err := Calibrate([]float64{0.3, 0.5, 0.9, 1, 0}, []bool{false, true, true, true, false}, 2)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "ece", c.ECE, (3*math.Abs(1./3-0.8/3)+2*math.Abs(1-0.95))/5)
	near(t, "mce", c.MCE, 0.2/3)
	near(t, "brier", c.Brier, (0.09+0.25+0.01)/5)
	if c.Bins[0].Items != 3 || c.Bins[1].Items != 2 {
		t.Errorf("bins are %+v, want 3 and 2 items", c.Bins)
	}
}

func TestLossOfExtremes(t *testing.T) {
	nll, err := NLL([]float32{1e30, 0, -1e30}, 0)
	if err != nil || nll != 0 {
		t.Errorf("NLL of a certain token = %v, %v, want 0", nll, err)
	}
	var l Loss
	l.AddWeighted(math.Ln2, 0.5)
	l.Add(math.Ln2)
	near(t, "bits per token", l.BitsPerToken(), 1)
	near(t, "bits per byte", l.BitsPerByte(3), 0.5)
	if !math.IsNaN((Loss{}).PerToken()) {
		t.Error("loss per token without tokens is a number")
	}
}

// TestThresholdReachesItsScore: giving up where NullScoreDiff exceeds the best threshold scores what was promised. Ties
// would make one threshold stand for several cuts, so differences are distinct.
func TestThresholdReachesItsScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answer := rapid.SampledFrom([]string{"", "x", "y"})
		n := rapid.IntRange(1, 8).Draw(t, "questions")
		questions := make([]Question, n)
		for i := range questions {
			questions[i] = Question{Prediction: answer.Draw(t, "prediction"), NullScoreDiff: float64(i + 1)}
			if gold := answer.Draw(t, "gold"); gold != "" {
				questions[i].Golds = []string{gold}
			}
		}
		before := SQuAD2(questions)
		for i := range questions {
			if questions[i].NullScoreDiff > before.F1Threshold {
				questions[i].Prediction = ""
			}
		}
		if after := SQuAD2(questions).All.F1; math.Abs(after-before.BestF1) > tolerance*100 {
			t.Fatalf("F1 at threshold %g is %g, want %g", before.F1Threshold, after, before.BestF1)
		}
	})
}
