package task

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
)

// AnswerOptions say which spans may be answers.
type AnswerOptions struct {
	MaxTokens int  // of an answer; 0 = 30, as SQuAD's scripts have it
	NBest     int  // spans that are kept; 0 = 20
	Null      bool // the question may have no answer
	// NullThreshold: there is no answer if its score exceeds the best span's by more than this.
	NullThreshold float64
}

// AnswerSpan is a part of the context.
type AnswerSpan struct {
	Text        string  `json:"text"` // "" = there is no answer
	Start       int     `json:"start"`
	End         int     `json:"end"`         // characters of the context
	Score       float64 `json:"score"`       // of its first token as start and its last as end
	Probability float64 `json:"probability"` // among those that were kept
	from, to    int32   // bytes
}

// Answers are what a model answers to a question.
type Answers struct {
	Best  AnswerSpan   // the answer; without text if there is none
	NBest []AnswerSpan // spans and, if Null, the absence of an answer, from the best on
	// NullScoreDiff is the score of no answer less that of the best span; 0 unless Null.
	NullScoreDiff float64
}

// FindAnswers searches all windows of a question for the spans with the best scores. A span found in two windows counts
// once, with its better score. The score of no answer is the lowest of all windows: one that sees the answer denies it.
//
//	windows          of one question, with their Origin
//	scores [T, 2]    of each window: as start, as end
func FindAnswers(windows []data.Example, scores []kernel.Mat, o AnswerOptions) (Answers, error) {
	o.MaxTokens, o.NBest = cmp.Or(o.MaxTokens, 30), cmp.Or(o.NBest, 20)
	if len(windows) == 0 || len(windows) != len(scores) {
		return Answers{}, fmt.Errorf("task: %d windows with %d scores, want as many, at least one", len(windows), len(scores))
	}
	var spans []AnswerSpan
	null := math.Inf(1)
	for i := range windows {
		w, m := &windows[i], scores[i]
		if w.Origin == nil || len(w.Origin.Offsets) != m.Rows || m.Cols != 2 || m.Rows == 0 {
			return Answers{}, fmt.Errorf("task: %s: scores are [%d, %d], want [%d, 2] for an example that kept its context", w.Place, m.Rows, m.Cols, len(w.IDs))
		}
		null = min(null, float64(row(m, 0)[0])+float64(row(m, 0)[1]))
		spans = keepBest(append(spans, spansOf(w.Origin.Offsets, m, o)...), o.NBest)
	}
	return o.choose(spans, null, windows[0].Origin.Text), nil
}

// spansOf are the spans of a window, by start and end.
func spansOf(offsets [][2]int32, m kernel.Mat, o AnswerOptions) (spans []AnswerSpan) {
	for s := range offsets {
		if offsets[s][0] < 0 {
			continue
		}
		start := float64(row(m, s)[0])
		for e := s; e < min(s+o.MaxTokens, len(offsets)) && offsets[e][0] >= 0; e++ {
			spans = append(spans, AnswerSpan{Score: start + float64(row(m, e)[1]), from: offsets[s][0], to: offsets[e][1]})
		}
	}
	return spans
}

// keepBest sorts spans by falling score, equal ones in their order, and keeps the first n of different places.
func keepBest(spans []AnswerSpan, n int) []AnswerSpan {
	slices.SortStableFunc(spans, func(a, b AnswerSpan) int { return cmp.Compare(b.Score, a.Score) })
	var kept []AnswerSpan
	for _, s := range spans {
		if len(kept) == n {
			break
		}
		if !slices.ContainsFunc(kept, func(k AnswerSpan) bool { return k.from == s.from && k.to == s.to }) {
			kept = append(kept, s)
		}
	}
	return kept
}

// choose decides between the best span and none, and makes probabilities of the scores.
func (o AnswerOptions) choose(spans []AnswerSpan, null float64, context string) (a Answers) {
	for i := range spans {
		s := &spans[i]
		s.Text = context[s.from:s.to]
		s.Start = utf8.RuneCountInString(context[:s.from])
		s.End = s.Start + utf8.RuneCountInString(s.Text)
	}
	a.NBest = spans
	if o.Null {
		if a.NullScoreDiff = math.Inf(1); len(spans) > 0 {
			a.NullScoreDiff = null - spans[0].Score
		}
		a.NBest = slices.Clone(spans)
		at, _ := slices.BinarySearchFunc(spans, null, func(s AnswerSpan, v float64) int { return cmp.Compare(v, s.Score) })
		a.NBest = slices.Insert(a.NBest, at, AnswerSpan{Score: null})
	}
	values := make([]float64, len(a.NBest))
	for i, s := range a.NBest {
		values[i] = s.Score
	}
	for i, p := range softmax(values) {
		a.NBest[i].Probability = p
	}
	for _, s := range a.NBest {
		if isNull := s.Text == ""; isNull == (o.Null && a.NullScoreDiff > o.NullThreshold) {
			a.Best = s
			break
		}
	}
	return a
}
