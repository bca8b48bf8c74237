package report

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/metric"
	"github.com/graft-ml/graft/task"
)

// Predictions are what a model predicts for held-out examples of an encoder's task. The fields of other tasks are empty.
type Predictions struct {
	Names   []string // of the labels
	Problem string   // what the labels of whole texts are: data.SingleLabel, MultiLabel or Regression
	Notes   []string // [examples]: what was predicted instead of what, in words; "" where it is right

	// Of classification, one of each example.
	Actual, Predicted []int
	Confidence        []float64 // probability of the predicted class

	// Of several labels, [examples][labels].
	ActualSets, PredictedSets [][]bool

	// Of regression, [examples][values].
	ActualValues, PredictedValues [][]float64

	// Of tokens, [sentences][words].
	ActualTags, PredictedTags [][]string

	// Of questions; their windows are joined.
	Questions    []metric.Question
	Unanswerable bool // some have no answer
}

// Predictor gives the scores of a batch: [segments, n] of tasks about whole sequences, else [T, n], as task.Task.Predict does.
type Predictor func(b *data.Batch) (kernel.Mat, error)

// Read has a model predict the examples of a set, which kept where they come from, and reads the predictions back.
//
//	names     of the labels, in the order of the scores
//	problem   of whole texts, else ""
func Read(ctx context.Context, set data.Set, names []string, problem string, predict Predictor) (*Predictions, error) {
	p := &Predictions{Names: names, Problem: problem, Notes: make([]string, len(set))}
	var open question
	at := 0
	for b, err := range set.Batches(microTokens) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		scores, err := predict(b)
		if err != nil {
			return nil, err
		}
		for i, s := range b.Segments {
			e, part := &set[at], scores
			if at++; e.Labels == nil {
				part = cut(scores, s.Start, s.End)
			} else {
				part = cut(scores, i, i+1)
			}
			if err := p.add(at-1, e, part, &open); err != nil {
				return nil, err
			}
		}
	}
	return p, p.close(&open)
}

// cut is a copy of rows a to b: what a model computes lives no longer than its pass.
func cut(m kernel.Mat, a, b int) kernel.Mat {
	var rows []float32
	for r := a; r < b; r++ {
		rows = append(rows, m.Data[r*m.Stride:r*m.Stride+m.Cols]...)
	}
	return kernel.NewMat(rows, b-a, m.Cols)
}

// question is the windows of a question that came so far.
type question struct {
	first   int // of the examples
	windows []data.Example
	scores  []kernel.Mat
}

// add reads the scores of example i.
func (p *Predictions) add(i int, e *data.Example, scores kernel.Mat, open *question) error {
	switch {
	case e.Answer != nil:
		if n := len(open.windows); n > 0 && open.windows[n-1].Ordinal != e.Ordinal {
			if err := p.close(open); err != nil {
				return err
			}
		}
		if len(open.windows) == 0 {
			open.first = i
		}
		open.windows, open.scores = append(open.windows, *e), append(open.scores, scores)
		return nil
	case e.Tags != nil:
		return p.addTags(i, e, scores)
	}
	if scores.Cols != len(p.Names) {
		return fmt.Errorf("report: %s: %d scores, want %d as there are labels", e.Place, scores.Cols, len(p.Names))
	}
	switch p.Problem {
	case data.MultiLabel:
		p.addSet(i, e, scores.Data)
	case data.Regression:
		p.addValues(i, e, scores.Data)
	default:
		p.addClass(i, e, scores.Data)
	}
	return nil
}

func (p *Predictions) addTags(i int, e *data.Example, scores kernel.Mat) error {
	tags, err := task.TagWords(e, scores, p.Names)
	if err != nil {
		return err
	}
	words := make([]string, len(tags))
	var wrong []string
	for k, t := range tags {
		if words[k] = t.Tag; t.Tag != e.Origin.Tags[k] {
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", e.Origin.Words[k], e.Origin.Tags[k], t.Tag))
		}
	}
	p.Notes[i] = strings.Join(wrong, "; ")
	p.ActualTags, p.PredictedTags = append(p.ActualTags, e.Origin.Tags), append(p.PredictedTags, words)
	return nil
}

func (p *Predictions) addClass(i int, e *data.Example, logits []float32) {
	best, actual := task.RankClasses(logits, p.Names)[0], int(e.Labels[0])
	if best.Label != actual {
		p.Notes[i] = fmt.Sprintf("is %s, not %s (%.2f)", p.Names[actual], best.Name, best.Probability)
	}
	p.Actual, p.Predicted, p.Confidence = append(p.Actual, actual), append(p.Predicted, best.Label), append(p.Confidence, best.Probability)
}

// LabelThreshold is the probability from which on a text has a label, where it may have several.
const LabelThreshold = 0.5

func (p *Predictions) addSet(i int, e *data.Example, logits []float32) {
	actual, predicted := make([]bool, len(logits)), make([]bool, len(logits))
	var missed, wrong []string
	for k, x := range task.Sigmoid(logits) {
		actual[k], predicted[k] = e.Labels[k] > 0.5, x >= LabelThreshold
		switch {
		case actual[k] && !predicted[k]:
			missed = append(missed, p.Names[k])
		case predicted[k] && !actual[k]:
			wrong = append(wrong, p.Names[k])
		}
	}
	if len(missed)+len(wrong) > 0 {
		p.Notes[i] = fmt.Sprintf("missed: %s; wrong: %s", listed(missed), listed(wrong))
	}
	p.ActualSets, p.PredictedSets = append(p.ActualSets, actual), append(p.PredictedSets, predicted)
}

// listed names things, or none.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (p *Predictions) addValues(i int, e *data.Example, scores []float32) {
	actual, predicted := make([]float64, len(scores)), make([]float64, len(scores))
	for k, v := range scores {
		actual[k], predicted[k] = float64(e.Labels[k]), float64(v)
	}
	p.Notes[i] = fmt.Sprintf("is %.3g, not %.3g", actual, predicted)
	p.ActualValues, p.PredictedValues = append(p.ActualValues, actual), append(p.PredictedValues, predicted)
}

// close answers the question whose windows are open.
func (p *Predictions) close(open *question) error {
	if len(open.windows) == 0 {
		return nil
	}
	golds := open.windows[0].Origin
	if golds == nil {
		return fmt.Errorf("report: %s: the example did not keep its context", open.windows[0].Place)
	}
	null := len(golds.Golds) == 0
	a, err := task.FindAnswers(open.windows, open.scores, task.AnswerOptions{Null: true})
	if err != nil {
		return err
	}
	q := metric.Question{Prediction: a.Best.Text, Golds: golds.Golds, NullScoreDiff: a.NullScoreDiff}
	if q.Prediction == "" { // no answer; kept beside it for data in which every question has one
		for _, s := range a.NBest {
			if s.Text != "" {
				q.Prediction = s.Text
				break
			}
		}
	}
	if !slices.Contains(q.Golds, q.Prediction) {
		for i := range open.windows {
			p.Notes[open.first+i] = fmt.Sprintf("answered %q, want %s", a.Best.Text, listed(q.Golds))
		}
	}
	p.Questions, p.Unanswerable = append(p.Questions, q), p.Unanswerable || null
	*open = question{}
	return nil
}
