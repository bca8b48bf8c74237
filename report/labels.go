package report

import (
	"fmt"

	"github.com/graft-ml/graft/metric"
)

// labels is the section about texts that may have several labels.
var labels = Section{Name: "labels", Title: "Labels", Make: func(in *Input) (any, []Block, error) {
	p := in.Predictions
	if p == nil || len(p.ActualSets) == 0 {
		return nil, nil, nil
	}
	m, err := metric.ClassifyMulti(p.ActualSets, p.PredictedSets)
	if err != nil {
		return nil, nil, err
	}
	f1, err := setSample(p).Interval(in.level, in.Resamples, in.Seed)
	if err != nil {
		return nil, nil, err
	}
	a := m.Averages()
	v := labelsValue{MicroF1: a.Micro.F1, Low: f1.Low, High: f1.High, MacroF1: a.Macro.F1, SubsetAccuracy: m.SubsetAccuracy, HammingLoss: m.HammingLoss}
	t := Table{Head: []string{"label", "precision", "recall", "F1", "support"}}
	for k, name := range p.Names {
		s := m.Labels[k].PRF()
		v.Labels = append(v.Labels, entityType{name, s.Precision, s.Recall, s.F1, m.Labels[k].Actual})
		t.Rows = append(t.Rows, []string{name, percent(s.Precision), percent(s.Recall), percent(s.F1), fmt.Sprint(m.Labels[k].Actual)})
	}
	text := fmt.Sprintf("Micro F1 %s (95 %%: %s–%s), macro F1 %s; %s of texts have exactly the right labels, %s of single decisions are wrong. A text has the labels of probability %g and above.",
		percent(v.MicroF1), percent(v.Low), percent(v.High), percent(v.MacroF1), percent(v.SubsetAccuracy), percent(v.HammingLoss), LabelThreshold)
	return v, []Block{Paragraph(text), t}, nil
}}

// labelsValue is the section in report.json.
type labelsValue struct {
	MicroF1        float64      `json:"micro_f1"`
	Low            float64      `json:"low"` // of micro F1
	High           float64      `json:"high"`
	MacroF1        float64      `json:"macro_f1"`
	SubsetAccuracy float64      `json:"subset_accuracy"`
	HammingLoss    float64      `json:"hamming_loss"`
	Labels         []entityType `json:"labels"`
}

// setSample is micro F1 as a sum over texts: right, predicted and actual labels.
func setSample(p *Predictions) metric.Sample {
	rows := make([][]float64, len(p.ActualSets))
	for i := range rows {
		rows[i] = make([]float64, 3)
		for k, a := range p.ActualSets[i] {
			b := p.PredictedSets[i][k]
			for at, is := range []bool{a && b, b, a} {
				if is {
					rows[i][at]++
				}
			}
		}
	}
	return metric.Sample{Segments: rows, Score: func(sum []float64) float64 {
		return metric.Counts{Correct: int(sum[0]), Predicted: int(sum[1]), Actual: int(sum[2])}.PRF().F1
	}}
}
