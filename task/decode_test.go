package task

import (
	"math"
	"strings"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
)

// rows makes a matrix of rows.
func rows(list ...[]float32) kernel.Mat {
	var all []float32
	for _, r := range list {
		all = append(all, r...)
	}
	return kernel.NewMat(all, len(list), len(list[0]))
}

const tolerance = 1e-6 // of float32 logits

func TestRankClasses(t *testing.T) {
	ln := func(v float64) float32 { return float32(math.Log(v)) }
	got := RankClasses([]float32{ln(0.2), ln(0.6), ln(0.2)}, []string{"a", "b", "c"})
	for i, want := range []Prediction{{1, "b", 0.6}, {0, "a", 0.2}, {2, "c", 0.2}} {
		if got[i].Name != want.Name || got[i].Label != want.Label || math.Abs(got[i].Probability-want.Probability) > tolerance {
			t.Errorf("RankClasses()[%d] = %+v, want %+v", i, got[i], want)
		}
	}
	if p := Softmax([]float32{1000, float32(math.Inf(-1)), 1000}); p[0] != 0.5 || p[1] != 0 {
		t.Errorf("Softmax of large logits = %v, want [0.5 0 0.5]", p)
	}
}

func TestChooseLabels(t *testing.T) {
	got := ChooseLabels([]float32{0, -1, 4}, []string{"a", "b", "c"}, 0.5)
	if len(got) != 2 || got[0].Name != "a" || got[0].Probability != 0.5 || got[1].Name != "c" {
		t.Errorf("ChooseLabels() = %+v, want a with 0.5 and c", got)
	}
}

func TestTagWords(t *testing.T) {
	e := &data.Example{IDs: make([]int32, 5), Origin: &data.Origin{Words: []string{"New", "York", "é", "cut"}, Word: []int32{-1, 0, 0, 1, -1}}}
	scores := rows([]float32{9, 0, 0}, []float32{0, 3, 0}, []float32{9, 0, 0}, []float32{0, 0, 3}, []float32{9, 0, 0})
	tags, err := TagWords(e, scores, []string{"O", "B-LOC", "I-LOC"})
	if err != nil {
		t.Fatal(err)
	}
	p := math.Exp(3) / (math.Exp(3) + 2)
	for i, want := range []WordTag{{"B-LOC", p}, {"I-LOC", p}, {"O", 1}, {"O", 1}} {
		if tags[i].Tag != want.Tag || math.Abs(tags[i].Probability-want.Probability) > tolerance {
			t.Errorf("tag of word %d = %+v, want %+v", i, tags[i], want)
		}
	}
	if _, err := TagWords(e, scores, []string{"O"}); err == nil || !strings.Contains(err.Error(), "scores are [5, 3], want [5, 1]") {
		t.Errorf("TagWords with one name = %v", err)
	}
	if _, err := TagWords(&data.Example{}, scores, nil); err == nil {
		t.Error("TagWords of an example without words is no error")
	}
}

