package report

import (
	"fmt"

	"github.com/graft-ml/graft/metric"
)

// entities is the section about tagged words.
var entities = Section{Name: "entities", Title: "Entities", Make: func(in *Input) (any, []Block, error) {
	p := in.Predictions
	if p == nil || len(p.ActualTags) == 0 {
		return nil, nil, nil
	}
	t, err := metric.EvaluateTags(p.ActualTags, p.PredictedTags, nil)
	if err != nil {
		return nil, nil, err
	}
	f1, err := t.Sample().Interval(in.level, in.Resamples, in.Seed)
	if err != nil {
		return nil, nil, err
	}
	micro := t.Averages().Micro
	v := entitiesValue{F1: micro.F1, Low: f1.Low, High: f1.High, Precision: micro.Precision, Recall: micro.Recall, Accuracy: t.Accuracy}
	table := Table{Head: []string{"type", "precision", "recall", "F1", "support"}}
	for i, name := range t.Types {
		s := t.Classes[i].PRF()
		v.Types = append(v.Types, entityType{name, s.Precision, s.Recall, s.F1, t.Classes[i].Actual})
		table.Rows = append(table.Rows, []string{name, percent(s.Precision), percent(s.Recall), percent(s.F1), fmt.Sprint(t.Classes[i].Actual)})
	}
	text := fmt.Sprintf("F1 of whole entities %s (95 %%: %s–%s), precision %s, recall %s; %s of words have the right tag.",
		percent(v.F1), percent(v.Low), percent(v.High), percent(v.Precision), percent(v.Recall), percent(v.Accuracy))
	return v, []Block{Paragraph(text), table}, nil
}}

// entitiesValue is the section in report.json.
type entitiesValue struct {
	F1        float64      `json:"f1"` // micro
	Low       float64      `json:"low"`
	High      float64      `json:"high"`
	Precision float64      `json:"precision"`
	Recall    float64      `json:"recall"`
	Accuracy  float64      `json:"accuracy"` // of words
	Types     []entityType `json:"types"`
}

type entityType struct {
	Name      string  `json:"type"`
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
	Support   int     `json:"support"`
}
