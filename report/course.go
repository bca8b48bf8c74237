package report

import "fmt"

// course is the section about the loss over the steps.
var course = Section{Name: "course", Title: "Course of the loss", Make: func(in *Input) (any, []Block, error) {
	c := in.Curves
	if len(c.Steps) < 2 {
		return nil, nil, nil
	}
	v := courseValue{Logged: len(c.Steps), Evaluations: len(c.EvalSteps), First: c.Losses[0], Last: c.Losses[len(c.Losses)-1]}
	const smooth = 50 // so many points are enough to see a mean through their noise
	lines := chart{x: "step", y: "loss per target", series: []series{{name: "training", class: "one", x: c.Steps, y: c.Losses}}}
	if len(c.Steps) >= smooth {
		lines.series[0].class = "faint"
		lines.series = append(lines.series, series{name: "running mean", class: "one", x: c.Steps, y: c.RunningMean()})
	}
	lines.series = append(lines.series, series{name: "held out", class: "two", x: c.EvalSteps, y: c.EvalLosses, dots: true})
	text := fmt.Sprintf("The training loss went from %s to %s in %.0f steps.", decimals(v.First), decimals(v.Last), c.Steps[len(c.Steps)-1])
	return v, []Block{Paragraph(text), Figure{SVG: lines.svg("Loss per target by step"), Alt: "loss per target by step"}}, nil
}}

// courseValue is the section in report.json; metrics.jsonl has the whole of it.
type courseValue struct {
	Logged      int     `json:"logged"`
	Evaluations int     `json:"evaluations"`
	First       float64 `json:"first_loss"`
	Last        float64 `json:"last_loss"`
}
