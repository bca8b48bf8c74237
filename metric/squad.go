package metric

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// References
//
//	[rajpurkar2016] P. Rajpurkar et al., SQuAD: 100,000+ questions for machine comprehension of text
//	[rajpurkar2018] P. Rajpurkar et al., Know what you don't know: unanswerable questions for SQuAD

// Question is a question that was answered.
type Question struct {
	Prediction string   // "" means: there is no answer
	Golds      []string // right answers, alternatives; none where there is no answer (version 2)

	// NullScoreDiff is how much the model prefers "no answer" to its prediction: score of null minus best other score.
	NullScoreDiff float64
}

// Answers are the scores of questions.
type Answers struct {
	Exact float64 // percentage whose normalised answers agree
	F1    float64 // mean overlap of words, in percent
	Total int     // questions; 0 have scores 0
}

// SQuAD1 scores questions as version 1.1 does: the best over the gold answers, and an empty prediction overlaps with
// nothing [rajpurkar2016].
func SQuAD1(questions []Question) (Answers, error) {
	var a Answers
	for i, q := range questions {
		if len(q.Golds) == 0 {
			return a, fmt.Errorf("metric: question %d has no gold answer, want at least 1 (version 2 knows questions without)", i)
		}
		a.add(best(q.Prediction, q.Golds, AnswerF1))
	}
	return a.percent(), nil
}

// Unanswerable are the scores of version 2, where some questions have no answer.
type Unanswerable struct {
	All, HasAns, NoAns Answers
	BestExact, BestF1  float64 // percentage at the best threshold of NullScoreDiff
	ExactThreshold     float64
	F1Threshold        float64
}

// SQuAD2 scores questions as version 2.0 does [rajpurkar2018]: predictions as they are, and, in Best…, with those
// replaced by "no answer" whose NullScoreDiff exceeds the threshold that suits the questions best.
func SQuAD2(questions []Question) Unanswerable {
	var u Unanswerable
	exact, f1 := make([]float64, len(questions)), make([]float64, len(questions))
	for i, q := range questions {
		exact[i], f1[i] = best(q.Prediction, q.answers(), AnswerF1V2)
		group := &u.NoAns
		if len(q.Golds) > 0 {
			group = &u.HasAns
		}
		group.add(exact[i], f1[i])
		u.All.add(exact[i], f1[i])
	}
	u.All, u.HasAns, u.NoAns = u.All.percent(), u.HasAns.percent(), u.NoAns.percent()
	u.BestExact, u.ExactThreshold = bestThreshold(questions, exact)
	u.BestF1, u.F1Threshold = bestThreshold(questions, f1)
	return u
}

// bestThreshold starts with "no answer" everywhere and goes through the questions from the surest on, letting one after
// the other keep its prediction.
func bestThreshold(questions []Question, scores []float64) (best, threshold float64) {
	order := make([]int, len(questions))
	score := 0.0
	for i, q := range questions {
		order[i] = i
		score += float64(count(len(q.Golds) == 0))
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Compare(questions[i].NullScoreDiff, questions[j].NullScoreDiff)
	})
	best = score
	for _, i := range order {
		switch q := questions[i]; {
		case len(q.Golds) > 0:
			score += scores[i]
		case q.Prediction != "":
			score--
		}
		if score > best {
			best, threshold = score, questions[i].NullScoreDiff
		}
	}
	return ratio(100*best, float64(len(questions))), threshold
}

// answers are the gold answers of version 2: those that normalise to nothing count only if all do.
func (q Question) answers() []string {
	golds := slices.DeleteFunc(slices.Clone(q.Golds), func(g string) bool { return NormalizeAnswer(g) == "" })
	if len(golds) == 0 {
		return []string{""}
	}
	return golds
}

// best is the best exact match and the best F1 over the gold answers.
func best(prediction string, golds []string, f1 func(prediction, gold string) float64) (exact, overlap float64) {
	for _, g := range golds {
		exact = max(exact, float64(count(ExactMatch(prediction, g))))
		overlap = max(overlap, f1(prediction, g))
	}
	return exact, overlap
}

func (a *Answers) add(exact, f1 float64) {
	a.Exact += exact
	a.F1 += f1
	a.Total++
}

func (a Answers) percent() Answers {
	n := float64(a.Total)
	return Answers{ratio(100*a.Exact, n), ratio(100*a.F1, n), a.Total}
}

// ExactMatch tells whether two answers are the same once normalised.
func ExactMatch(prediction, gold string) bool {
	return NormalizeAnswer(prediction) == NormalizeAnswer(gold)
}

// AnswerF1 is the overlap of the words of two normalised answers, in [0, 1], by version 1.1: 0 where either is empty.
func AnswerF1(prediction, gold string) float64 {
	p, g := strings.Fields(NormalizeAnswer(prediction)), strings.Fields(NormalizeAnswer(gold))
	left := map[string]int{}
	for _, w := range g {
		left[w]++
	}
	c := Counts{Predicted: len(p), Actual: len(g)}
	for _, w := range p {
		if left[w] > 0 {
			left[w]--
			c.Correct++
		}
	}
	return c.PRF().F1
}

// AnswerF1V2 is AnswerF1 by version 2.0: two empty answers agree.
func AnswerF1V2(prediction, gold string) float64 {
	if NormalizeAnswer(prediction) == "" && NormalizeAnswer(gold) == "" {
		return 1
	}
	return AnswerF1(prediction, gold)
}

// NormalizeAnswer lowers the case and removes ASCII punctuation, the articles a, an, the, and superfluous space.
func NormalizeAnswer(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)) {
			return -1
		}
		return r
	}, lower(s))
	var b strings.Builder
	for s != "" {
		n := run(s)
		switch word := s[:n]; word {
		case "a", "an", "the":
			b.WriteByte(' ')
		default:
			b.WriteString(word)
		}
		s = s[n:]
	}
	return squeeze(b.String())
}

// run is the length of the run of letters and digits, or of others, that s begins with.
func run(s string) int {
	first := true
	kind := false
	for i, r := range s {
		if first {
			first, kind = false, isWord(r)
		} else if isWord(r) != kind {
			return i
		}
	}
	return len(s)
}
