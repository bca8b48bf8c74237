package report

import (
	"fmt"

	"github.com/graft-ml/graft/metric"
)

// answers is the section about questions.
var answers = Section{Name: "answers", Title: "Answers", Make: func(in *Input) (any, []Block, error) {
	p := in.Predictions
	if p == nil || len(p.Questions) == 0 {
		return nil, nil, nil
	}
	v := answersValue{Questions: len(p.Questions)}
	t := Table{Head: []string{"questions", "number", "exact", "F1"}}
	row := func(name string, a metric.Answers) {
		t.Rows = append(t.Rows, []string{name, fmt.Sprint(a.Total), fmt.Sprintf("%.1f %%", a.Exact), fmt.Sprintf("%.1f %%", a.F1)})
	}
	overlap := metric.AnswerF1
	if p.Unanswerable {
		u := metric.SQuAD2(decided(p.Questions))
		v.Exact, v.F1, v.BestF1, v.Threshold = u.All.Exact, u.All.F1, u.BestF1, u.F1Threshold
		row("all", u.All)
		row("with an answer", u.HasAns)
		row("without", u.NoAns)
		overlap = metric.AnswerF1V2
	} else {
		a, err := metric.SQuAD1(p.Questions)
		if err != nil {
			return nil, nil, err
		}
		v.Exact, v.F1 = a.Exact, a.F1
		row("all", a)
	}
	i, err := metric.MeanSample(overlaps(p, overlap)).Interval(in.level, in.Resamples, in.Seed)
	if err != nil {
		return nil, nil, err
	}
	v.Low, v.High = 100*i.Low, 100*i.High
	return v, []Block{t, Paragraph(fmt.Sprintf("The 95 %% interval of F1 is %.1f–%.1f %%.", v.Low, v.High))}, nil
}}

// answersValue is the section in report.json, in percent.
type answersValue struct {
	Questions int     `json:"questions"`
	Exact     float64 `json:"exact"`
	F1        float64 `json:"f1"`
	Low       float64 `json:"low"` // of F1
	High      float64 `json:"high"`
	BestF1    float64 `json:"best_f1,omitempty"` // at the best threshold of the null score
	Threshold float64 `json:"best_f1_threshold,omitempty"`
}

// decided leaves questions unanswered whose null score is the better one.
func decided(list []metric.Question) []metric.Question {
	out := make([]metric.Question, len(list))
	for i, q := range list {
		if out[i] = q; q.NullScoreDiff > 0 {
			out[i].Prediction = ""
		}
	}
	return out
}

// overlaps is the F1 of each question, in [0, 1].
func overlaps(p *Predictions, f1 func(prediction, gold string) float64) []float64 {
	list := p.Questions
	if p.Unanswerable {
		list = decided(list)
	}
	out := make([]float64, len(list))
	for i, q := range list {
		golds := q.Golds
		if len(golds) == 0 {
			golds = []string{""}
		}
		for _, g := range golds {
			out[i] = max(out[i], f1(q.Prediction, g))
		}
	}
	return out
}