func TestFindEntities(t *testing.T) {
	text, words := JoinWords([]string{"Zürich", "und", "São", "Paulo"})
	got, err := FindEntities(text, words, []WordTag{{"B-LOC", 0.9}, {"O", 1}, {"I-LOC", 0.5}, {"I-LOC", 0.7}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != (EntitySpan{"LOC", "Zürich", 0, 6, 0, 1, 0.9}) || got[1].Text != "São Paulo" || got[1].Start != 11 || got[1].End != 20 ||
		math.Abs(got[1].Probability-0.6) > 1e-12 {
		t.Errorf("FindEntities(%q) = %+v, want Zürich at 0–6 and São Paulo at 11–20 with 0.6", text, got)
	}
	if _, err := FindEntities(text, words, nil); err == nil {
		t.Error("words without tags are no error")
	}
}

// window is a question's window over the context: [CLS] q [SEP] and a token for each byte.
func window(context string, from, to int) data.Example {
	e := data.Example{IDs: make([]int32, 3+to-from), Origin: &data.Origin{Text: context, Offsets: [][2]int32{{-1, -1}, {-1, -1}, {-1, -1}}}}
	for i := from; i < to; i++ {
		e.Origin.Offsets = append(e.Origin.Offsets, [2]int32{int32(i), int32(i + 1)})
	}
	return e
}

// starts makes scores: null for [CLS], −9 for the question, then those given as {start, end}.
func starts(null float32, context ...[]float32) kernel.Mat {
	return rows(append([][]float32{{null, 0}, {99, 99}, {99, 99}}, context...)...)
}

func TestFindAnswers(t *testing.T) {
	const context = "abcd"
	whole := []data.Example{window(context, 0, 4)}
	flat := starts(1, []float32{0, 5}, []float32{4, 0}, []float32{0, 3}, []float32{1, 2})
	for _, c := range []struct {
		name    string
		windows []data.Example
		scores  []kernel.Mat
		o       AnswerOptions
		want    string
		score   float64
		diff    float64
	}{
		{"the end is not before the start", whole, []kernel.Mat{flat}, AnswerOptions{}, "bc", 7, 0},
		{"an answer is not too long", whole, []kernel.Mat{flat}, AnswerOptions{MaxTokens: 1}, "a", 5, 0},
		{"the first of equal spans", whole, []kernel.Mat{starts(0, []float32{1, 1}, []float32{1, 1}, []float32{0, 0}, []float32{0, 0})}, AnswerOptions{}, "a", 2, 0},
		{"a span beats no answer", whole, []kernel.Mat{flat}, AnswerOptions{Null: true}, "bc", 7, -6},
		{"no answer beats the spans by more than the threshold", whole, []kernel.Mat{flat}, AnswerOptions{Null: true, NullThreshold: -6.5}, "", 1, -6},
		{"the best of all windows, the lowest null", []data.Example{window(context, 0, 2), window(context, 1, 4)},
			[]kernel.Mat{starts(20, []float32{0, 0}, []float32{0, 1}), starts(2, []float32{0, 0}, []float32{3, 0}, []float32{0, 4})}, AnswerOptions{Null: true}, "cd", 7, -5},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := FindAnswers(c.windows, c.scores, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if a.Best.Text != c.want || a.Best.Score != c.score || a.NullScoreDiff != c.diff || c.want != "" && context[a.Best.Start:a.Best.End] != c.want {
				t.Errorf("best = %+v, null diff %g, want %q of score %g, %g", a.Best, a.NullScoreDiff, c.want, c.score, c.diff)
			}
			sum := 0.0
			for i, s := range a.NBest {
				sum += s.Probability
				if i > 0 && s.Score > a.NBest[i-1].Score {
					t.Errorf("n-best %+v is not sorted", a.NBest)
				}
			}
			if math.Abs(sum-1) > 1e-12 {
				t.Errorf("probabilities sum to %g, want 1", sum)
			}
		})
	}
}

func TestAnswersCountOnce(t *testing.T) {
	windows := []data.Example{window("ab", 0, 2), window("ab", 0, 2)}
	scores := []kernel.Mat{starts(0, []float32{1, 1}, []float32{0, 0}), starts(0, []float32{2, 2}, []float32{0, 0})}
	a, err := FindAnswers(windows, scores, AnswerOptions{NBest: 5})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.NBest) != 3 || a.NBest[0].Text != "a" || a.NBest[0].Score != 4 {
		t.Errorf("n-best = %+v, want three spans, a of score 4 first", a.NBest)
	}
	for _, bad := range [][]kernel.Mat{nil, {scores[0], rows([]float32{1, 2})}, {scores[0], rows([]float32{1}, []float32{1}, []float32{1}, []float32{1}, []float32{1})}} {
		if _, err := FindAnswers(windows, bad, AnswerOptions{}); err == nil {
			t.Errorf("FindAnswers with scores %v is no error", bad)
		}
	}
}

func TestAnswersAreCharacters(t *testing.T) {
	e := data.Example{IDs: make([]int32, 2), Origin: &data.Origin{Text: "é ü", Offsets: [][2]int32{{-1, -1}, {3, 5}}}}
	a, err := FindAnswers([]data.Example{e}, []kernel.Mat{rows([]float32{0, 0}, []float32{1, 1})}, AnswerOptions{})
	if err != nil || a.Best.Text != "ü" || a.Best.Start != 2 || a.Best.End != 3 {
		t.Errorf("FindAnswers() = %+v, %v, want ü at 2 to 3", a.Best, err)
	}
}
