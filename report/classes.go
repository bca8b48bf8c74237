package report

import (
	"fmt"
	"html"

	"github.com/graft-ml/graft/metric"
)

// classes is the section about classification.
var classes = Section{Name: "classes", Title: "Classes", Make: func(in *Input) (any, []Block, error) {
	p := in.Predictions
	if p == nil || len(p.Actual) == 0 {
		return nil, nil, nil
	}
	c, err := metric.Classify(p.Actual, p.Predicted)
	if err != nil {
		return nil, nil, err
	}
	right := make([]bool, len(p.Actual))
	hits := make([]float64, len(p.Actual))
	for i := range right {
		if right[i] = p.Actual[i] == p.Predicted[i]; right[i] {
			hits[i] = 1
		}
	}
	const bins = 10
	cal, err := metric.Calibrate(p.Confidence, right, bins)
	if err != nil {
		return nil, nil, err
	}
	accuracy, err := metric.MeanSample(hits).Interval(in.level, in.Resamples, in.Seed)
	if err != nil {
		return nil, nil, err
	}
	v := classesValue{Accuracy: accuracy.Value, Low: accuracy.Low, High: accuracy.High, Majority: majority(c), MacroF1: c.Averages().Macro.F1,
		Matthews: c.Matthews(), ECE: cal.ECE, Brier: cal.Brier, Labels: p.Names, Confusion: square(c, len(p.Names))}
	return v, v.blocks(c, cal, p.Names), nil
}}

// classesValue is the section in report.json.
type classesValue struct {
	Accuracy  float64  `json:"accuracy"`
	Low       float64  `json:"low"`
	High      float64  `json:"high"`
	Majority  float64  `json:"majority"` // accuracy of always predicting the commonest class
	MacroF1   float64  `json:"macro_f1"`
	Matthews  float64  `json:"matthews"`
	ECE       float64  `json:"expected_calibration_error"`
	Brier     float64  `json:"brier"`
	Labels    []string `json:"labels"`
	Confusion [][]int  `json:"confusion"` // [actual][predicted], in the order of labels
}

func (v classesValue) blocks(c *metric.Classification, cal *metric.Calibration, names []string) []Block {
	t := Table{Head: []string{"class", "precision", "recall", "F1", "support"}}
	for i, label := range c.Labels {
		s := c.Class(label)
		t.Rows = append(t.Rows, []string{names[label], percent(s.Precision), percent(s.Recall), percent(s.F1), fmt.Sprint(c.Classes[i].Actual)})
	}
	return []Block{
		Paragraph(fmt.Sprintf("Accuracy %s (95 %%: %s–%s), macro F1 %s, Matthews %.3f. Always saying the commonest class would give %s.",
			percent(v.Accuracy), percent(v.Low), percent(v.High), percent(v.MacroF1), v.Matthews, percent(v.Majority))),
		t,
		Figure{SVG: confusion(v.Confusion, names), Alt: "confusion matrix"},
		Paragraph(fmt.Sprintf("Calibration: the expected calibration error is %.3f, the Brier score %.3f.", v.ECE, v.Brier)),
		Figure{SVG: reliability(cal), Alt: "accuracy by confidence"},
	}
}

// percent writes a share.
func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }

// majority is the share of the commonest class.
func majority(c *metric.Classification) float64 {
	most, all := 0, 0
	for _, n := range c.Classes {
		most, all = max(most, n.Actual), all+n.Actual
	}
	return float64(most) / float64(all)
}

// square is the confusion matrix of all labels, those that do not occur included.
func square(c *metric.Classification, n int) [][]int {
	m := make([][]int, n)
	for i := range m {
		m[i] = make([]int, n)
	}
	for i, a := range c.Labels {
		for j, b := range c.Labels {
			m[a][b] = c.Confusion[i][j]
		}
	}
	return m
}

// confusion draws the matrix: the stronger a cell, the larger its share of the row.
func confusion(m [][]int, names []string) string {
	n := len(names)
	if n > 40 {
		return "" // cells of less than nine units tell nothing
	}
	const left, top, letters = 130.0, 40.0, 14 // letters of a name that fit
	cell := min(48, (drawingWidth-left-4)/float64(n))
	d := &drawing{}
	fmt.Fprintf(&d.b, `<svg viewBox="0 0 %d %.0f" role="img" xmlns="http://www.w3.org/2000/svg"><title>confusion matrix</title>`, drawingWidth, top+cell*float64(n)+8)
	d.text(left, 14, "start", "predicted →")
	d.text(left-8, top-6, "end", "actual ↓")
	for i, row := range m {
		y := top + cell*float64(i)
		d.text(left-8, y+cell/2+4, "end", fmt.Sprintf("%s %d", shortened(names[i], letters), i+1))
		d.text(left+cell*(float64(i)+0.5), top-6, "middle", fmt.Sprint(i+1))
		sum := 0
		for _, k := range row {
			sum += k
		}
		for j, k := range row {
			d.cell(left+cell*float64(j), y, cell, k, max(sum, 1), i == j, fmt.Sprintf("%s as %s: %d", names[i], names[j], k))
		}
	}
	return d.end()
}

// cell draws k of sum items.
func (d *drawing) cell(x, y, size float64, k, sum int, right bool, title string) {
	class, ink, share := "cell", "ink", float64(k)/float64(sum)
	if right {
		class += " right"
	}
	fmt.Fprintf(&d.b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill-opacity="%.2f"><title>%s</title></rect>`,
		class, x, y, size-1, size-1, 0.06+0.84*share, html.EscapeString(title))
	if share > 0.55 { // the cell is dark
		ink = "paper"
	}
	if k > 0 && size > 16 {
		fmt.Fprintf(&d.b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="middle">%d</text>`, ink, x+size/2, y+size/2+4, k)
	}
}

// shortened keeps the first letters.
func shortened(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// reliability draws accuracy against confidence; on the dashed line a model is as sure as it is right.
func reliability(c *metric.Calibration) string {
	x, y := newAxis(), newAxis()
	x.include([]float64{0, 1})
	y.include([]float64{0, 1})
	x.place(marginLeft, drawingWidth-marginRight, false)
	y.place(drawingHeight-marginBottom, marginTop, true)
	d := newDrawing("accuracy by confidence")
	d.grid(x, y, "confidence", "accuracy")
	for _, b := range c.Bins {
		if b.Items > 0 {
			from, to, top := x.at(b.Above)+1, x.at(b.UpTo)-1, y.at(b.Accuracy)
			fmt.Fprintf(&d.b, `<rect class="bar one" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>confidence %.2f, accuracy %.2f, %d items</title></rect>`,
				from, top, to-from, y.at(0)-top, b.Confidence, b.Accuracy, b.Items)
			d.text((from+to)/2, min(top, y.at(0)-2)-4, "middle", fmt.Sprint(b.Items))
		}
	}
	fmt.Fprintf(&d.b, `<line class="even" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x.at(0), y.at(0), x.at(1), y.at(1))
	return d.end()
}
