package report

import (
	"context"
	"fmt"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/metric"
	"github.com/graft-ml/graft/task"
)

// Predictions are what a model predicts for held-out examples of an encoder's task. The fields of other tasks are empty.
type Predictions struct {
	Names []string // of the labels

	// Of classification, one of each example.
	Actual, Predicted []int
	Confidence        []float64 // probability of the predicted class

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
//	names   of the labels, in the order of the scores
func Read(ctx context.Context, set data.Set, names []string, predict Predictor) (*Predictions, error) {
	p := &Predictions{Names: names}
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
			if err := p.add(e, part, &open); err != nil {
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
	windows []data.Example
	scores  []kernel.Mat
}

// add reads the scores of one example.
func (p *Predictions) add(e *data.Example, scores kernel.Mat, open *question) error {
	switch {
	case e.Answer != nil:
		if n := len(open.windows); n > 0 && open.windows[n-1].Ordinal != e.Ordinal {
			if err := p.close(open); err != nil {
				return err
			}
		}
		open.windows, open.scores = append(open.windows, *e), append(open.scores, scores)
	case e.Tags != nil:
		tags, err := task.TagWords(e, scores, p.Names)
		if err != nil {
			return err
		}
		words := make([]string, len(tags))
		for i, t := range tags {
			words[i] = t.Tag
		}
		p.ActualTags, p.PredictedTags = append(p.ActualTags, e.Origin.Tags), append(p.PredictedTags, words)
	case len(e.Labels) == 1 && len(p.Names) > 1:
		if scores.Cols != len(p.Names) {
			return fmt.Errorf("report: %s: %d scores, want %d as there are labels", e.Place, scores.Cols, len(p.Names))
		}
		best := task.RankClasses(scores.Data, p.Names)[0]
		p.Actual, p.Predicted, p.Confidence = append(p.Actual, int(e.Labels[0])), append(p.Predicted, best.Label), append(p.Confidence, best.Probability)
	}
	return nil
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
	p.Questions, p.Unanswerable = append(p.Questions, q), p.Unanswerable || null
	*open = question{}
	return nil
}
