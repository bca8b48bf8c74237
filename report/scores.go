package report

import (
	"math"

	"github.com/graft-ml/graft/metric"
)

// Score is a figure by which a task is judged, in [0, 1] where it is a share.
type Score struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Scores are the figures by which predictions are judged, the chief one first; those that are not defined are left out.
func (p *Predictions) Scores() (list []Score, err error) {
	for _, of := range []func(*Predictions) ([]Score, error){classScores, setScores, valueScores, tagScores, answerScores} {
		part, err := of(p)
		if err != nil {
			return nil, err
		}
		for _, s := range part {
			if !math.IsNaN(s.Value) && !math.IsInf(s.Value, 0) {
				list = append(list, s)
			}
		}
	}
	return list, nil
}

func classScores(p *Predictions) ([]Score, error) {
	if len(p.Actual) == 0 {
		return nil, nil
	}
	c, err := metric.Classify(p.Actual, p.Predicted)
	if err != nil {
		return nil, err
	}
	return []Score{{"accuracy", c.Accuracy()}, {"macro_f1", c.Averages().Macro.F1}, {"matthews", c.Matthews()}}, nil
}

func setScores(p *Predictions) ([]Score, error) {
	if len(p.ActualSets) == 0 {
		return nil, nil
	}
	m, err := metric.ClassifyMulti(p.ActualSets, p.PredictedSets)
	if err != nil {
		return nil, err
	}
	a := m.Averages()
	return []Score{{"micro_f1", a.Micro.F1}, {"macro_f1", a.Macro.F1}, {"subset_accuracy", m.SubsetAccuracy}}, nil
}

func valueScores(p *Predictions) (list []Score, err error) {
	if len(p.ActualValues) == 0 {
		return nil, nil
	}
	for k, name := range p.Names {
		r, err := metric.Regress(column(p.ActualValues, k), column(p.PredictedValues, k))
		if err != nil {
			return nil, err
		}
		end := ""
		if len(p.Names) > 1 {
			end = "_" + name
		}
		list = append(list, Score{"mse" + end, r.MSE}, Score{"pearson" + end, r.Pearson}, Score{"spearman" + end, r.Spearman})
	}
	return list, nil
}

func tagScores(p *Predictions) ([]Score, error) {
	if len(p.ActualTags) == 0 {
		return nil, nil
	}
	t, err := metric.EvaluateTags(p.ActualTags, p.PredictedTags, nil)
	if err != nil {
		return nil, err
	}
	m := t.Averages().Micro
	return []Score{{"f1", m.F1}, {"precision", m.Precision}, {"recall", m.Recall}}, nil
}

func answerScores(p *Predictions) ([]Score, error) {
	if len(p.Questions) == 0 {
		return nil, nil
	}
	if p.Unanswerable {
		u := metric.SQuAD2(decided(p.Questions))
		return []Score{{"f1", u.All.F1 / 100}, {"exact", u.All.Exact / 100}}, nil
	}
	a, err := metric.SQuAD1(p.Questions)
	if err != nil {
		return nil, err
	}
	return []Score{{"f1", a.F1 / 100}, {"exact", a.Exact / 100}}, nil
}
