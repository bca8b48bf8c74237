package report

import (
	"math"
	"strings"
	"testing"

	"github.com/graft-ml/graft/metric"
)

// TestTextsSection holds the section to the metrics' own figures.
func TestTextsSection(t *testing.T) {
	in := input()
	in.Texts = &Texts{Prompts: []string{"one", "two\nlines", "three"}, Wanted: [][]string{{"the cat sat on the mat", "a cat sat there"}, {"it rains"}, {"he ran home fast"}},
		Tuned: []string{"the cat sat on the mat", "it  rains", "he goes home"}, Base: []string{"x", "it rains", "y"}}
	var v textsValue
	out := section(t, in, "texts", &v)
	bleu, err := metric.NewBLEU().Corpus(in.Texts.Tuned, in.Texts.Wanted)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"bleu": bleu.Score, "rouge_l": 100 * (1 + 1 + 2*2.0/7) / 3, "exact": 200.0 / 3}
	if len(v.Scores) != 4 || v.Texts != 3 || v.Signature != bleu.Signature {
		t.Fatalf("texts = %+v, want 3 of signature %s with 4 scores", v, bleu.Signature)
	}
	for _, s := range v.Scores {
		if w, ok := want[s.Name]; ok && math.Abs(s.Value-w) > 1e-9 {
			t.Errorf("%s is %g, want %g", s.Name, s.Value, w)
		}
		if !(s.Low <= s.Value && s.Value <= s.High) || s.Base == nil || math.Abs(s.Difference.Value-(s.Value-*s.Base)) > 1e-9 {
			t.Errorf("%s: %+v, want an interval and a difference", s.Name, s)
		}
	}
	for _, text := range []string{"| BLEU |", "| exact match | 66.7 |", "| prompt | two ⏎ lines |", "| wanted | it rains |"} {
		if !strings.Contains(out["report.md"], text) {
			t.Errorf("report.md lacks %q:\n%s", text, out["report.md"])
		}
	}
	scores, err := in.Texts.Scores()
	if err != nil || len(scores) != 4 || scores[0] != (Score{"bleu", v.Scores[0].Value}) {
		t.Errorf("Scores() = %v, %v", scores, err)
	}
	in.Texts.Base = in.Texts.Base[:1]
	if _, err := Build(in); err == nil || !strings.Contains(err.Error(), "report: texts") {
		t.Errorf("a text less of the base: %v", err)
	}
}

// TestTextMeasures says which figures mean something in which script.
func TestTextMeasures(t *testing.T) {
	for _, x := range []struct{ text, tokenize, scores string }{
		{"The cat sat on the mat, and then it slept.", "13a", "bleu chrf rouge_l"},
		{"a cat", "13a", "bleu chrf rouge_l exact"},
		{"猫在 mat 上睡觉。", "zh", "bleu chrf rouge_l exact"},
		{"猫在垫子上睡觉。", "zh", "bleu chrf exact"},
		{"猫はマットの上で寝ています。", "char", "bleu chrf exact"},
		{"Кошка спит на коврике, а собака лежит рядом.", "13a", "bleu chrf"},
		{"고양이가 잔다", "13a", "bleu chrf exact"},
	} {
		w := [][]string{{x.text}}
		if got := bleuFor(w).Tokenize; got != x.tokenize {
			t.Errorf("%s: tokenize %s, want %s", x.text, got, x.tokenize)
		}
		texts := Texts{Prompts: []string{""}, Wanted: w, Tuned: []string{x.text}}
		list, err := texts.Scores()
		var names []string
		for _, s := range list {
			names = append(names, s.Name)
			if s.Value < 100-1e-9 && s.Name != "bleu" { // of fewer than four words
				t.Errorf("%s: %s of itself is %g, want 100", x.text, s.Name, s.Value)
			}
		}
		if got := strings.Join(names, " "); err != nil || got != x.scores {
			t.Errorf("%s: scores %s (%v), want %s", x.text, got, err, x.scores)
		}
	}
}
