package report

import (
	"fmt"
	"math"

	"github.com/graft-ml/graft/metric"
)

// values is the section about numbers that a text is given.
var values = Section{Name: "values", Title: "Values", Make: func(in *Input) (any, []Block, error) {
	p := in.Predictions
	if p == nil || len(p.ActualValues) == 0 {
		return nil, nil, nil
	}
	v := valuesValue{}
	t := Table{Head: []string{"value", "mean squared error", "mean absolute error", "R²", "Pearson", "Spearman"}}
	var blocks []Block
	for k, name := range p.Names {
		actual, predicted := column(p.ActualValues, k), column(p.PredictedValues, k)
		r, err := metric.Regress(actual, predicted)
		if err != nil {
			return nil, nil, err
		}
		v = append(v, valueScore{name, r.MSE, r.MAE, finite(r.R2), finite(r.Pearson), finite(r.Spearman)})
		t.Rows = append(t.Rows, []string{name, decimals(r.MSE), decimals(r.MAE), decimals(r.R2), decimals(r.Pearson), decimals(r.Spearman)})
		blocks = append(blocks, Figure{SVG: scatter(actual, predicted), Alt: "predicted by actual " + name})
	}
	absolute, err := metric.MeanSample(errorsOf(p)).Interval(in.level, in.Resamples, in.Seed)
	if err != nil {
		return nil, nil, err
	}
	text := fmt.Sprintf("The mean absolute error is %s (95 %%: %s–%s).", decimals(absolute.Value), decimals(absolute.Low), decimals(absolute.High))
	return v, append([]Block{Paragraph(text), t}, blocks...), nil
}}

// valuesValue is the section in report.json.
type valuesValue []valueScore

type valueScore struct {
	Name     string   `json:"name"`
	MSE      float64  `json:"mse"`
	MAE      float64  `json:"mae"`
	R2       *float64 `json:"r2"` // null where it is not defined
	Pearson  *float64 `json:"pearson"`
	Spearman *float64 `json:"spearman"`
}

// finite is nil for what JSON cannot say.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func column(rows [][]float64, k int) []float64 {
	out := make([]float64, len(rows))
	for i := range rows {
		out[i] = rows[i][k]
	}
	return out
}

// errorsOf are the absolute errors of each example, the mean over its values.
func errorsOf(p *Predictions) []float64 {
	out := make([]float64, len(p.ActualValues))
	for i, row := range p.ActualValues {
		for k, v := range row {
			out[i] += math.Abs(v-p.PredictedValues[i][k]) / float64(len(row))
		}
	}
	return out
}

// mostDots bounds a drawing.
const mostDots = 2000

// scatter draws what was predicted against what is; on the dashed line both are equal.
func scatter(actual, predicted []float64) string {
	x, y := newAxis(), newAxis()
	for _, a := range []*axis{x, y} {
		a.include(actual)
		a.include(predicted)
	}
	low, high := x.low, x.high
	x.place(marginLeft, drawingWidth-marginRight, false)
	y.place(drawingHeight-marginBottom, marginTop, true)
	d := newDrawing("predicted by actual value")
	d.grid(x, y, "actual", "predicted")
	for i := range min(len(actual), mostDots) {
		fmt.Fprintf(&d.b, `<circle class="one" cx="%.1f" cy="%.1f" r="3" fill-opacity="0.5"/>`, x.at(actual[i]), y.at(predicted[i]))
	}
	fmt.Fprintf(&d.b, `<line class="even" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x.at(low), y.at(low), x.at(high), y.at(high))
	return d.end()
}
